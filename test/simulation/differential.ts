/**
 * Questions about name tables in which names collide in every way: short names, search domains, wildcards, alternate
 * names, mixed case, escapes, the limits of 63 and 255 bytes. The engine and the reference must answer alike.
 */
import { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { TableCompiler } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { parseReferenceAddress, ReferenceTable } from '../table/reference-table.ts'
import { type Client, makeEpisode } from './episode.ts'
import { makeHostEntries } from './episode-settings.ts'
import { MessageWriter } from './message.ts'
import { labelsOf, wireName } from './names.ts'
import { type Asked, questionText, randomCase } from './queries.ts'
import { mix, Random } from './random.ts'
import { ReferenceResolver } from './reference-resolver.ts'
import { checkForm, checkLocal } from './reply-check.ts'
import { Violation } from './violation.ts'

const LABELS = [
  'a',
  'b',
  'A',
  'shop',
  'ops',
  'svc',
  'cluster',
  'local',
  'x',
  '*',
  'a\\.b',
  'a.b',
  'é',
  '\\001',
  'B'.repeat(63),
  'c'.repeat(62),
]
const SUFFIXES = [
  '',
  '.',
  '.shop.svc.cluster.local',
  '.ops.svc.cluster.local',
  '.SVC.cluster.local',
  '.svc.cluster.local',
  '.shop.svc.cluster.local.shop.svc.cluster.local',
  '.cluster.local.',
  '.x',
  '.x.x',
  '.example.org',
  '.localhost',
  '.in-addr.arpa',
  `.${'d'.repeat(63)}`,
  `.${`${'e'.repeat(63)}.`.repeat(3)}`,
  `.${`${'f'.repeat(60)}.`.repeat(2)}svc.cluster.local`,
]
const IPS = [
  '192.0.2.1',
  '192.0.2.2',
  '192.0.2.3',
  'fd00::1',
  'FD00:0::1',
  '::ffff:192.0.2.1',
  '10.0.0.400',
  '10.0.0.0/8',
  '',
]
const TYPES = [1, 1, 1, 28, 28, 255, 65, 64, 12, 16, 15, 33]
const QUESTIONS_EACH = 500

function makeHost(random: Random): string {
  const labels = Array.from({ length: 1 + random.below(3) }, () => random.pick(LABELS))
  if (random.chance(0.2)) labels.unshift('*')
  return labels.join('.') + random.pick(SUFFIXES)
}

function makeInfo(random: Random): NameInfo {
  const ip = (): string =>
    random.chance(0.5) ? random.pick(IPS) : `10.${random.below(256)}.${random.below(256)}.${random.below(256)}`
  return {
    ips: Array.from({ length: random.pick([1, 1, 2, 5, 40]) }, ip),
    registry: random.pick(['Kubernetes', 'Kubernetes', 'External', '']),
    shortname: random.pick(['', 'a', 'a.b', 'B', 'b.a', 'shop']),
    namespace: random.pick(['', 'shop', 'Shop', 'ops', 'x', 'shop.svc']),
    altHosts: random.chance(0.3) ? [makeHost(random), makeHost(random)] : [],
  }
}

function makeTable(random: Random): NameTable {
  const table: NameTable = new Map()
  for (let n = random.below(40); n >= 0; n--) {
    if (random.chance(0.3)) {
      const name = random.pick(['a', 'b', 'a.b', 'shop'])
      const namespace = random.pick(['shop', 'ops', 'svc'])
      table.set(`${name}.${namespace}.svc.cluster.local`, {
        ...makeInfo(random),
        registry: 'Kubernetes',
        shortname: name,
        namespace,
      })
    } else table.set(makeHost(random), makeInfo(random))
  }
  return table
}

function wireOfLabels(labels: string[]): string {
  return `${labels.map((label) => String.fromCharCode(label.length) + label).join('')}\0`
}

/** Names of the table and names near them: with labels added or taken away, with search domains. */
function makeNames(reference: ReferenceTable, table: NameTable, identity: TableIdentity): string[] {
  const search = identity.searchDomain === null ? [] : labelsOf(wireName(identity.searchDomain.toLowerCase()))
  const known = [...reference.exact.keys(), ...reference.wildcards.keys(), ...reference.aliases.keys()].map((key) =>
    key.split('\0'),
  )
  const near = known
    .flatMap((name) => [
      name,
      name.slice(1),
      name.slice(0, -1),
      ['a', ...name],
      ['zz', ...name.slice(1)],
      ['q', 'r', ...name.slice(1)],
    ])
    .flatMap((name) => [name, [...name, ...search], [...name, ...search, ...search]])
  const pointers = [...table.values()]
    .flatMap(({ ips }) => ips.map(parseReferenceAddress))
    .filter((hex) => hex !== null)
  const reversed = pointers.map((hex) => {
    if (hex.length === 32) return [...hex.split('').toReversed(), 'ip6', 'arpa']
    return [...[...Buffer.from(hex, 'hex')].map(String).toReversed(), 'in-addr', 'arpa']
  })
  return [
    ...near,
    ...reversed,
    [],
    ['localhost'],
    ['a', 'localhost'],
    ['xinvalid'],
    ['a', 'onion'],
    ['resolver', 'arpa'],
  ]
    .map(wireOfLabels)
    .filter((name) => name.length <= 255)
}

/** Asks `questions` questions and compares; returns how many were answered here, and not left to a server. */
export function runDifferential(seed: number, questions: number): { asked: number; answeredHere: number } {
  let asked = 0
  let answeredHere = 0
  for (let round = 0; asked < questions; round++) {
    const random = new Random(mix(seed, round))
    try {
      const { here, all } = compareTable(random, seed + round)
      asked += all
      answeredHere += here
    } catch (error) {
      if (error instanceof Violation) throw new Violation(`seed ${seed}, table ${round}: ${error.message}`)
      throw error
    }
  }
  return { asked, answeredHere }
}

function compareTable(random: Random, seed: number): { here: number; all: number } {
  const identity: TableIdentity = {
    namespace: random.pick(['shop', 'ops', '']),
    domain: random.pick(['shop.svc.cluster.local', 'Shop.svc.Cluster.local.', 'shop.svc', '']),
    searchDomain: random.pick(['shop.svc.cluster.local', 'SHOP.svc.cluster.local.', 'x', 'a.b', null]),
  }
  const table = makeTable(random)
  const reference = new ReferenceTable(table, identity)
  const compiler = new TableCompiler({ identity, seed: random.next(), now: () => 0 })
  const compiled = compiler.compile(encodeNameTable(table), '')
  if (compiled.kind !== 'image') {
    if (reference.hosts > 0) throw new Violation(`a table with ${reference.hosts} hosts is ${compiled.kind}`)
    return { here: 0, all: 1 }
  }
  const { clients, settings } = makeEpisode(seed, 0)
  const names = makeNames(reference, table, identity)
  const { rateLimit: _limit, loopProbe: _probe, plugins: _plugins, rules: _rules, ...unlimited } = settings[0]!
  const engineSettings: EngineSettings = {
    ...unlimited,
    servers: [],
    // A hosts file and a table may have the same names.
    hosts: makeHostEntries(random, names),
    startedAtMs: -10_000,
    routes: [{ domains: [Uint8Array.of(0)], servers: [], policy: 'random' }],
  }
  const engine = makeEngine(engineSettings, random, compiled.image.seed)
  engine.adopt(compiled.image)
  const resolver = new ReferenceResolver({ identities: [identity], tables: [table], rules: new Map() })
  resolver.table = 0
  let here = 0
  for (let n = 0; n < QUESTIONS_EACH; n++) {
    if (ask(engine, resolver, random, random.pick(names), clients[random.below(5)]!, engineSettings)) here++
  }
  return { here, all: QUESTIONS_EACH }
}

const out = Buffer.alloc(70_000)
const writer = new MessageWriter()

function makeEngine(settings: EngineSettings, random: Random, seed: number): Engine {
  const reply = Buffer.alloc(70_000)
  const outlet = {
    hold: (): void => {},
    openReply: (): void => {},
    reply,
    replyAt: 0,
    sendReply: (): void => {},
    openQuery: (): void => {},
    query: reply,
    queryAt: 0,
    sendQuery: (): number => -1,
    sendStreamQuery: (): void => {},
  }
  return new Engine({ settings, outlet, counters: new WorkerCounters(), random: () => random.next(), seed, now: 0 })
}

/** True if the question was answered here, and rightly so. */
function ask(
  engine: Engine,
  resolver: ReferenceResolver,
  random: Random,
  name: string,
  client: Client,
  settings: EngineSettings,
): boolean {
  const isStream = random.chance(0.2)
  const type = name.endsWith('\u0004arpa\0') && random.chance(0.8) ? 12 : random.pick(TYPES)
  const spelt = random.chance(0.3) ? randomCase(random, name) : name
  const flags = random.pick([0x0100, 0x0100, 0x0000, 0x0110])
  const asked: Asked = {
    id: random.below(65_536),
    flags,
    question: questionText(spelt, type, 1),
    name,
    type,
    edns: null,
    verdict: 'ok',
    isBroken: false,
  }
  writer.begin(asked.id, flags)
  writer.rawQuestion(asked.question)
  if (random.chance(0.5)) {
    asked.edns = { payload: random.pick([512, 1232, 4096]), version: 0, dnssecOk: random.chance(0.2), cookie: '' }
    writer.opt(asked.edns.payload, 0, 0, asked.edns.dnssecOk, '')
  }
  const packet = writer.take()
  engine.client(isStream ? 1 : 0, client.address, 0, client.address.length)
  const length = engine.query(packet, 0, packet.length, out, 0)
  const expectation = resolver.expect(asked, client, isStream, settings, 0)
  const what = `${JSON.stringify(spelt)} type ${type}`
  if (expectation.kind !== 'local') {
    // Without servers to ask it fails at once, or is held and fails.
    const isFailure = length === 0 || (out[3]! & 15) === 2
    if (expectation.kind === 'upstream' && !isFailure) throw new Violation(`${what}: answered here instead of upstream`)
    return false
  }
  if (length === 0) throw new Violation(`${what}: not answered here`)
  const advertise = client.isLocal ? settings.maxUdpPayload.local : settings.maxUdpPayload.remote
  const limits = {
    limit: isStream ? 65_535 : Math.min(Math.max(512, asked.edns?.payload ?? 512), advertise),
    advertise,
    cookieSeconds: -1,
  }
  const reply = checkForm(asked, limits, out, 0, length)
  if (typeof reply === 'string') throw new Violation(`${what}: ${reply}`)
  const wrong = checkLocal(expectation, reply, limits)
  if (wrong !== null) throw new Violation(`${what}: ${wrong}`)
  return true
}
