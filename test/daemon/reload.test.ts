import { describe, expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { loadConfig } from '../../src/config/load.ts'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'
import { type Config, configSchema } from '../../src/config/schema.ts'
import { leavesOf } from '../../src/config/schema-keys.ts'
import { deriveSettings } from '../../src/daemon/engine-settings.ts'
import { handOut, takeOver } from '../../src/daemon/reload.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'

function load(yaml: string): Config {
  return loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml }).config
}

/** What workers go by after a reload. */
function settingsOf(config: Config): EngineSettings {
  return deriveSettings(config, parseResolvConf('nameserver 10.0.0.10'), []).settings
}

const CERTIFICATE = '/etc/root.pem'

/** Keys that count at once: another value, and what it makes of the engine's settings or of the configuration. */
const LIVE: Record<string, [value: string, seen: (settings: EngineSettings, config: Config) => unknown, is: unknown]> =
  {
    watchConfig: ['false', (_, config) => config.watchConfig, false],
    'admin.topNames': ['false', (_, config) => config.admin.topNames, false],
    aaaa: ["'off'", ({ aaaaWithheld }) => aaaaWithheld, 'aaaa is off'],
    'mesh.headlessNegativeTtlSeconds': ['5s', ({ headlessNegativeTtlSeconds }) => headlessNegativeTtlSeconds, 5],
    'mesh.ttlSeconds': ['2m', ({ ttlSeconds }) => ttlSeconds, 120],
    'mesh.httpsRecords': ['forward', ({ httpsRecords }) => httpsRecords, 'forward'],
    'mesh.beforeSync': ['servfail', ({ beforeSync }) => beforeSync, 'servfail'],
    'search.storms': ["'off'", ({ searchStorms }) => searchStorms, undefined],
    'upstream.resolvConf': ['/run/resolv.conf', (_, { upstream }) => upstream.resolvConf, '/run/resolv.conf'],
    'upstream.servers': ['[10.0.0.11]', ({ servers }) => servers.map(({ label }) => label), ['10.0.0.11:53']],
    'upstream.routes': [
      '[{ domains: [corp], servers: [10.0.0.12] }]',
      ({ routes, servers }) => routes.map((route) => route.servers.map((server) => servers[server]!.label)),
      [['10.0.0.12:53'], ['10.0.0.10:53']],
    ],
    'upstream.policy': ['sequential', ({ routes }) => routes.map(({ policy }) => policy), ['sequential']],
    'upstream.attemptTimeoutMs': ['1.5s', ({ attemptTimeoutMs }) => attemptTimeoutMs, 1500],
    'upstream.deadlineMs': ['1s', (settings) => [settings.deadlineMs, settings.attemptTimeoutMs], [1000, 500]],
    'upstream.caseRandomization': ['true', ({ caseRandomization }) => caseRandomization, true],
    'upstream.rootCert': [CERTIFICATE, (_, { upstream }) => upstream.rootCert, CERTIFICATE],
    access: ['[192.0.2.0/24]', ({ access }) => access, [{ address: Uint8Array.of(192, 0, 2, 0), length: 24 }]],
    hostsFile: ['/etc/hosts', (_, { hostsFile }) => hostsFile, '/etc/hosts'],
    'rateLimit.queriesPerSecond': ['10', ({ rateLimit }) => rateLimit, { queriesPerSecond: 10, burst: 100 }],
    'rateLimit.burst': ['7', ({ rateLimit }) => rateLimit, { queriesPerSecond: 0, burst: 7 }],
    'cache.maxBytes': ['1Mi', ({ cache }) => cache.maxBytes, 1_048_576],
    'cache.minTtlSeconds': ['5', ({ cache }) => cache.minTtlSeconds, 5],
    'cache.maxTtlSeconds': ['1h30m', ({ cache }) => cache.maxTtlSeconds, 5400],
    'cache.maxNegativeTtlSeconds': ['6', ({ cache }) => cache.maxNegativeTtlSeconds, 6],
    'cache.staleSeconds': ['0', ({ cache }) => cache.staleSeconds, 0],
    'cache.prefetch': ['false', ({ cache }) => cache.prefetch, false],
    plugins: [
      '[{ file: /block.wasm, config: { names: [a] }, timeoutUs: 50, maxMemoryBytes: 1Mi, onError: servfail }]',
      (_, { plugins }) => plugins,
      [
        {
          file: '/block.wasm',
          config: '{"names":["a"]}',
          timeoutUs: 50,
          maxMemoryBytes: 1_048_576,
          onError: 'servfail',
        },
      ],
    ],
    rules: [
      '[{ name: ads.example, action: nxdomain }]',
      (_, { rules }) => rules,
      [{ name: 'ads.example', action: 'nxdomain' }],
    ],
    'egress.default': ['deny', (_, { egress }) => egress.default, 'deny'],
    'egress.audit': ['true', (_, { egress }) => egress.audit, true],
    'egress.deny': ['nodata', (_, { egress }) => egress.deny, 'nodata'],
    'egress.mesh': ['true', (_, { egress }) => egress.mesh, true],
    'cache.staleOnDenialSeconds': ['1m', ({ cache }) => cache.staleOnDenialSeconds, 60],
    'cache.nxdomainCut': ['true', ({ cache }) => cache.nxdomainCut, true],
    'queryLog.file': ['/var/log/queries', (_, { queryLog }) => queryLog.file, '/var/log/queries'],
    'queryLog.socket': ['/run/dnstap', (_, { queryLog }) => queryLog.socket, '/run/dnstap'],
    'queryLog.format': ['dnstap', (_, { queryLog }) => queryLog.format, 'dnstap'],
    'queryLog.sample': ['0.01', (_, { queryLog }) => queryLog.sample, 0.01],
    'queryLog.names': ['[Corp.example.]', (_, { queryLog }) => queryLog.names, ['corp.example']],
    'queryLog.rcodes': ['[SERVFAIL]', (_, { queryLog }) => queryLog.rcodes, ['SERVFAIL']],
    'queryLog.sources': ['[upstream, stale]', (_, { queryLog }) => queryLog.sources, ['upstream', 'stale']],
    'queryLog.minLatencyMs': ['1.5s', (_, { queryLog }) => queryLog.minLatencyMs, 1500],
    'queryLog.maxFileBytes': ['64Mi', (_, { queryLog }) => queryLog.maxFileBytes, 64 * 1024 * 1024],
    'log.level': ['debug', (_, { log }) => log.level, 'debug'],
  }

/** Keys that wait for a new process: another value, and the keys that the log names. */
const WAITING: Record<string, [value: string, ...named: string[]]> = {
  listen: ['["127.0.0.1:53"]', 'listen'],
  workers: ['2', 'workers'],
  driver: ['dgram', 'driver'],
  'identity.namespace': ['shop', 'identity.namespace', 'identity.domain'],
  'identity.domain': ['shop.svc.example', 'identity.domain'],
  'identity.pod': ['web-1', 'identity.pod'],
  'identity.ip': ['192.0.2.1', 'identity.ip'],
  'identity.serviceAccount': ['web', 'identity.serviceAccount'],
  'identity.cluster': ['east', 'identity.cluster'],
  'identity.trustDomain': ['example.com', 'identity.trustDomain'],
  'identity.network': ['n', 'identity.network'],
  'identity.labels': ['{ app: web }', 'identity.labels'],
  'mesh.source.xds.address': ['"127.0.0.1:15011"', 'mesh.source'],
  'mesh.source.xds.tls.rootCert': ['a', 'mesh.source'],
  'mesh.source.xds.tls.cert': ['a', 'mesh.source'],
  'mesh.source.xds.tls.key': ['a', 'mesh.source'],
  'mesh.source.xds.tls.serverName': ['a', 'mesh.source'],
  'mesh.source.xds.token': ['a', 'mesh.source'],
  'mesh.source.xds.certificate': ['istiod', 'mesh.source'],
  'mesh.source.xds.certificateAuthority': ['"192.0.2.1:15012"', 'mesh.source'],
  'mesh.source.xds.certificateFolder': ['/var/lib/byname/certificate', 'mesh.source'],
  'mesh.source.xds.delta': ['false', 'mesh.source'],
  'mesh.source.xds.automaticVips': ['false', 'mesh.source'],
  'mesh.source.table': ['t.json', 'mesh.source'],
  'mesh.source.files': ['mesh', 'mesh.source'],
  'mesh.shortNames': ['none', 'mesh.shortNames'],
  'mesh.lastKnownGood': ['/var/lib/byname/table', 'mesh.lastKnownGood'],
  'upstream.maxInFlight': ['5', 'upstream.maxInFlight'],
  'maxUdpPayload.local': ['8Ki', 'maxUdpPayload.local'],
  'maxUdpPayload.remote': ['512', 'maxUdpPayload.remote'],
  'metrics.listen': ['off', 'metrics.listen'],
  'admin.listen': ['""', 'admin.listen'],
  'admin.token': ['/etc/token', 'admin.token'],
  'log.format': ['json', 'log.format'],
}

const XDS = 'mesh: { source: { xds: { address: "127.0.0.1:15010" } } }'

/** Two configurations that differ in one key alone. */
function pairOf(key: string, value: string): [old: Config, next: Config] {
  const yaml = /^mesh\.source\.(?:table|files)/.test(key) ? '' : XDS
  const flags = [{ path: key.split('.'), value: parseYaml(value) as unknown, from: 'the test' }]
  return [load(yaml), loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml, flags }).config]
}

describe('each key', () => {
  test('is here', () => {
    const keys = leavesOf(configSchema).map(({ path }) => path.join('.'))
    expect([...Object.keys(LIVE), ...Object.keys(WAITING)].toSorted()).toEqual(keys.toSorted())
  })

  test.each(Object.entries(LIVE))('%s counts at once', (key, [value, seen, is]) => {
    const [old, next] = pairOf(key, value)
    const taken = takeOver(next, old)
    expect([taken.changed, taken.waiting]).toEqual([[key], []])
    expect(seen(settingsOf(old), old)).not.toEqual(is)
    expect(seen(settingsOf(taken.config), taken.config)).toEqual(is)
    expect(taken.config).toEqual(next)
  })

  test.each(Object.entries(WAITING))('%s waits for a new process', (key, [value, ...named]) => {
    const [old, next] = pairOf(key, value)
    expect(next).not.toEqual(old)
    const taken = takeOver(next, old)
    expect([taken.changed, taken.waiting]).toEqual([[], named])
    expect(taken.config).toEqual(old)
    expect(settingsOf(taken.config)).toEqual(settingsOf(old))
  })
})

test('of several keys each goes its own way, and the old configuration stays what it was', () => {
  const old = load('cache: { maxBytes: 1000 }')
  const before = structuredClone(old)
  const next = load('workers: 4\ncache: { maxBytes: 2000 }\nlog: { level: warn, format: json }')
  const { config, changed, waiting } = takeOver(next, old)
  expect(changed).toEqual(['cache.maxBytes', 'log.level'])
  expect(waiting).toEqual(['workers', 'log.format'])
  expect(config).toMatchObject({ workers: 1, cache: { maxBytes: 2000 }, log: { level: 'warn', format: 'auto' } })
  expect(old).toEqual(before)
})

test("Istio's environment is that of the process", () => {
  const old = loadConfig({ env: { ISTIO_META_NETWORK: 'n', PROXY_CONFIG: 'discoveryAddress: "a:15010"' } }).config
  const next = loadConfig({ env: { PROXY_CONFIG: 'discoveryAddress: "a:15010"' } }).config
  expect(takeOver(next, old).config.istio).toEqual(old.istio)
})

test('the stream thread hears of servers before any data worker may ask for one over it', () => {
  const settings = settingsOf(load('upstream: { servers: ["tls://10.0.0.1#a"] }'))
  const told: unknown[][] = []
  handOut(
    settings,
    'PEM',
    { configure: (...given) => told.push(['stream', ...given]) },
    { configure: (...given) => told.push(['workers', ...given]) },
  )
  expect(told).toEqual([
    ['stream', settings.servers, 'PEM'],
    ['workers', settings],
  ])
})

test.each([
  [1, 8_388_608],
  [3, 2_796_202],
  [64, 131_072],
])('%i workers share one cache', (workers, each) => {
  expect(settingsOf(load(`workers: ${workers}`)).cache.maxBytes).toBe(each)
})
