/**
 * Mesh files: Kubernetes and Istio resources in YAML, and name tables in JSON. What is accepted becomes a table of which
 * the engine answers every name; what is not is told in lines that name the file.
 *
 * An input that begins with `{"table"` is a table file; any other is YAML.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { nameToWire } from '../../src/dns/name.ts'
import { AutoVips, hostsToAllocate, usedAddresses } from '../../src/mesh/auto-vip.ts'
import { readMeshYaml } from '../../src/mesh/mesh-yaml.ts'
import { buildNameTable, indexMesh } from '../../src/mesh/name-table-builder.ts'
import { TableCompiler } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { encodeNameTable, type NameTable, nameTableToJson, parseNameTableJson } from '../../src/table/nds.ts'
import type { Random } from '../simulation/random.ts'
import { documents, service, serviceEntry, shopNode, slice, workload } from '../mesh/mesh-of.ts'
import { labelsOf, parseReferenceAddress, ReferenceTable, wireOf } from '../table/reference-table.ts'
import { Asker, MOST_ADDRESSES } from './inputs-ask.ts'
import { bytesOf, mutated, repeated, type Stock } from './inputs-mutator.ts'
import { type FuzzTarget, must, mustBeOneLine, mustBeUnpolluted, mustEqual, templateOf } from './inputs-target.ts'
import { YAML_TOKENS } from './inputs-yaml.ts'

const FILE = 'fuzzed.yaml'
const WHO: TableIdentity = {
  namespace: 'shop',
  domain: 'shop.svc.cluster.local',
  searchDomain: 'shop.svc.cluster.local',
}
/** readMeshYaml shows ten, and says how many more there are. */
const MOST_PROBLEMS = 11

const WORDS = [
  'apiVersion: v1\nkind: Service\n',
  'apiVersion: v1\nkind: List\nitems:\n- ',
  '&l {apiVersion: v1, kind: List, items: [*l]}',
  'kind: ServiceList\n',
  'kind: "a\\nb"\n',
  'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n',
  'apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n',
  'metadata: {name: web, namespace: shop}\n',
  'metadata: {name: web, labels: {__proto__: x, constructor: y}}\n',
  'spec: {clusterIP: 10.0.0.1}\n',
  'clusterIP: None',
  'clusterIPs: [10.0.0.1, "fd00::1"]',
  'hosts: ["*.x.example", api.example.com]',
  `hosts: ["*.${'a'.repeat(61)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}"]`,
  `name: ${'a'.repeat(70)}`,
  'name: a..b',
  'resolution: DNS',
  'resolution: DYNAMIC_DNS',
  'addresses: [240.240.0.1, 10.0.0.0/8, "2001:2::f0f0:1", "2001:2::1.2.3.4"]',
  'workloadSelector: {labels: {app: x}}',
  'endpoints: [{addresses: [10.0.0.9], hostname: pod-0}]',
  'exportTo: ["."]',
  'status: {addresses: [{value: 240.240.0.5, host: a.example}]}',
  '10.0.0.1',
  '"::1"',
  'fe80::1%eth0',
  '"table": {',
  '{"table": {"a.example": {"ips": ["192.0.2.1"]}}}',
  '"ips": ["192.0.2.1"]',
  '"altHosts": ["x"]',
  '"__proto__": {"ips": ["192.0.2.9"]}',
  '"\\ud800": {}',
]

/** The target `mesh`. */
export class MeshTarget implements FuzzTarget {
  readonly name = 'mesh'
  readonly #stock: Stock
  readonly #pieces: readonly string[]
  readonly #asker: Asker = new Asker()

  constructor(seeds: readonly Uint8Array[]) {
    const folder = new URL('../../config/demo/', import.meta.url)
    const demo = readdirSync(folder).map((name) => readFileSync(new URL(name, folder), 'utf8'))
    this.#pieces = demo.flatMap((text) => text.replaceAll(/^ *#.*\n/gm, '').split(/^---\n/m))
    const resources = [
      service(),
      service({ spec: { clusterIP: 'None', selector: { app: 'x' } } }),
      slice([{ addresses: ['10.0.0.9'], hostname: 'pod-0' }]),
      serviceEntry({ hosts: ['a.example', '*.b.example'], addresses: ['192.0.2.9'] }),
      serviceEntry({ resolution: 'DNS' }),
      workload('w', { address: '10.0.0.8', labels: { app: 'x' } }),
    ]
    const table =
      '{"table": {"a.example": {"ips": ["192.0.2.1"], "registry": "Kubernetes"}, "b": {"ips": ["fd00::1"]}}}'
    this.#stock = {
      seeds: [...bytesOf([...this.#pieces, ...resources, documents(...resources), table]), ...seeds],
      tokens: bytesOf([...WORDS, ...YAML_TOKENS]),
      maxBytes: 16_384,
    }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.002) return repeated(random.pick(this.#stock.tokens), 1000 + random.below(4000))
    if (kind < 0.003) return manyDocuments(random)
    if (kind < 0.2) {
      const count = 1 + random.below(4)
      return Buffer.from(Array.from({ length: count }, () => random.pick(this.#pieces)).join('---\n'))
    }
    return mutated(random, this.#stock, pool)
  }

  check(input: Uint8Array): string {
    const text = Buffer.from(input).toString()
    const outcome = text.startsWith('{"table"') ? this.#checkTable(text) : this.#checkYaml(text)
    mustBeUnpolluted()
    return outcome
  }

  #checkYaml(text: string): string {
    const { resources, problems, notes, ignoredKinds } = readMeshYaml(text, FILE)
    must(problems.length <= MOST_PROBLEMS, 'more problems than anybody reads', problems.length)
    for (const line of [...problems, ...notes]) {
      mustBeOneLine(line, 'a problem of a mesh file')
      must(line.startsWith(`${FILE}: `), 'a problem does not name its file', line)
    }
    for (const kind of ignoredKinds) mustBeOneLine(kind, 'a kind that is not used')
    if (problems.length > 0) return templateOf(problems[0]!.slice(FILE.length))
    const indexed = indexMesh(resources.map(({ resource }) => resource))
    const used = usedAddresses(indexed.serviceEntries)
    const vips = new AutoVips().assign(hostsToAllocate(indexed.serviceEntries), used)
    for (const vip of vips.values()) must(!used.has(vip.v4), 'an automatic address is taken', vip)
    const table = buildNameTable({ ...indexed, vips }, shopNode)
    this.#mustAnswer(table, 'mesh')
    return `${Math.min(3, resources.length)} resources, ${Math.min(3, table.size)} hosts, ${Math.min(2, ignoredKinds.length)} ignored, ${vips.size > 0 ? 'vips' : 'no vips'}`
  }

  #checkTable(text: string): string {
    let table: NameTable
    try {
      table = parseNameTableJson(text)
    } catch (error) {
      must(error instanceof Error && 'code' in error && error.code === 'ERR_NAME_TABLE', 'another error', String(error))
      mustBeOneLine(error.message, 'what is wrong with a table file')
      return `table: ${templateOf(error.message)}`
    }
    const again = parseNameTableJson(nameTableToJson(table))
    mustEqual([...again].toSorted(byHost), [...table].toSorted(byHost), 'a table does not come back from JSON')
    return `table of ${Math.min(3, table.size)}${this.#mustAnswer(table, 'table')}`
  }

  /** Every name of the table is answered with its addresses. What is no name or address may be left out. */
  #mustAnswer(table: NameTable, version: string): string {
    const compiler = new TableCompiler({ identity: WHO, seed: 1, now: () => 0 })
    const result = compiler.compile(encodeNameTable(table), version)
    // A lone surrogate has no UTF-8, and thus another form in the table than the text has.
    const isText = [...table].every(
      ([host, info]) =>
        JSON.stringify([host, info]).isWellFormed() && !/\\ud[89a-f]/.test(JSON.stringify([host, info])),
    )
    if (!isText) return ', not UTF-8'
    const isUsable = (host: string): boolean =>
      nameToWire(host) !== null && host !== '.' && table.get(host)!.ips.some((ip) => parseReferenceAddress(ip) !== null)
    const usable = [...table.keys()].filter(isUsable)
    if (result.kind === 'refused') {
      mustBeOneLine(result.reason, 'reason of a refusal')
      const isNobody = usable.every((host) => /^\*\.?$/.test(host))
      must(isNobody, 'a table with usable hosts is refused', result.reason)
      return ', refused'
    }
    must(result.kind === 'image', 'neither accepted nor refused', result.kind)
    const image = compiler.held!
    this.#asker.adopt(image)
    const reference = new ReferenceTable(table, WHO)
    mustEqual(image.hosts, reference.hosts, 'the number of hosts is another')
    for (const host of usable) {
      const labels = labelsOf(host)!
      if (labels.some((label) => label.includes('\0')) || table.get(host)!.ips.length > MOST_ADDRESSES) continue
      const name = labels[0] === '*' ? ['zz', ...labels.slice(1)] : labels
      const wanted = reference.find(name)
      if (wanted === null || wireOf(name).length > 255) continue
      const got = this.#asker.addressesOf(wireOf(name))
      mustEqual(got, { v4: wanted.v4.toSorted(), v6: wanted.v6.toSorted() }, 'a name has other addresses')
    }
    return ''
  }
}

function byHost([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number {
  return a < b ? -1 : Number(a > b)
}

function manyDocuments(random: Random): Uint8Array {
  const count = 200 + random.below(1500)
  const isList = random.chance(0.5)
  const all = Array.from({ length: count }, (_, k) =>
    service({ name: `web-${k}`, spec: { clusterIP: `10.0.${k >> 8}.${k & 255}` } }),
  )
  return Buffer.from(isList ? `{"apiVersion": "v1", "kind": "List", "items": [${all.join(',\n')}]}` : documents(...all))
}
