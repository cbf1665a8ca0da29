/** Mistakes in what goes to servers and comes from them: choice, sending, cookies, which reply is believed. */
import type { PlantedBug } from './planted-bug.ts'

export const UPSTREAMS_BUGS: readonly PlantedBug[] = [
  {
    name: 'names below the domain of a route are not on it',
    find: 'if (name[from] === 0) return routes.length - 1',
    replace: 'if (from === at || name[from] === 0) return routes.length - 1',
    seeds: 60,
  },
  {
    name: 'a single message in silence is taken for an OPT that is dropped',
    find: 'const OPT_UNANSWERED = 2',
    replace: 'const OPT_UNANSWERED = 1',
    seeds: 60,
  },
  {
    name: 'BADCOOKIE counts without a cookie',
    find: 'answer.rcode === Rcode.BADCOOKIE && answer.cookieLength > 0',
    replace: 'answer.rcode === Rcode.BADCOOKIE',
    seeds: 200,
  },
  {
    name: 'a query counts as a reply',
    find: 'if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR)',
    replace: 'if ((flags & Flag.OPCODE) !== 0)',
    seeds: 60,
  },
  {
    name: 'a truncated reply is taken for the whole',
    find: 'if (isCut || (flags & Flag.TC) !== 0) {',
    replace: 'if (isCut) {',
    seeds: 20,
  },
  {
    name: 'servers that are down are not probed',
    find: 'if (!state.isDown || now < state.probeAt ||',
    replace: 'if (state.isDown || now < state.probeAt ||',
    seeds: 60,
  },
  {
    name: 'one question may cause any number of messages',
    find: 'const MAX_MESSAGES = 8',
    replace: 'const MAX_MESSAGES = 80',
    seeds: 200,
  },
  {
    name: 'a server that does not answer is asked by datagrams again and again',
    find: 'const MAX_UNANSWERED = 3',
    replace: 'const MAX_UNANSWERED = 6',
    seeds: 60,
  },
  {
    name: 'a referral passes for an answer',
    find: 'answer.isReferral && (variant & Variant.NO_RECURSION) === 0',
    replace: 'answer.isReferral && (variant & Variant.NO_RECURSION) < 0',
    seeds: 60,
  },
  // ── cookies towards servers, and the case of names ──
  {
    name: 'the cookie in a reply is not compared with ours',
    find: 'for (let i = 0; i < CLIENT_BYTES; i++) if (packet[at + i] !== state.cookie[i]) return false\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'the cookie of an error is not looked at',
    find: '    if (attempts.cookie(a) === AttemptCookie.NONE) return otherwise\n',
    replace: '    if (attempts.cookie(a) !== -1) return otherwise\n',
    seeds: 60,
  },
  {
    name: 'a reply without the cookie that the server always sent is believed',
    find: 'if (this.isExpected(server, now)) return false\n',
    replace: '',
    seeds: 60,
  },
  {
    name: 'a cookie of another length counts as one',
    find: 'if (length !== CLIENT_BYTES && (length < LEAST_BYTES || length > MOST_BYTES)) return false\n',
    replace: '',
    seeds: 200,
  },
  {
    name: 'the cookie that a server gives is not sent back to it',
    find: '      state.length = length\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'the first cookie that a server gives is kept for ever',
    find: 'if (length > CLIENT_BYTES) {',
    replace: 'if (length > CLIENT_BYTES && state.length === CLIENT_BYTES) {',
    seeds: 20,
  },
  {
    name: 'all servers get the same cookie of ours',
    find: 'new DataView(cookie.buffer).setInt32(i, random() | 0)',
    replace: 'new DataView(cookie.buffer).setInt32(i, (random() | 0) & 0)',
    seeds: 20,
  },
  {
    name: 'servers over TLS and HTTPS get cookies',
    find: "const isInClear = transport === 'udp' || transport === 'tcp'",
    replace: "const isInClear = transport !== ('' as string)",
    seeds: 20,
  },
  {
    name: 'a server over TLS or HTTPS is asked in the clear',
    find: "const transport = usual === 'udp' ? 'tcp' : usual",
    replace: "const transport = usual === 'udp' ? 'tcp' : 'tcp'",
    seeds: 20,
  },
  {
    name: 'the case of a reply is not compared',
    find: 'if (!isOurs) return this.#loseCase(a)',
    replace: 'if (!isOurs && isCut) return this.#loseCase(a)',
    seeds: 20,
  },
  {
    name: 'names are asked in small letters all the same',
    find: 'if (seed !== 0) mixCase(',
    replace: 'if (seed === 0) mixCase(',
    seeds: 20,
  },
  {
    name: 'one complaint is enough for a server to be asked without EDNS for long',
    find: 'const EDNS_LOST_QUESTIONS = 3',
    replace: 'const EDNS_LOST_QUESTIONS = 1',
    seeds: 60,
  },
  {
    name: 'a server that answers with EDNS again is asked without all the same',
    find: 'this.#states[index]!.ednsLostInARow = 0',
    replace: 'void this.#states[index]',
    seeds: 400,
  },
  {
    name: 'loops are looked for all the time',
    find: 'const AGAIN_MS = 10_000',
    replace: 'const AGAIN_MS = 2000',
    seeds: 20,
  },
  {
    name: 'one reply without the right cookie is enough for a server to get none',
    find: 'const LOST_QUESTIONS = 3',
    replace: 'const LOST_QUESTIONS = 1',
    seeds: 60,
  },
  {
    name: 'queries to servers are counted twice',
    find: 'context.counters.upstreamAdd(server, STREAM_FIELDS[transport], 1)',
    replace: 'context.counters.upstreamAdd(server, STREAM_FIELDS[transport], 2)',
    seeds: 20,
  },
]
