/**
 * What servers do to cookies (RFC 7873) and to the case of names ("0x20"), whatever else they do to a question
 * (virtual-server.ts).
 */
import type { ParsedMessage } from './message.ts'
import { hashText, mix, type Random } from './random.ts'
import { option, randomCase } from './queries.ts'

/**
 * `echoes` gives none of its own; `demanding` answers BADCOOKIE to one that it has not given lately, `never content` to
 * each; `garbled` changes ours, or gives one of another length.
 */
export type CookieManner =
  | 'none'
  | 'echoes'
  | 'right'
  | 'changing'
  | 'demanding'
  | 'never content'
  | 'forgetful'
  | 'silent'
  | 'formerr'
  | 'garbled'

/** The case of the question in replies: as it was asked, in small letters, in capitals, or one or the other. */
export type Spelling = 'keeps' | 'folds' | 'shouts' | 'forgets'

export interface Manners {
  cookies: CookieManner
  spelling: Spelling
  /** What its cookies are made of; another number makes those that it gave before worthless. */
  secret: number
}

export const COOKIE = 10
const CLIENT_BYTES = 8

const COOKIES: readonly (readonly [number, CookieManner])[] = [
  [4, 'none'],
  [2, 'echoes'],
  [4, 'right'],
  [2, 'changing'],
  [3, 'demanding'],
  [1, 'never content'],
  [1, 'forgetful'],
  [1, 'silent'],
  [1, 'formerr'],
  [1, 'garbled'],
]
const SPELLINGS: readonly (readonly [number, Spelling])[] = [
  [6, 'keeps'],
  [2, 'folds'],
  [1, 'shouts'],
  [1, 'forgets'],
]
/** With these a server always answers in the end. */
const HONEST: ReadonlySet<CookieManner> = new Set(['none', 'echoes', 'right', 'changing', 'demanding', 'forgetful'])

/** `isHonest`: nobody has to ask in vain. */
export function makeManners(random: Random, isHonest: boolean): Manners {
  const cookies = random.weighted(isHonest ? COOKIES.filter(([, manner]) => HONEST.has(manner)) : COOKIES)
  return { cookies, spelling: random.weighted(SPELLINGS), secret: random.next() }
}

/** The server is well again. */
export function makeHonest(manners: Manners): void {
  if (!HONEST.has(manners.cookies)) manners.cookies = 'right'
  // Now this, now that: its replies to questions that others have answered count as none.
  if (manners.spelling === 'forgets') manners.spelling = 'keeps'
}

/** What the server does to a query because of its cookie, before it looks at the question; null: nothing. */
export function objectionTo(
  query: ParsedMessage,
  { cookies, secret }: Manners,
  server: number,
  isStream: boolean,
): 'badcookie' | 'formerr' | 'silence' | null {
  const cookie = query.opt?.options.get(COOKIE)
  if (cookie === undefined) return null
  switch (cookies) {
    case 'silent':
      return 'silence'
    case 'formerr':
      return 'formerr'
    case 'never content':
      return 'badcookie'
    case 'demanding':
      return isStream || cookie.slice(CLIENT_BYTES) === ownCookie(cookie, secret, server) ? null : 'badcookie'
    default:
      return null
  }
}

/** The COOKIE option of a reply, '' for none. `serial` is another number for each reply. */
export function cookieOption(
  query: ParsedMessage,
  { cookies, secret }: Manners,
  server: number,
  serial: number,
  fate: Random,
): string {
  const cookie = query.opt?.options.get(COOKIE)
  if (cookie === undefined) return ''
  const client = cookie.slice(0, CLIENT_BYTES)
  switch (cookies) {
    case 'none':
    case 'silent':
    case 'formerr':
      return ''
    case 'echoes':
      return option(client)
    case 'right':
    case 'demanding':
      return option(client + ownCookie(cookie, secret, server))
    case 'changing':
    case 'never content':
      return option(client + ownCookie(cookie, serial, server))
    case 'forgetful':
      return fate.chance(0.3) ? '' : option(client + ownCookie(cookie, secret, server))
    default:
      return option(garbled(client, fate))
  }
}

function garbled(client: string, fate: Random): string {
  const own = 'abcdefgh'
  switch (fate.below(5)) {
    case 0:
      return client.slice(0, -1)
    case 1:
      return client + own.slice(1)
    case 2:
      return `${client}${own.repeat(4)}z`
    case 3:
      return ''
    default:
      return otherCookie(client, fate) + own
  }
}

/** A cookie as long, with one bit changed. */
export function otherCookie(cookie: string, fate: Random): string {
  const at = fate.below(cookie.length)
  const changed = String.fromCharCode(cookie.charCodeAt(at) ^ (1 << fate.below(8)))
  return cookie.slice(0, at) + changed + cookie.slice(at + 1)
}

/** Some servers' cookies are longer than others'; all are made for the client's. */
function ownCookie(cookie: string, secret: number, server: number): string {
  const client = hashText(cookie.slice(0, CLIENT_BYTES))
  let own = ''
  for (let k = 0; k < 2 + 2 * (server % 4); k++) {
    const word = mix(client, secret, server, k)
    own += String.fromCharCode(word >>> 24, (word >>> 16) & 255, (word >>> 8) & 255, word & 255)
  }
  return own
}

/** The question as the server repeats it. */
export function spell(question: string, spelling: Spelling, fate: Random): string {
  const name = question.slice(0, -4)
  const tail = question.slice(-4)
  switch (spelling) {
    case 'keeps':
      return question
    case 'folds':
      return name.replaceAll(/[A-Z]/g, (letter) => letter.toLowerCase()) + tail
    case 'shouts':
      return name.replaceAll(/[a-z]/g, (letter) => letter.toUpperCase()) + tail
    default:
      return fate.chance(0.5) ? question : randomCase(fate, name.toLowerCase()) + tail
  }
}
