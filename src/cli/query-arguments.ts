import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import { literalBytes } from '../dns/address.ts'
import { parseServer, socketText } from '../config/address.ts'
import { nameToWire } from '../dns/name.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { DEFAULT_TRIES, type ExchangeServer } from './dns-exchange.ts'
import { packetType } from '../explain/dns-text.ts'

/** Whom `byname query` asks unless told otherwise. */
export const DEFAULT_SERVER = '127.0.0.1:15053'
const DEFAULT_SERVER_IPV6 = '[::1]:15053'
/** How long a query waits for its reply unless told otherwise. */
export const DEFAULT_TIMEOUT_SECONDS = 5

/** What is asked for. */
export interface Question {
  name: string
  /** dns-packet's name of the type. */
  type: string
}

/** What `byname query` is to do. */
export interface QueryArguments {
  question: Question
  server: ExchangeServer
  isTcp: boolean
  isDnssec: boolean
  shown: Shown
  timeoutMs: number
  /** How often a datagram is sent before the wait is over. */
  tries: number
}

/** All that there is to say, the records of the answer as dig prints them, their data, or nothing. */
type Shown = 'report' | 'records' | 'data' | 'nothing'

/**
 * Reads the arguments of `byname query`, which are its own or dig's: `@SERVER`, `-p`, `-x`, `-t`, `-q`, `-c`, `-4`, `-6`, the
 * switches below, name and type in any order, and the class IN, which says nothing.
 * @throws UsageError
 */
export function readQueryArguments(given: CommandArguments): QueryArguments {
  const servers = given.positionals.filter((word) => word.startsWith('@')).map((word) => word.slice(1))
  const switches: Switches = {}
  given.positionals
    .filter((word) => word.startsWith('+'))
    .forEach((word, index, all) => Object.assign(switches, readSwitch(word, index, all)))
  const words = given.positionals.filter((word) => !/^[@+]/.test(word))
  const server = serverOf(given, servers)
  if (!/^(?:in)?$/i.test(given.text('class') ?? ''))
    throw new UsageError(
      `-c: ${JSON.stringify(given.text('class'))} is not IN, the only class that byname has names of`,
    )
  const {
    isDnssec = given.has('dnssec'),
    isShort = given.has('short'),
    isTcp = given.has('tcp') || server.isTcp,
  } = switches
  const sections = switches.hasAnswer ? 'records' : switches.hasNothing ? 'nothing' : 'report'
  return {
    question: questionOf(given, words),
    server,
    isTcp,
    isDnssec,
    shown: isShort ? 'data' : sections,
    timeoutMs: timeoutOf(switches.seconds ?? given.text('timeout') ?? String(DEFAULT_TIMEOUT_SECONDS)),
    tries: switches.tries ?? DEFAULT_TRIES,
  }
}

/** dig's switches, the last one of a kind. */
interface Switches {
  isShort?: boolean
  isTcp?: boolean
  isDnssec?: boolean
  /** `+noall`, and `+answer` after it. */
  hasNothing?: boolean
  hasAnswer?: boolean
  seconds?: string
  tries?: number
}

const SWITCHES: Readonly<Record<string, Switches>> = {
  short: { isShort: true },
  noshort: { isShort: false },
  tcp: { isTcp: true },
  vc: { isTcp: true },
  notcp: { isTcp: false },
  novc: { isTcp: false },
  dnssec: { isDnssec: true },
  do: { isDnssec: true },
  nodnssec: { isDnssec: false },
  nodo: { isDnssec: false },
  all: { hasNothing: false, hasAnswer: false },
  noall: { hasNothing: true, hasAnswer: false },
  noanswer: { hasAnswer: false },
}

function readSwitch(word: string, index: number, all: readonly string[]): Switches {
  const [name = '', value] = word.slice(1).split('=', 2)
  if (value === undefined && Object.hasOwn(SWITCHES, name)) return SWITCHES[name]!
  // Alone it asks for what is shown anyway.
  if (word === '+answer') return all.slice(0, index).includes('+noall') ? { hasAnswer: true } : {}
  const count = /^\d{1,3}$/.test(value ?? '') ? Number(value) : null
  if (name === 'tries' && count !== null) return { tries: Math.max(1, count) }
  if (name === 'retry' && count !== null) return { tries: count + 1 }
  if ((name === 'time' || name === 'timeout') && value !== undefined) return { seconds: value }
  throw new UsageError(
    `${word} is not one of +short, +tcp, +notcp, +dnssec, +noall, +answer, +time=SECONDS, +tries=N, +retry=N`,
  )
}

function questionOf(given: CommandArguments, positionals: readonly string[]): Question {
  const quoted = given.text('name')
  const words = quoted === undefined ? positionals : [quoted, ...positionals]
  const named = given.text('reverse')
  if (named !== undefined) {
    if (words.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(words[0])} beside -x`)
    if (isIP(named) === 0) throw new UsageError(`-x: ${JSON.stringify(named)} is no IP address`)
    return { name: reverseName(named), type: 'PTR' }
  }
  const { name: written, type } = nameAndType(words, given.text('type'))
  if (type === undefined && isIP(written) !== 0) return { name: reverseName(written), type: 'PTR' }
  const name = written.normalize('NFC').match(/^[\p{ASCII}]*$/u) ? written : domainToASCII(written)
  if (nameToWire(name) === null) {
    throw new UsageError(
      `${JSON.stringify(written)} is no domain name: labels have 1 to 63 bytes, all of it at most 255`,
    )
  }
  const known = packetType(type ?? 'A')
  if (known === null) throw new UsageError(`${JSON.stringify(type)} is no record type; write A, AAAA, TYPE65, …`)
  return { name, type: known }
}

/** The name comes first where both could be types. */
function nameAndType(all: readonly string[], given: string | undefined): { name: string; type: string | undefined } {
  const most = given === undefined ? 2 : 1
  const classAt = all.length > most ? all.findIndex((word) => word.toUpperCase() === 'IN') : -1
  const words = all.filter((_, index) => index !== classAt)
  const [first, second] = words
  if (first === undefined) throw new UsageError('name what to ask for: byname query NAME [TYPE]')
  if (words.length > most) throw new UsageError(`unexpected argument ${JSON.stringify(words[most])}`)
  if (second === undefined) return { name: first, type: given }
  if (packetType(second) === null && packetType(first) !== null) return { name: second, type: first }
  return { name: first, type: second }
}

/** `10.0.0.1` is `1.0.0.10.in-addr.arpa`. */
function reverseName(address: string): string {
  const bytes = literalBytes(address)
  if (bytes.length === 4) return `${bytes.toReversed().join('.')}.in-addr.arpa`
  const digits = Buffer.from(bytes).toString('hex')
  return `${digits.split('').toReversed().join('.')}.ip6.arpa`
}

function serverOf(given: CommandArguments, servers: readonly string[]): ExchangeServer & { isTcp: boolean } {
  const written = [...given.texts('server'), ...servers]
  if (written.length > 1) throw new UsageError(`one server can be asked, not ${written.join(' and ')}`)
  const option = servers.length > 0 ? `@${servers[0]}` : '--server'
  if (given.has('ipv4') && given.has('ipv6')) throw new UsageError('-4 and -6 exclude each other')
  const server = parseServer(written[0] ?? (given.has('ipv6') ? DEFAULT_SERVER_IPV6 : DEFAULT_SERVER))
  if ('reason' in server) throw new UsageError(`${option}: ${server.reason}`)
  const { address, transport } = server.value
  const isIpv6 = address.includes(':')
  if (given.has(isIpv6 ? 'ipv4' : 'ipv6'))
    throw new UsageError(
      `${isIpv6 ? '-4' : '-6'}: ${address} is an address of IPv${isIpv6 ? 6 : 4}; leave it out, or name another server`,
    )
  if (transport !== 'udp' && transport !== 'tcp') throw new UsageError(`${option}: only UDP and TCP can be asked`)
  const port = portOf(given.text('port')) ?? server.value.port
  return { address, port, text: socketText(address, port), isTcp: transport === 'tcp' }
}

function portOf(text: string | undefined): number | null {
  if (text === undefined) return null
  const port = Number(text)
  if (/^\d{1,5}$/.test(text) && port > 0 && port < 65_536) return port
  throw new UsageError(`--port: ${JSON.stringify(text)} is no port; write a number from 1 to 65535`)
}

function timeoutOf(text: string): number {
  const seconds = Number(text)
  if (seconds > 0 && seconds <= 3600) return seconds * 1000
  throw new UsageError('--timeout: must be a number of seconds, at most 3600')
}
