/**
 * Configuration: YAML and environment variables. What is accepted must be of use to everything that is made of it: engine,
 * compiler, upstream servers. What is not must be a ConfigError whose lines say where.
 *
 * An input is the file's text; lines `#env NAME=VALUE` in it are the environment.
 */
import { readFileSync } from 'node:fs'
import { isIP } from 'node:net'
import { ConfigError } from '../../src/config/config-error.ts'
import { variableOf } from '../../src/config/environment.ts'
import { loadConfig } from '../../src/config/load.ts'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'
import { type Config, configSchema, MAX_SERVERS } from '../../src/config/schema.ts'
import { leavesOf } from '../../src/config/schema-keys.ts'
import { nameToWire } from '../../src/dns/name.ts'
import { deriveSettings, loopProbeNames, serverUses } from '../../src/daemon/engine-settings.ts'
import { buildEgress, buildRules, namesOf } from '../../src/daemon/rule-set.ts'
import { unreachableRules } from '../../src/rules/coverage.ts'
import { compileRuleNames } from '../../src/rules/rule-image.ts'
import { takeOver } from '../../src/daemon/reload.ts'
import { warningsOf } from '../../src/daemon/start-check.ts'
import { TableCompiler } from '../../src/table/compile.ts'
import type { Random } from '../simulation/random.ts'
import { Asker } from './inputs-ask.ts'
import { bytesOf, mutated, repeated, type Stock } from './inputs-mutator.ts'
import { type FuzzTarget, must, mustBeOneLine, mustBeUnpolluted, mustEqual, templateOf } from './inputs-target.ts'
import { YAML_TOKENS } from './inputs-yaml.ts'

const FILE = 'fuzzed.yaml'
/** More lines than these nobody reads. */
const MOST_PROBLEMS = 50

const DEFAULTS = loadConfig({ env: {} }).config
const LEAVES = leavesOf(configSchema)
const SECTIONS = [...new Set(LEAVES.flatMap(({ path }) => path.slice(0, -1)))]
const VALUES = [
  '1',
  '0',
  '-1',
  '4096',
  '1e400',
  '.nan',
  '0x1F',
  '99999999999999999999',
  '[{ name: .a.example, action: nxdomain }]',
  '[{ file: ads.txt }, { types: [A], action: log }]',
  '[{ name: a.example, rewrite: localhost }, { name: localhost, answer: [192.0.2.1, TXT x] }]',
  'true',
  'yes',
  'null',
  '~',
  '""',
  '"127.0.0.1:53"',
  '["127.0.0.1:0", "[::1]:15053"]',
  '"[fe80::1%eth0]:53"',
  '10.0.0.53',
  '[10.0.0.53, "tls://9.9.9.9#dns.quad9.net", "https://1.1.1.1/dns-query"]',
  '[{ domains: [corp.example], servers: [10.0.0.53], policy: fastest }]',
  'shop',
  'shop.svc.cluster.local',
  `${'a'.repeat(62)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(63)}`,
  '{ xds: { address: "127.0.0.1:15010" } }',
  '{ table: table.json }',
  '{ files: mesh }',
  '10.0.0.0/8',
  '["fd00::/8", "0.0.0.0/0"]',
  '{ a: b }',
  '30s',
  '500ms',
  '1h30m',
  '8Mi',
  '64KiB',
  'off',
  'random',
  'nodata',
  '"\\ud800"',
  '"a\\nb"',
  '2001-12-14',
  '!!set { a, b }',
  '!!binary aGVsbG8=',
]
const VARIABLES = [
  ...LEAVES.map(({ path }) => variableOf(path)),
  'BYNAME_NOTHING',
  'BYNAME_PORT',
  'DNS_PROXY_ADDR',
  'DNS_FORWARD_PARALLEL',
  'DNS_FORWARD_TIMEOUT',
  'POD_NAMESPACE',
  'INSTANCE_IP',
  'ISTIO_META_CLUSTER_ID',
  'ISTIO_META___proto__',
  'ISTIO_METAJSON_LABELS',
  'ISTIO_METAJSON_X',
  'PROXY_CONFIG',
  'XDS_ROOT_CA',
  'STATE_DIRECTORY',
]
const VARIABLE_VALUES = [
  ...VALUES,
  '127.0.0.1:53,[::1]:53',
  'localhost:15053',
  ':53',
  '2s',
  '1h1m1.5s',
  '1'.repeat(3000),
  '*a',
  '&a [*a]',
  '&a {b: *a}',
  '{"a": "b"}',
  '{"__proto__": {"polluted": true}}',
  'discoveryAddress: istiod.istio-system.svc:15012',
  '{ proxyMetadata: { ISTIO_META_NETWORK: n, DNS_PROXY_ADDR: x }, controlPlaneAuthPolicy: NONE }',
  'a=b,c=d=e',
]

/** The target `config`. */
export class ConfigTarget implements FuzzTarget {
  readonly name = 'config'
  readonly #stock: Stock

  constructor(seeds: readonly Uint8Array[]) {
    const shipped = readFileSync(new URL('../../config/byname.yaml', import.meta.url), 'utf8')
    const words = LEAVES.flatMap(({ path }) => path.map((key) => `${key}: `))
    this.#stock = {
      // Comments are half of it, and all alike to a parser.
      seeds: [
        Buffer.from(shipped),
        Buffer.from(shipped.replaceAll(/ *#.*\n/g, '\n').replaceAll(/\n+/g, '\n')),
        ...seeds,
      ],
      tokens: bytesOf([...new Set(words), ...VALUES, ...YAML_TOKENS, '\n#env PROXY_CONFIG=']),
      maxBytes: 16_384,
    }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.003) return repeated(random.pick(this.#stock.tokens), 2000 + random.below(6000))
    if (kind < 0.004) return manyKeys(random)
    if (kind < 0.5) return Buffer.from(randomConfig(random))
    return mutated(random, this.#stock, pool)
  }

  check(input: Uint8Array): string {
    const text = Buffer.from(input).toString()
    const env = environmentOf(text)
    const load = (): ReturnType<typeof loadConfig> => loadConfig({ file: FILE, env, readFile: () => text })
    let loaded: ReturnType<typeof loadConfig>
    try {
      loaded = load()
    } catch (error) {
      mustBeUnpolluted()
      if (!(error instanceof ConfigError)) throw error
      must(error.problems.length > 0, 'a ConfigError without problems')
      must(error.problems.length <= MOST_PROBLEMS, 'more problems than anybody reads', error.problems.length)
      for (const problem of error.problems) {
        mustBeOneLine(problem, 'a problem of the configuration')
        must(problem.includes(': '), 'a problem does not say where', problem)
      }
      return templateOf(error.problems[0]!.replace(/^[^ ]+: /, ''))
    }
    mustBeUnpolluted()
    for (const warning of loaded.warnings) mustBeOneLine(warning, 'a warning')
    mustEqual(load().config, loaded.config, 'the same text has another meaning the second time')
    mustBeUseful(loaded.config)
    const { mesh, upstream } = loaded.config
    return `accepted, ${mesh.source.kind}, ${upstream.servers.length > 0 ? 'servers' : 'resolv.conf'}, ${upstream.routes.length > 0 ? 'routes' : 'no routes'}`
  }
}

function environmentOf(text: string): Record<string, string> {
  const variables = [...text.matchAll(/^#env ([^=\s]+)=(.*)$/gm)].slice(0, 50)
  return Object.fromEntries(variables.map(([, name, value]) => [name!, value!.replaceAll('\0', '')]))
}

/** What is made of the configuration, as the daemon makes it. */
function mustBeUseful(config: Config): void {
  must(config.listen.length > 0, 'nothing to listen on')
  for (const { address, port, family } of config.listen) {
    must(isIP(address) === family && port >= 0 && port <= 65_535, 'a listen address is none', { address, port })
  }
  const { namespace, domain } = config.identity
  for (const name of [namespace, domain]) must(nameToWire(name) !== null, 'an identity that is no name', name)
  for (const { address, length } of config.access) {
    must((address.length === 4 || address.length === 16) && length <= address.length * 8, 'a prefix is none')
  }
  const resolvConf = parseResolvConf('nameserver 10.0.0.1\nsearch shop.svc.cluster.local')
  const { settings } = deriveSettings(config, resolvConf, ['192.0.2.1'])
  must(settings.servers.length <= MAX_SERVERS, 'more servers than counters', settings.servers.length)
  for (const { domains } of settings.routes) {
    for (const route of domains) must(route instanceof Uint8Array, 'a route for what is no name')
  }
  const loopProbe = loopProbeNames('00000000-0000-4000-8000-000000000000', settings)
  serverUses(settings, new Set())
  for (const { message } of warningsOf(config)) mustBeOneLine(message, 'a warning')
  const again = takeOver(config, config)
  mustEqual([again.changed, again.waiting], [[], []], 'a reload of the same configuration changes something')
  takeOver(config, DEFAULTS)
  // An engine and a compiler take them. The cache's size is what memory there is, and none of this test's.
  const cache = { ...settings.cache, maxBytes: Math.min(settings.cache.maxBytes, 65_536) }
  const names = namesOf(config.rules, () => null)
  const built = buildRules(config, names, () => 0)
  const egress = buildEgress(config, resolvConf.search, () => 0)
  const rules = { ...built, image: compileRuleNames(names, 1), egress }
  unreachableRules(built.rules, names, rules.image, () => false)
  const asker = new Asker({ ...settings, rules, loopProbe, cache, maxInFlight: Math.min(settings.maxInFlight, 64) })
  asker.ask(nameToWire('localhost')!, 1)
  const compiler = new TableCompiler({ identity: { namespace, domain, searchDomain: null }, seed: 1, now: () => 0 })
  must(compiler.compile(new Uint8Array(0), '').kind === 'image', 'no table for this identity')
}

type Tree = Map<string, Tree | string>

/** Keys where they belong, with values that may not. */
function randomConfig(random: Random): string {
  const root: Tree = new Map()
  const count = 1 + random.below(6)
  for (let k = 0; k < count; k++) {
    const { path } = random.pick(LEAVES)
    const isOdd = random.chance(0.05)
    let tree = root
    for (const key of path.slice(0, -1)) {
      const below = tree.get(key)
      const next: Tree = below instanceof Map ? below : new Map()
      tree.set(key, next)
      tree = next
    }
    tree.set(isOdd ? random.pick([...SECTIONS, '__proto__', 'constructor']) : path.at(-1)!, random.pick(VALUES))
  }
  const lines = linesOf(root, '')
  const variables = random.chance(0.4) ? 1 + random.below(3) : 0
  for (let k = 0; k < variables; k++) lines.push(`#env ${random.pick(VARIABLES)}=${random.pick(VARIABLE_VALUES)}`)
  return lines.join(random.chance(0.95) ? '\n' : '\r\n')
}

function linesOf(tree: Tree, indent: string): string[] {
  return [...tree].flatMap(([key, below]) =>
    below instanceof Map ? [`${indent}${key}:`, ...linesOf(below, `${indent}  `)] : [`${indent}${key}: ${below}`],
  )
}

function manyKeys(random: Random): Uint8Array {
  const count = 1000 + random.below(12_000)
  const isUnknown = random.chance(0.5)
  const line = (k: number): string => (isUnknown ? `k${k}: 1\n` : `- &a${k} x\n- *a${k}\n`)
  const text = Array.from({ length: count }, (_, k) => line(k)).join('')
  return Buffer.from(isUnknown ? text : `access:\n${text}`)
}
