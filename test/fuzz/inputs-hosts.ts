/** hosts files: any text gives names that the engine answers with just the addresses that a plain reading finds. */
import { isIP } from 'node:net'
import { parseHostsFile } from '../../src/config/hosts-file.ts'
import { Type } from '../../src/dns/constants.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { hostEntries } from '../../src/daemon/engine-settings.ts'
import type { Random } from '../simulation/random.ts'
import { parseReferenceAddress } from '../table/reference-table.ts'
import { Asker, MOST_ADDRESSES } from './inputs-ask.ts'
import { bytesOf, mutated, repeated, type Stock } from './inputs-mutator.ts'
import { linesOf, plainName, splitAt } from './inputs-resolv.ts'
import { type FuzzTarget, must, mustBeUnpolluted, mustEqual } from './inputs-target.ts'

/** Names that are answered before a hosts file is looked at. */
const SPECIAL = /(?:^|\.)(?:localhost|invalid|onion|resolver\.arpa)$/
const MOST_ASKED = 40

const WORDS = [
  '10.0.0.1 ',
  '10.0.0.2\t',
  'fd00::1 ',
  'FD00::A ',
  '::ffff:10.0.0.1 ',
  '::1.2.3.4 ',
  '0.0.0.0 ',
  '255.255.255.255 ',
  'fe80::1%lo0 ',
  '10.0.0 ',
  '010.0.0.1 ',
  'db ',
  'Db.Corp. ',
  'db.corp ',
  'a_b ',
  'localhost ',
  'x.localhost ',
  '1.0.0.10.in-addr.arpa ',
  'x.onion ',
  'g..h ',
  '-f ',
  'e! ',
  'é ',
  '__proto__ ',
  'constructor ',
  `${'a'.repeat(63)} `,
  `${'a'.repeat(64)} `,
  `${'a'.repeat(62)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)} `,
  `${'a'.repeat(61)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)}. `,
  '# ',
  '#',
  '\n',
  '\r\n',
  '\r',
  '\t',
  '\0',
  '\uFEFF',
  '\u2028',
  '\u00A0',
  '.',
]

/** The target `hosts`. */
export class HostsFileTarget implements FuzzTarget {
  readonly name = 'hosts'
  readonly #stock: Stock
  readonly #asker: Asker = new Asker({ maxInFlight: 1, cache: { maxBytes: 0 } })

  constructor(seeds: readonly Uint8Array[]) {
    const usual = '127.0.0.1 localhost\n::1 localhost ip6-localhost\n10.0.0.1 db.corp db # ours\n'
    this.#stock = { seeds: [Buffer.from(usual), ...seeds], tokens: bytesOf(WORDS), maxBytes: 4096 }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.0003) return repeated(random.pick(this.#stock.tokens), 10_000)
    if (kind < 0.0005) return largeFile(random)
    if (kind > 0.6) return mutated(random, this.#stock, pool)
    const lines = 1 + random.below(6)
    const parts: Uint8Array[] = []
    for (let k = 0; k < lines; k++) {
      const words = 2 + random.below(4)
      for (let n = 0; n < words; n++) parts.push(random.pick(this.#stock.tokens))
      parts.push(Buffer.from('\n'))
    }
    return Buffer.concat(parts)
  }

  check(input: Uint8Array): string {
    const text = Buffer.from(input).toString()
    const file = parseHostsFile(text)
    mustBeUnpolluted()
    const { addresses, names } = plainReading(text)
    mustEqual(
      [...file.addresses],
      [...addresses].map(([name, all]) => [name, [...all]]),
      'it says something else',
    )
    mustEqual([...file.names], [...names], 'the names of addresses are others')
    const entries = hostEntries(file)
    for (const { name } of entries) must(name instanceof Uint8Array && name.length <= 255, 'a name is none')
    if (entries.length === 0) return 'no names'
    const asker = this.#asker
    asker.configure({ hosts: entries, maxInFlight: 1, cache: { maxBytes: 0 } })
    let asked = 0
    for (const [name, all] of addresses) {
      if (SPECIAL.test(name) || all.size > MOST_ADDRESSES || asked++ > MOST_ASKED) continue
      const bytes = [...all].map(bytesOfAddress)
      const of = (length: number): string[] => [...new Set(bytes.filter((each) => each.length === length))].toSorted()
      const got = asker.addressesOf(nameToWire(name)!)
      mustEqual({ v4: unique(got?.v4), v6: unique(got?.v6) }, { v4: of(8), v6: of(32) }, 'a name has other addresses')
    }
    asked = 0
    const known = new Map<string, string>()
    for (const [address, name] of names) {
      const bytes = bytesOfAddress(address)
      if (!known.has(bytes)) known.set(bytes, name)
    }
    for (const [bytes, name] of known) {
      if (asked++ > MOST_ASKED) break
      const got = asker.ask(nameToWire(reverseName(bytes))!, Type.PTR)
      mustEqual(got?.pointer?.join('.'), name, 'an address has another name')
    }
    return `${Math.min(3, addresses.size)} names, ${Math.min(3, names.size)} addresses`
  }
}

function unique(addresses: string[] | undefined): string[] | null {
  return addresses === undefined ? null : [...new Set(addresses)]
}

/** Hexadecimal; an IPv4-mapped address is the IPv4 one: that is what it means in a hosts file. */
function bytesOfAddress(address: string): string {
  const hex = parseReferenceAddress(address)!
  return hex.startsWith('00000000000000000000ffff') ? hex.slice(24) : hex
}

function reverseName(hex: string): string {
  if (hex.length === 32) return `${hex.split('').toReversed().join('.')}.ip6.arpa`
  return `${[...Buffer.from(hex, 'hex')].toReversed().join('.')}.in-addr.arpa`
}

/** The rules of a hosts file once more. */
function plainReading(text: string): { addresses: Map<string, Set<string>>; names: Map<string, string> } {
  const addresses = new Map<string, Set<string>>()
  const names = new Map<string, string>()
  for (const line of linesOf(text)) {
    const comment = line.indexOf('#')
    const [address = '', ...words] = splitAt(comment === -1 ? line : line.slice(0, comment), SPACES)
    if (isIP(address) === 0 || address.includes('%')) continue
    for (const name of words.map(plainName).filter((each) => each !== null)) {
      const literal = address.toLowerCase()
      if (!names.has(literal)) names.set(literal, name)
      const known = addresses.get(name) ?? new Set()
      addresses.set(name, known.add(literal))
    }
  }
  return { addresses, names }
}

/** White space as C has it. */
const SPACES = ' \t\v\f'

function largeFile(random: Random): Uint8Array {
  const count = 5000 + random.below(20_000)
  const isOneName = random.chance(0.5)
  const line = (k: number): string => `10.${k >> 16}.${(k >> 8) & 255}.${k & 255} ${isOneName ? 'one' : `n${k}`}\n`
  return Buffer.from(Array.from({ length: count }, (_, k) => line(k)).join(''))
}
