/** Sockets, streams and servers: takes what the engine sends, and says later, or never, what comes back. */
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { UpstreamReply } from '../../src/engine/stream-port.ts'
import { CaseRules } from './case-rules.ts'
import { CookieRules } from './cookie-rules.ts'
import { EdnsRules } from './edns-rules.ts'
import type { Episode, Habit } from './episode.ts'
import { type Guess, GuessRules } from './guess-rules.ts'
import { type ParsedMessage, parseCut, parseMessage } from './message.ts'
import { hashText, mix, Random } from './random.ts'
import { isFailure, keyOf } from './reference-resolver.ts'
import { isReferral, scrub } from './reference-scrub.ts'
import { RetryRules } from './retry-rules.ts'
import { COOKIE, makeHonest, type Manners } from './server-manners.ts'
import { randomCase } from './queries.ts'
import { forge, serve } from './virtual-server.ts'

/** A query on its way to a server. */
export interface Sent {
  query: ParsedMessage
  /** In the world. */
  server: number
  /** Keys that its answer is one to: two where the query has no OPT that could tell. */
  keys: string[]
  at: number
  /** A reply that ends the attempt has come in; one that may have ended it. */
  isSettled: boolean
  mayBeSettled: boolean
  isStream: boolean
}

export type NetworkEvent =
  | { kind: 'datagram'; socket: number; bytes: Buffer; isForged: boolean }
  | { kind: 'upstreamReply'; token: number; bytes: Buffer | null; failure: UpstreamReply['failure']; isStray: boolean }
  | { kind: 'socket error'; socket: number }
  /** A server has passed a query on, and that came to us; `relay` gets what we answer. */
  | { kind: 'loop'; server: number; bytes: Buffer; relay: (reply: Buffer, now: number) => void }

/**
 * What a message that came in is to the engine, as far as the reference can say. Nothing at all may come of a stray one. A
 * doubtful one is not believed, but the engine may ask in another way. `cut`: what there is of a truncated answer, and null
 * where that is nothing but the question. `said`: the reply of a server that failed, if there is one that can be read.
 */
export type Verdict =
  | { kind: 'stray' }
  | { kind: 'doubtful'; sent: Sent; by: 'case' | 'cookie' }
  | { kind: 'failure'; sent: Sent | null; said: ParsedMessage | null }
  | { kind: 'bad cookie'; sent: Sent }
  | { kind: 'truncated'; sent: Sent; flags: number; cut: ParsedMessage | null }
  | { kind: 'answer'; sent: Sent; message: ParsedMessage }

interface Socket {
  number: number
  server: number
  uses: number
}

const STRAY: Verdict = { kind: 'stray' }
const FAILED: Verdict = { kind: 'failure', sent: null, said: null }
const BADCOOKIE = 23
const FLAG_RD = 0x0100
const POOL = 4
const MOST_LOOPS = 5000
/** Longer than any question is open. */
const LONGEST_MS = 10_000
/** A forger who guesses has seen the query so lately. */
const GUESSED_WITHIN_MS = 500
/** Largest datagram that the drivers receive whole. */
export const UPSTREAM_BUFFER = 4096

export class VirtualNetwork {
  readonly habits: Habit[]
  readonly manners: Manners[]
  readonly cookies: CookieRules = new CookieRules()
  readonly spellings: CaseRules = new CaseRules()
  readonly edns: EdnsRules = new EdnsRules()
  readonly retries: RetryRules = new RetryRules()
  readonly guesses: GuessRules = new GuessRules()
  /** The query sent last; the datagram sent last. */
  query!: ParsedMessage
  lastDatagram!: Sent
  /** What the datagram judged last may have been aimed at; null if none was judged. */
  guess: Guess | null = null
  /** Off in the last part of an episode, when all is well. */
  isTroubled = true
  /** Off when all is to come to rest: without a cache a question may go round for ever. */
  mayLoop = true
  messages = 0
  /** So many more queries may come back to us in this episode: one that nobody keeps the answer to goes round for ever. */
  private loopsLeft = MOST_LOOPS
  private readonly episode: Episode
  private readonly schedule: (at: number, event: NetworkEvent) => void
  /** World server by index in the settings. */
  /** Of the settings' servers, in their order. */
  labels: string[] = []
  private servers: number[] = []
  private transports: string[] = []
  private pools: Socket[][] = []
  private nextSocket = 1
  private deadlineMs = 0
  private readonly serverOfSocket: number[] = []
  private readonly sent: Map<number, Sent> = new Map()
  private readonly streams: Map<number, Sent> = new Map()
  /** Datagrams by socket and question, whatever the flags. */
  private readonly alike: Map<string, Sent[]> = new Map()
  /** When a query had this id last. */
  private readonly usedAt: Map<number, number> = new Map()
  private readonly asked: Map<string, number> = new Map()
  private serial = 0
  /** Whether the engine believes the message in hand is not certain. */
  private isUnsure = false

  constructor(episode: Episode, schedule: (at: number, event: NetworkEvent) => void) {
    this.episode = episode
    this.schedule = schedule
    this.habits = [...episode.habits]
    this.manners = episode.manners.map((manners) => ({ ...manners }))
  }

  configure(settings: EngineSettings): void {
    this.labels = settings.servers.map((server) => server.label)
    this.servers = settings.servers.map((server) => Number(server.address.split('.')[3]) - 1)
    this.transports = settings.servers.map((server) => server.transport)
    this.pools = this.servers.map(() => [])
    this.deadlineMs = settings.deadlineMs
    this.cookies.configured(this.servers)
    this.spellings.configured(settings.caseRandomization === true, this.servers)
    this.edns.configured(this.servers)
  }

  /** The engine starts anew and knows nothing of its servers. */
  restarted(): void {
    this.cookies.reset()
    this.spellings.reset()
    this.edns.reset()
  }

  /** All is well from now on. */
  endTrouble(): void {
    this.isTroubled = false
    this.habits.fill('perfect')
    for (const manners of this.manners) makeHonest(manners)
  }

  /** Index of the settings' server in the world. */
  worldServer(index: number): number {
    return this.servers[index]!
  }

  /** Checks a query of the engine and sends it. Returns what is wrong with it, or the socket's number. */
  datagram(index: number, bytes: Buffer, at: number, length: number, avoid: number, now: number): number | string {
    const query = this.readQuery(bytes, at, length, index, 'udp', now)
    if (typeof query === 'string') return query
    this.query = query
    const server = this.servers[index]!
    const fate = this.fateOf(query, server)
    if (this.isTroubled && this.habits[server] !== 'perfect' && fate.chance(this.episode.socketShortage)) return -1
    const socket = this.pick(index, avoid, fate)
    const sent: Sent = {
      query,
      server,
      keys: keysOf(query),
      at: now,
      isSettled: false,
      mayBeSettled: false,
      isStream: false,
    }
    this.sent.set(socket.number * 65_536 + query.id, sent)
    const place = `${socket.number} ${query.name}${query.question.slice(-4)}`
    this.alike.set(place, [...this.alikeSince(place, now), sent])
    this.lastDatagram = sent
    this.travel(sent, bytes.subarray(at, at + length), false, fate, now, (delay, reply, isMisdirected) => {
      const to = isMisdirected ? 1 + fate.below(this.nextSocket - 1) : socket.number
      this.schedule(
        now + delay,
        reply === null
          ? { kind: 'socket error', socket: socket.number }
          : { kind: 'datagram', socket: to, bytes: reply, isForged: false },
      )
    })
    return socket.number
  }

  /** The same for an upstream query over a stream; it always ends, at the latest after `timeoutMs`. */
  stream(
    index: number,
    token: number,
    transport: string,
    bytes: Buffer,
    timeoutMs: number,
    now: number,
  ): string | null {
    const query = this.readQuery(bytes, 0, bytes.length, index, transport, now)
    if (typeof query === 'string') return query
    this.query = query
    const server = this.servers[index]!
    const fate = this.fateOf(query, server)
    const sent: Sent = {
      query,
      server,
      keys: keysOf(query),
      at: now,
      isSettled: false,
      mayBeSettled: false,
      isStream: true,
    }
    this.streams.set(token, sent)
    let hasReply = false
    this.travel(sent, bytes, true, fate, now, (delay, reply) => {
      if (hasReply || delay >= timeoutMs) return
      hasReply = true
      const failure = reply === null ? fate.pick(['refused', 'network', 'malformed', 'tls', 'timeout'] as const) : null
      this.schedule(now + delay, { kind: 'upstreamReply', token, bytes: reply, failure, isStray: false })
    })
    if (!hasReply)
      this.schedule(now + timeoutMs, { kind: 'upstreamReply', token, bytes: null, failure: 'timeout', isStray: false })
    return null
  }

  private travel(
    sent: Sent,
    bytes: Buffer,
    isStream: boolean,
    fate: Random,
    now: number,
    arrive: (delay: number, reply: Buffer | null, isMisdirected: boolean) => void,
  ): void {
    const { episode } = this
    const { server } = sent
    this.messages++
    const habit = this.habits[server]!
    const isPerfect = habit === 'perfect' || !this.isTroubled
    const isLost = (): boolean => !isPerfect && !isStream && fate.chance(episode.loss)
    const rtt = isPerfect ? Math.min(20, episode.rttMs[server]!) : episode.rttMs[server]!
    if (isLost()) return
    if (habit === 'looping' && this.mayLoop && !isStream && this.loopsLeft > 0) {
      this.loopsLeft--
      const relay = (reply: Buffer, at: number): void => arrive(at - now + rtt, reply, false)
      return this.schedule(now + rtt, { kind: 'loop', server, bytes: Buffer.from(bytes), relay })
    }
    const { hasZones } = episode
    for (const reply of serve(
      sent.query,
      habit,
      this.manners[server]!,
      server,
      isStream,
      hasZones,
      fate,
      ++this.serial,
    )) {
      const copies = !isStream && fate.chance(episode.duplication) ? 2 : 1
      for (let k = 0; k < copies; k++) {
        if (isLost()) continue
        // The copy of a reply may come long after everything else.
        const jitter = isPerfect && k === 0 ? 0 : fate.interval(this.isTroubled ? episode.jitterMs : 1)
        arrive(rtt + reply.delayMs + jitter, reply.bytes, reply.isMisdirected)
      }
    }
  }

  /** What the message is to an engine that goes by the rules; settles the query that it is a reply to. */
  judge(event: NetworkEvent, now: number): Verdict {
    const verdict = this.verdictOn(event, now)
    const mayBeGuess = event.kind === 'datagram' && event.bytes.length >= 12
    this.guess = mayBeGuess ? this.guessOf(event.socket, event.bytes, verdict, now) : null
    return verdict
  }

  private verdictOn(event: NetworkEvent, now: number): Verdict {
    if (event.kind === 'socket error') {
      this.retries.socketFailed(event.socket, now)
      this.guesses.socketFailed(event.socket)
      return FAILED
    }
    if (event.kind === 'loop') return STRAY
    const isStream = event.kind === 'upstreamReply'
    const { bytes } = event
    if (bytes === null || bytes.length < 12) {
      const sent = isStream ? this.streams.get(event.token) : undefined
      if (sent === undefined) return STRAY
      return { kind: 'failure', sent, said: null }
    }
    const sent = isStream ? this.streams.get(event.token) : this.sent.get(event.socket * 65_536 + bytes.readUInt16BE(0))
    // No question is open for longer than the deadline.
    if (sent === undefined || sent.isSettled || now > sent.at + this.deadlineMs) return STRAY
    if (!isReply(bytes)) return STRAY
    this.isUnsure = false
    const verdict = this.judgeReply(sent, bytes, isStream, now)
    if (verdict.kind !== 'stray' && verdict.kind !== 'doubtful') {
      sent.isSettled = !this.isUnsure
      sent.mayBeSettled = true
    }
    return verdict
  }

  private judgeReply(sent: Sent, bytes: Buffer, isStream: boolean, now: number): Verdict {
    const { query, server } = sent
    const flags = bytes.readUInt16BE(2)
    const isBare = bytes.readUInt16BE(4) === 0
    if (isBare ? (flags & 15) === 0 || (flags & 15) === 3 : !hasQuestion(bytes, query)) return STRAY
    const question = bytes.toString('latin1', 12, 12 + query.question.length)
    if (!isBare && !isStream && this.spellings.isLost(query, question, server))
      return { kind: 'doubtful', sent, by: 'case' }
    const isLong = !isStream && bytes.length > UPSTREAM_BUFFER
    const message = isLong ? '' : parseMessage(bytes, 0, bytes.length)
    const cookie = typeof message === 'string' ? undefined : message.opt?.options.get(COOKIE)
    const isTruncated = isLong || (flags & 0x0200) !== 0
    const check = this.cookies.judge(query, cookie, server, isStream, now)
    if (check === 'wrong') return { kind: 'doubtful', sent, by: 'cookie' }
    const isOddlySpelt = !isBare && !isStream && this.spellings.isUnsure(query, question, server)
    this.isUnsure = check === 'unsure' || isOddlySpelt
    if (isBare) {
      this.edns.arrived(query, server, false, now)
      return { kind: 'failure', sent, said: typeof message === 'string' ? null : message }
    }
    if (typeof message === 'string' || isFailure(flags & 15)) this.edns.arrived(query, server, false, now)
    if (isTruncated) {
      const whole = isLong ? parseCut(bytes, 0, UPSTREAM_BUFFER) : message
      const cut = typeof whole === 'string' || whole === null ? null : scrub(whole, query.opt?.dnssecOk === true)
      return isFailure(flags & 15) ? { kind: 'failure', sent, said: null } : { kind: 'truncated', sent, flags, cut }
    }
    if (typeof message === 'string') return { kind: 'failure', sent, said: null }
    // Without a cookie it is a failure like others (RFC 7873 §5.3): else anybody could say so.
    const isWithCookie = cookie !== undefined && cookie !== ''
    if (message.rcode === BADCOOKIE && isWithCookie && query.opt?.options.has(COOKIE) === true) {
      this.cookies.refused(server, now)
      return { kind: 'bad cookie', sent }
    }
    const kept = isFailure(message.rcode) ? null : scrub(message, query.opt?.dnssecOk === true)
    // To a query without RD a referral is an answer.
    const isReferred = kept !== null && isReferral(kept) && (query.flags & FLAG_RD) !== 0
    this.edns.arrived(query, server, kept !== null && !isReferred, now)
    if (isFailure(message.rcode) || isReferred) return { kind: 'failure', sent, said: message }
    return kept === null ? { kind: 'failure', sent, said: null } : { kind: 'answer', sent, message: kept }
  }

  /** Forged replies at the sockets that are open, and to the questions that are open. None of them fits. */
  forge(count: number, seed: number, now: number): void {
    const fate = new Random(mix(seed, this.episode.seed))
    const open = [...this.sent].slice(-20)
    if (open.length === 0) return
    for (let k = 0; k < count; k++) {
      const [place, { query }] = fate.pick(open)
      let socket = Math.floor(place / 65_536)
      const forged = { ...query }
      // A wrong id, a wrong port, the answer to another question, or all but the case and the cookie.
      const how = fate.below(4)
      if (how === 0) forged.id = fate.below(65_536)
      if (how === 1) socket = 1 + fate.below(this.nextSocket - 1)
      if (how === 2) forged.question = otherName(query.question)
      if (how === 3) {
        const isMixed = query.question.slice(0, -4) !== query.name
        if (!isMixed && query.opt?.options.has(COOKIE) !== true) continue
        if (isMixed && fate.chance(0.5))
          forged.question = (fate.chance(0.5) ? query.name : randomCase(fate, query.name)) + query.question.slice(-4)
      }
      const hit = this.sent.get(socket * 65_536 + forged.id)
      const isHit = hit?.query.question === forged.question
      // Without a cookie to show that it is none it would be as good as the server's own.
      if (isHit && hit?.query.opt?.options.has(COOKIE) !== true) continue
      this.schedule(now + fate.between(0, 5), {
        kind: 'datagram',
        socket,
        bytes: forge(isHit ? { ...forged, opt: hit.query.opt } : forged, fate, 2_000_000 + k),
        isForged: true,
      })
    }
  }

  /** So many guesses at the id of a query that has been sent lately and not been answered. None of them is right. */
  guessAt(count: number, seed: number, now: number): void {
    const fate = new Random(mix(seed, this.episode.seed))
    const open = [...this.sent]
      .slice(-20)
      .filter(([, { at, isSettled }]) => !isSettled && at >= now - GUESSED_WITHIN_MS)
    if (open.length === 0) return
    const [place, { query }] = fate.pick(open)
    const socket = Math.floor(place / 65_536)
    for (let k = 0; k < count; k++) {
      const id = fate.below(65_536)
      if (this.sent.has(socket * 65_536 + id)) continue
      const bytes = forge({ ...query, id }, fate, 3_000_000 + k)
      this.schedule(now + fate.between(0, 5), { kind: 'datagram', socket, bytes, isForged: true })
    }
  }

  /** Some socket that was opened lately; 0 if there is none. */
  someSocket(seed: number): number {
    return this.nextSocket === 1 ? 0 : Math.max(1, this.nextSocket - 1 - ((seed >>> 0) % 8))
  }

  /**
   * What a datagram may have been aimed at. One that fits a query is aimed at others like it if that is not under way any
   * more: the engine may have its answer from another server, and a client may have asked again.
   */
  private guessOf(socket: number, bytes: Buffer, verdict: Verdict, now: number): Guess {
    const id = bytes.readUInt16BE(0)
    const own = this.sent.get(socket * 65_536 + id)
    const isOpen = own !== undefined && !own.isSettled && now <= own.at + this.deadlineMs
    const question = questionOf(bytes)
    const alike = question === null ? [] : this.alikeSince(`${socket} ${question}`, now).filter((one) => !one.isSettled)
    if (verdict.kind !== 'stray') return { at: alike.filter((one) => one !== own), isCertain: false }
    if (isOpen) return { at: [own, ...alike], isCertain: isReply(bytes) }
    return { at: alike, isCertain: now > (this.usedAt.get(id) ?? Number.NEGATIVE_INFINITY) + LONGEST_MS }
  }

  private alikeSince(place: string, now: number): Sent[] {
    return (this.alike.get(place) ?? []).filter(({ at }) => at >= now - LONGEST_MS)
  }

  private readQuery(
    bytes: Buffer,
    at: number,
    length: number,
    index: number,
    transport: string,
    now: number,
  ): ParsedMessage | string {
    const query = parseMessage(bytes, at, length)
    if (typeof query === 'string') return `a query to a server is malformed: ${query}`
    if ((query.flags & ~0x0110) !== 0x0020) return `a query to a server has flags ${query.flags.toString(16)}`
    if (query.question === '' || query.class !== 1 || query.sections.some((section) => section.length > 0))
      return 'a query to a server is none'
    const server = this.servers[index]
    if (server === undefined) return `a query to a server that there is not: ${index}`
    const { [index]: own } = this.transports
    if (transport !== own && !(own === 'udp' && transport === 'tcp'))
      return `a query over ${transport} to a server for ${own}`
    if (query.opt !== null && (query.opt.payload !== 1232 || query.opt.version !== 0))
      return 'a query with another OPT than ours'
    for (const code of query.opt?.options.keys() ?? []) if (code !== COOKIE) return `a query with an option ${code}`
    const isPrivate = transport === 'tls' || transport === 'https'
    this.usedAt.set(query.id, now)
    return this.cookies.checkQuery(query, server, isPrivate, transport !== own, now) ?? query
  }

  private fateOf(query: ParsedMessage, server: number): Random {
    const place = `${query.name}/${query.type}/${server}`
    const count = (this.asked.get(place) ?? 0) + 1
    this.asked.set(place, count)
    return new Random(mix(this.episode.seed, hashText(place), count))
  }

  private pick(index: number, avoid: number, fate: Random): Socket {
    const pool = this.pools[index]!
    let k = fate.below(POOL)
    if (pool[k]?.number === avoid) k = (k + 1) % POOL
    const known = pool[k]
    if (known !== undefined && known.uses < this.episode.socketUses) {
      known.uses++
      return known
    }
    const fresh = { number: this.nextSocket++, server: this.servers[index]!, uses: 1 }
    this.serverOfSocket[fresh.number] = fresh.server
    pool[known === undefined ? pool.length : k] = fresh
    return fresh
  }
}

/** The question with another name of the same length; the root has none. */
function otherName(question: string): string {
  return question.startsWith('\0') ? `\u0005other${question}` : `${question[0]}~${question.slice(2)}`
}

function keysOf(query: ParsedMessage): string[] {
  if (query.opt !== null) return [keyOf(query.name, query.type, query.opt.dnssecOk, query.flags)]
  return [keyOf(query.name, query.type, false, query.flags), keyOf(query.name, query.type, true, query.flags)]
}

/** True for a reply to an ordinary query. */
function isReply(bytes: Buffer): boolean {
  return (bytes.readUInt16BE(2) & 0xf800) === 0x8000
}

/** The one question of a message, its name in lower case; null if there is none that can be read. */
function questionOf(bytes: Buffer): string | null {
  if (bytes.readUInt16BE(4) !== 1) return null
  let end = 12
  while (end < bytes.length && bytes[end]! > 0 && bytes[end]! < 64) end += bytes[end]! + 1
  if (bytes[end] !== 0 || end + 5 > bytes.length) return null
  return bytes.toString('latin1', 12, end + 1).toLowerCase() + bytes.toString('latin1', end + 1, end + 5)
}

/** True if the message repeats the question, in whatever case. */
function hasQuestion(bytes: Buffer, query: ParsedMessage): boolean {
  const { question } = query
  if (bytes.readUInt16BE(4) !== 1 || bytes.length < 12 + question.length) return false
  const theirs = bytes.toString('latin1', 12, 12 + question.length)
  return (
    theirs.slice(0, -4).toLowerCase() === question.slice(0, -4).toLowerCase() && theirs.slice(-4) === question.slice(-4)
  )
}
