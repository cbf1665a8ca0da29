/**
 * Name tables: serialized, to the compiled image and the engine's answers. protobufjs's reflection decoder says what the
 * bytes mean (inputs-nds-oracle.ts) and the plain reference of test/table what each name then answers.
 */
import { TableCompiler } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { type Image, imageBytes } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { AT_CHECKSUM } from '../../src/table/image-layout.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { hashText, mix, Random } from '../simulation/random.ts'
import { find, findAddress } from '../table/compiled.ts'
import { questions } from '../table/questions.ts'
import { labelsOf, parseReferenceAddress, ReferenceTable, wireOf } from '../table/reference-table.ts'
import { Asker, MOST_ADDRESSES } from './inputs-ask.ts'
import { bytesOf, mutated, randomBytes, type Stock } from './inputs-mutator.ts'
import { largeTable, oddTable } from './inputs-nds-bytes.ts'
import { decodeByReflection, fieldsOf, hostsBySchema, odditiesOf, type OracleEntry } from './inputs-nds-oracle.ts'
import { type FuzzTarget, must, mustBeOneLine, mustEqual, templateOf } from './inputs-target.ts'

const WHOS: readonly TableIdentity[] = [
  { namespace: 'shop', domain: 'shop.svc.cluster.local', searchDomain: 'shop.svc.cluster.local' },
  { namespace: 'ops', domain: 'Ops.svc.Cluster.local.', searchDomain: null },
  { namespace: '', domain: '', searchDomain: 'x' },
]
/** Larger tables are compared with the oracle by their listing alone. */
const FULL_COMPARISON_HOSTS = 60

const BASE: NameTable = new Map([
  ['base.shop.svc.cluster.local', known('base', ['192.0.2.200'])],
  ['other.shop.svc.cluster.local', known('other', ['192.0.2.201', 'fd00::201'])],
])

function known(shortname: string, ips: string[]): NameInfo {
  return { ips, registry: 'Kubernetes', shortname, namespace: 'shop', altHosts: [] }
}

/** The target `nds`. */
export class NameTableTarget implements FuzzTarget {
  readonly name = 'nds'
  readonly #stock: Stock
  readonly #compilers: TableCompiler[]
  readonly #base: Uint8Array = encodeNameTable(BASE)
  readonly #asker: Asker = new Asker()

  constructor(seeds: readonly Uint8Array[]) {
    const tokens = bytesOf(['192.0.2.1', 'fd00::1', 'Kubernetes', 'External', '.svc.cluster.local', '*.', '\\000'])
    const tags = [
      [0x0a],
      [0x12],
      [0x1a],
      [0x22],
      [0x2a],
      [0x0a, 0],
      [0x80, 0],
      [0x8a, 0x80, 0],
      [0x0b],
      [0x0c],
      [0x08, 1],
    ]
    this.#stock = {
      seeds: [this.#base, ...seeds],
      tokens: [...tokens, ...tags.map((tag) => Uint8Array.from(tag))],
      maxBytes: 8192,
    }
    this.#compilers = WHOS.map((identity, k) => new TableCompiler({ identity, seed: 0x5eed + k, now: () => 1000 }))
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.0002) return largeTable(random)
    if (kind < 0.02) return randomBytes(random, random.below(24))
    if (kind < 0.55) return oddTable(random)
    return mutated(random, this.#stock, pool)
  }

  check(input: Uint8Array): string {
    const random = new Random(mix(input.length, hashText(Buffer.from(input).toString('latin1'))))
    const place = random.below(WHOS.length)
    const compiler = this.#compilers[place]!
    const who = WHOS[place]!
    // So that what is found depends on this input alone.
    must(compiler.compile(this.#base, 'base').kind !== 'refused', 'the table at the beginning is refused')
    const before = checksumOf(compiler.held!)
    const held = compiler.held
    const result = compiler.compile(input, 'fuzzed')
    const oracle = decodeByReflection(input)
    if (oracle !== null && oracle.isText) {
      const hosts = new Set(oracle.entries.map(({ host }) => Buffer.from(host).toString()))
      mustEqual(hostsBySchema(input)?.toSorted(), [...hosts].toSorted(), 'the oracle contradicts itself')
    }
    if (result.kind === 'busy') must(false, 'every slot is taken')
    if (result.kind === 'refused') {
      mustBeOneLine(result.reason, 'reason of a refusal')
      must(compiler.held === held && checksumOf(held!) === before, 'a refused table changed the one in use')
      const isMalformed = result.reason.startsWith('not a NameTable')
      if (oracle === null) return isMalformed ? 'malformed' : 'unusable, malformed in part'
      if (isMalformed) must(odditiesOf(input).malformedToUs, 'malformed to us, not to protobuf', result.reason)
      else must(usableOf(oracle.entries).size === 0, 'refused with usable hosts', result.reason)
      return templateOf(result.reason)
    }
    const image = compiler.held!
    must(verifyImage(imageBytes(image)) === null, 'an image made of a table is refused as a file')
    if (oracle === null) {
      must(odditiesOf(input).repeatedValues, 'malformed to protobuf, not to us')
      return 'accepted, of repeated values the last'
    }
    if (!oracle.isText) return 'accepted, not UTF-8'
    const table = usableOf(oracle.entries)
    const isRepeated = this.#compare(image, table, oracle.entries, who, random)
    if (result.kind === 'unchanged') return 'unchanged'
    if (isRepeated) return `accepted, hosts repeated${result.patchedHosts > 0 ? ', laid over' : ''}`
    const follower = withOtherAddresses(table, random)
    if (follower === null) return 'accepted'
    const next = compiler.compile(encodeNameTable(follower), 'follower')
    must(next.kind === 'image', 'a table with another address is not accepted', next)
    this.#compare(compiler.held!, follower, null, who, random)
    return next.kind === 'image' && next.patchedHosts > 0 ? 'accepted, next laid over' : 'accepted, next compiled'
  }

  pieces(input: Uint8Array): [from: number, to: number][] {
    return fieldsOf(input)
  }

  /** Compares what the image answers with what the table says. True if hosts come twice, and how was not compared in full. */
  #compare(
    image: Image,
    table: NameTable,
    entries: readonly OracleEntry[] | null,
    who: TableIdentity,
    random: Random,
  ): boolean {
    const isRepeated = entries !== null && new Set(entries.map(({ host }) => textOf(host))).size < entries.length
    // The reference joins labels by NUL.
    const names = [...table].flatMap(([host, { shortname, namespace, altHosts }]) => [
      host,
      shortname,
      namespace,
      ...altHosts,
    ])
    if (names.some((name) => /\0|\\000/.test(name))) return true
    // Spelt alike and spelt otherwise at once: which of them is compared with which is nobody's business.
    if (isRepeated && new Set([...table.keys()].map((host) => labelsOf(host)!.join('\0'))).size < table.size)
      return true
    const reference = new ReferenceTable(table, who)
    mustEqual(image.hosts, reference.hosts, 'the number of hosts is another')
    if (entries !== null && !isRepeated) {
      const all = new ReferenceTable(new Map(entries.map((entry) => [textOf(entry.host), infoOf(entry)])), who)
      mustEqual(
        [image.skippedHosts, image.skippedAddresses],
        [all.skippedHosts, all.skippedAddresses],
        'what was left out is counted otherwise',
      )
    }
    const listed = [...listHosts(image)]
    must(listed.length === image.hosts, 'the listing has another number of hosts')
    this.#asker.adopt(image)
    for (const [group, isWildcard] of [
      [reference.exact, false],
      [reference.aliases, false],
      [reference.wildcards, true],
    ] as const) {
      for (const [key, { v4, v6 }] of group) {
        if (v4.length + v6.length > MOST_ADDRESSES) continue
        const labels = isWildcard ? ['zz', ...key.split('\0').slice(1)] : key.split('\0')
        const wire = wireOf(labels)
        // What is below the longest names cannot be asked for.
        if (wire.length > 255 || (isWildcard && reference.find(labels)?.wildcard !== true)) continue
        const wanted = reference.find(labels)!
        const got = this.#asker.addressesOf(wire)
        mustEqual(got, { v4: wanted.v4.toSorted(), v6: wanted.v6.toSorted() }, 'a name has other addresses')
      }
      if (group.size > FULL_COMPARISON_HOSTS) return isRepeated
    }
    for (const address of reference.pointers.keys()) {
      mustEqual(findAddress(image, address), reference.findAddress(address), 'an address has another name')
    }
    if (random.chance(0.12)) compareAllQuestions(image, table, who, reference)
    return isRepeated
  }
}

function compareAllQuestions(image: Image, table: NameTable, who: TableIdentity, reference: ReferenceTable): void {
  for (const name of questions(table, who, reference, [])) {
    const wanted = reference.find(name)
    const got = find(image, name)
    mustEqual(
      got && { host: wanted?.host, ...got },
      wanted && {
        host: wanted.host,
        expanded: wanted.expanded,
        wildcard: wanted.wildcard,
        kubernetes: wanted.kubernetes,
        owner: wanted.owner,
        cname: wanted.cname,
        v4: wanted.v4,
        v6: wanted.v6,
      },
      'a question has another answer',
    )
  }
}

function checksumOf(image: Image): number {
  return new Int32Array(imageBytes(image).buffer)[AT_CHECKSUM]!
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString()
}

function infoOf(entry: OracleEntry): NameInfo {
  return {
    ips: entry.ips.map(textOf),
    registry: textOf(entry.registry),
    shortname: textOf(entry.shortname),
    namespace: textOf(entry.namespace),
    altHosts: entry.altHosts.map(textOf),
  }
}

/** The hosts that are some: a name, and at least one address. Of one host the last entry counts. */
function usableOf(entries: readonly OracleEntry[]): NameTable {
  const table: NameTable = new Map()
  for (const entry of entries) {
    const host = textOf(entry.host)
    const labels = labelsOf(host)
    if (labels === null || labels.length === 0 || (labels.length === 1 && labels[0] === '*')) continue
    const info = infoOf(entry)
    if (info.ips.some((ip) => parseReferenceAddress(ip) !== null)) table.set(host, info)
  }
  return table
}

/** The table with another address for a few hosts; null if there is none that can have one. */
function withOtherAddresses(table: NameTable, random: Random): NameTable | null {
  const next: NameTable = new Map(table)
  let changes = 0
  for (const [host, info] of table) {
    if (!random.chance(0.4)) continue
    const place = info.ips.findIndex((ip) => parseReferenceAddress(ip)?.length === 8)
    if (place === -1) continue
    const ips = info.ips.with(place, `198.51.100.${random.below(256)}`)
    next.set(host, { ...info, ips })
    if (JSON.stringify(ips) !== JSON.stringify(info.ips)) changes++
  }
  return changes === 0 ? null : next
}
