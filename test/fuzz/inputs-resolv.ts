/**
 * resolv.conf: any text gives servers that can be asked and search domains that are names. A plain reading of the same
 * rules, a character at a time, says which.
 */
import { isIP } from 'node:net'
import { loadConfig } from '../../src/config/load.ts'
import { parseResolvConf, type ResolvConf } from '../../src/config/resolv-conf.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { deriveSettings, loopProbeNames } from '../../src/daemon/engine-settings.ts'
import type { Syscalls } from '../../src/os/syscalls.ts'
import { TableCompiler } from '../../src/table/compile.ts'
import { UpstreamSockets } from '../../src/worker/batch/upstream-sockets.ts'
import type { Random } from '../simulation/random.ts'
import { FakeSyscalls } from '../worker/fake-syscalls.ts'
import { bytesOf, mutated, repeated, type Stock } from './inputs-mutator.ts'
import { type FuzzTarget, must, mustBeUnpolluted, mustEqual } from './inputs-target.ts'

const { config: CONFIG } = loadConfig({ env: {} })

const WORDS = [
  'nameserver ',
  'search ',
  'domain ',
  'options ',
  'sortlist ',
  'ndots:5 ',
  'timeout:2 ',
  'attempts:0 ',
  'timeout:999999999999 ',
  'rotate ',
  'use-vc ',
  'edns0 ',
  '10.0.0.1',
  '10.0.0.2 ',
  'fd00::1',
  'fe80::1%eth0',
  'FE80::1%Lo',
  'fe80::1%99999999999',
  'fe80::1%nosuch0',
  '::ffff:10.0.0.1',
  '0.0.0.0',
  '::',
  '0:0:0:0:0:0:0:0',
  '256.1.1.1',
  '01.1.1.1',
  'shop.svc.cluster.local',
  'Svc.Cluster.Local. ',
  'é.example ',
  '. ',
  'a..b ',
  `${'a'.repeat(62)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)} `,
  `${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(62)}`,
  `${'a'.repeat(64)} `,
  '__proto__ ',
  '#',
  ';',
  ' ',
  '\t',
  '\v',
  '\n',
  '\r\n',
  '\r',
  '\0',
  '\uFEFF',
  '\u2028',
  '\u00A0',
]

/** The target `resolv`. */
export class ResolvConfTarget implements FuzzTarget {
  readonly name = 'resolv'
  readonly #stock: Stock
  readonly #sys: Syscalls = new FakeSyscalls()

  constructor(seeds: readonly Uint8Array[]) {
    const pod =
      'search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n'
    this.#stock = { seeds: [Buffer.from(pod), ...seeds], tokens: bytesOf(WORDS), maxBytes: 4096 }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.0005) return repeated(random.pick(this.#stock.tokens), 20_000)
    if (kind > 0.6) return mutated(random, this.#stock, pool)
    const lines = 1 + random.below(6)
    const parts: Uint8Array[] = []
    for (let k = 0; k < lines; k++) {
      const words = 1 + random.below(5)
      for (let n = 0; n < words; n++) parts.push(random.pick(this.#stock.tokens))
      parts.push(random.chance(0.9) ? LINE_END : random.pick(this.#stock.tokens))
    }
    return Buffer.concat(parts)
  }

  check(input: Uint8Array): string {
    const text = Buffer.from(input).toString()
    const read = parseResolvConf(text)
    mustBeUnpolluted()
    const { servers, search, options } = read
    must(servers.length <= 32, 'more servers than counters', servers.length)
    must(new Set(servers.map(({ label }) => label)).size === servers.length, 'a server comes twice')
    for (const { address, port } of servers) must(isIP(address) !== 0 && port === 53, 'a server is no address', address)
    for (const domain of search) must(nameToWire(domain) !== null, 'a search domain is no name', domain)
    const { ndots = 1, timeoutSeconds = 1, attempts = 1 } = options
    must(
      ndots >= 0 && ndots <= 15 && timeoutSeconds >= 1 && timeoutSeconds <= 30,
      'an option is out of bounds',
      options,
    )
    must(attempts >= 1 && attempts <= 5, 'attempts are out of bounds', options)
    mustEqual([servers.map(({ address }) => address), search], plainReading(text), 'it says something else')
    this.#mustBeUseful(read)
    return `${Math.min(servers.length, 3)} servers, ${Math.min(search.length, 2)} domains, ${options.useTcp ? 'tcp' : 'udp'}`
  }

  /** What is made of it, as the daemon and a worker make it. */
  #mustBeUseful(read: ResolvConf): void {
    const { settings } = deriveSettings(CONFIG, read, [])
    loopProbeNames('id', settings)
    const opened = new Int32Array(64).fill(-1)
    const sockets = new UpstreamSockets(this.#sys, () => 0, opened)
    sockets.configure(settings.servers, 1000, 0)
    settings.servers.forEach((_, server) => sockets.pick(server, -1, 0))
    sockets.closeAll()
    must(
      opened.every((fd) => fd === -1),
      'a socket was not closed',
    )
    const searchDomain = read.search[0] ?? null
    const identity = { namespace: 'shop', domain: 'shop.svc.cluster.local', searchDomain }
    const compiler = new TableCompiler({ identity, seed: 1, now: () => 0 })
    must(compiler.compile(new Uint8Array(0), '').kind === 'image', 'no table for this search domain')
  }
}

const LINE_END: Uint8Array = Buffer.from('\n')

/** The rules of resolv.conf once more: addresses and search domains. */
function plainReading(text: string): [servers: string[], search: string[]] {
  const servers: string[] = []
  let search: string[] = []
  for (const line of linesOf(text)) {
    const words: string[] = []
    for (const word of splitAt(line, ' \t\v\f')) {
      if (word[0] === '#' || word[0] === ';') break
      words.push(word)
    }
    const [keyword, ...others] = words
    if (keyword === 'nameserver' && servers.length < 32) {
      const address = plainAddress(others[0] ?? '')
      if (address !== null && !servers.includes(address)) servers.push(address)
    }
    if (keyword === 'search' || keyword === 'domain') {
      const names = (keyword === 'domain' ? others.slice(0, 1) : others).map(plainName).filter((name) => name !== null)
      search = names.filter((name, k) => names.indexOf(name) === k)
    }
  }
  return [servers, search]
}

/** Lines as editors see them, without a mark of byte order. */
export function linesOf(text: string): string[] {
  const plain = text.startsWith('\uFEFF') ? text.slice(1) : text
  return splitAt(plain.replaceAll('\r', '\n'), '\n')
}

/** What stands between any of the characters, empty pieces left out. */
export function splitAt(text: string, characters: string): string[] {
  const pieces: string[] = []
  let piece = ''
  for (const character of text) {
    if (!characters.includes(character)) piece += character
    else if (piece !== '') {
      pieces.push(piece)
      piece = ''
    }
  }
  if (piece !== '') pieces.push(piece)
  return pieces
}

function plainAddress(word: string): string | null {
  if (isIP(word) === 0) return null
  if (splitAt(word, '.:0').length === 0) return word.includes(':') ? '::1' : '127.0.0.1'
  const zone = word.indexOf('%')
  return zone === -1 ? word.toLowerCase() : word.slice(0, zone).toLowerCase() + word.slice(zone)
}

const NAME_CHARACTERS = 'abcdefghijklmnopqrstuvwxyz0123456789_-'

/** A host name in lower case without its trailing dot, null if it is none. */
export function plainName(word: string): string | null {
  const name = (word.endsWith('.') ? word.slice(0, -1) : word).toLowerCase()
  if (name.length > 253) return null
  for (const label of name.split('.')) {
    if (label.length === 0 || label.length > 63) return null
    if (splitAt(label, NAME_CHARACTERS).length > 0) return null
    if (label.startsWith('-') || label.endsWith('-')) return null
  }
  return name
}
