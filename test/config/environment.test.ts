import { describe, expect, test } from 'vitest'
import { type Environment, readEnvironment, variableOf } from '../../src/config/environment.ts'
import { parseGoDuration } from '../../src/config/go-duration.ts'
import { loadConfig } from '../../src/config/load.ts'
import { type Config, configSchema } from '../../src/config/schema.ts'
import { leavesOf } from '../../src/config/schema-keys.ts'

function config(env: Environment): Config {
  return loadConfig({ env }).config
}

describe('BYNAME_<PATH_IN_CAPITALS>', () => {
  test('every key that takes a value has a variable of its own', () => {
    const variables = leavesOf(configSchema).map((leaf) => variableOf(leaf.path))
    expect(new Set(variables).size).toBe(variables.length)
    expect(variables).toEqual(
      expect.arrayContaining([
        'BYNAME_LISTEN',
        'BYNAME_MESH_TTL_SECONDS',
        'BYNAME_MESH_SOURCE_XDS_ADDRESS',
        'BYNAME_MESH_SOURCE_XDS_TLS_ROOT_CERT',
        'BYNAME_UPSTREAM_RESOLV_CONF',
        'BYNAME_MAX_UDP_PAYLOAD_LOCAL',
        'BYNAME_METRICS_LISTEN',
        'BYNAME_LOG_LEVEL',
      ]),
    )
  })

  test('numbers, booleans, lists, maps and sections are read from one line', () => {
    const read = config({
      BYNAME_MESH_TTL_SECONDS: ' 60 ',
      BYNAME_CACHE_PREFETCH: 'no',
      BYNAME_LISTEN: '127.0.0.1:53, [::1]:53,',
      BYNAME_IDENTITY_LABELS: 'app=web,version=v1=x',
      BYNAME_UPSTREAM_ROUTES: '[{ domains: [corp], servers: [10.0.0.1] }]',
      BYNAME_MESH_SOURCE_XDS_ADDRESS: 'a:1,b:2',
    })
    expect(read.mesh.ttlSeconds).toBe(60)
    expect(read.cache.prefetch).toBe(false)
    expect(read.listen.map((address) => address.text)).toEqual(['127.0.0.1:53', '[::1]:53'])
    expect(read.identity.labels).toEqual({ app: 'web', version: 'v1=x' })
    expect(read.upstream.routes).toMatchObject([{ domains: ['corp'] }])
    expect(read.mesh.source).toMatchObject({ addresses: [{ text: 'a:1' }, { text: 'b:2' }] })
  })

  test('unknown variables warn; those that Kubernetes sets for a service called byname do not', () => {
    const { warnings, settings } = readEnvironment({
      BYNAME_CASH_MAX_BYTES: '1',
      BYNAME_PORT: 'tcp://10.96.7.7:53',
      BYNAME_PORT_53_TCP_ADDR: '10.96.7.7',
      BYNAME_SERVICE_HOST: '10.96.7.7',
      BYNAME_SERVICE_PORT_DNS: '53',
      BYNAME_DEBUG: '1',
      BYNAME_CONFIG: 'x',
      BYNAME_WORKERS: '',
      OTHER: 'x',
    })
    expect(warnings).toEqual([
      'BYNAME_CASH_MAX_BYTES: unknown environment variable, ignored (did you mean BYNAME_CACHE_MAX_BYTES?)',
    ])
    expect(settings).toEqual([])
  })
})

const ALL_ON =
  'metrics: { listen: "127.0.0.1:1" }\nadmin: { listen: "127.0.0.1:2", token: t }\nmesh: { lastKnownGood: l }\nhostsFile: h\nupstream: { rootCert: r }\n'

function allOn(env: Environment): Config {
  return loadConfig({ file: 'f', env, readFile: () => ALL_ON }).config
}

/** How many servers there are where the file names one. */
function serversOf(variable: string): number {
  const env = { BYNAME_UPSTREAM_SERVERS: variable }
  const loaded = loadConfig({ file: 'f', env, readFile: () => 'upstream: { servers: [10.0.0.1] }' })
  return loaded.config.upstream.servers.length
}

describe('an empty variable', () => {
  test.each<[string, (read: Config) => unknown, unknown]>([
    ['BYNAME_METRICS_LISTEN', ({ metrics }) => metrics.listen, null],
    ['BYNAME_ADMIN_LISTEN', ({ admin }) => admin.listen, null],
    ['BYNAME_MESH_LAST_KNOWN_GOOD', ({ mesh }) => mesh.lastKnownGood, ''],
    ['BYNAME_HOSTS_FILE', ({ hostsFile }) => hostsFile, ''],
    ['BYNAME_UPSTREAM_ROOT_CERT', ({ upstream }) => upstream.rootCert, ''],
    ['BYNAME_ADMIN_TOKEN', ({ admin }) => admin.token, ''],
  ])('%s turns off what the file turns on', (name, seen, off) => {
    expect(seen(allOn({}))).not.toEqual(off)
    for (const empty of ['', ' ', '""', "''"]) expect(seen(allOn({ [name]: empty }))).toEqual(off)
  })

  test('of any other key counts as unset', () => {
    expect(config({ BYNAME_WORKERS: '', BYNAME_LISTEN: ' ', BYNAME_UPSTREAM_RESOLV_CONF: '' })).toEqual(config({}))
  })

  test('is no list without elements, [] is', () => {
    expect([serversOf(''), serversOf('[]'), serversOf('10.0.0.2,10.0.0.3')]).toEqual([1, 0, 2])
  })
})

test('ports are turned off by a word, too', () => {
  expect(config({ BYNAME_METRICS_LISTEN: 'off', BYNAME_ADMIN_LISTEN: 'None' })).toMatchObject({
    metrics: { listen: null },
    admin: { listen: null },
  })
})

describe('Istio’s environment', () => {
  test('identity as the injector sets it', () => {
    const { identity, istio } = config({
      POD_NAME: 'web-1',
      POD_NAMESPACE: 'shop',
      INSTANCE_IP: '10.1.2.3',
      SERVICE_ACCOUNT: 'web',
      ISTIO_META_CLUSTER_ID: 'east',
      ISTIO_META_NETWORK: 'net-1',
      ISTIO_META_DNS_CAPTURE: 'true',
      ISTIO_METAJSON_LABELS: '{"app":"web","n":1}',
      ISTIO_METAJSON_ANNOTATIONS: '{"a.b/c":"d"}',
      CA_ADDR: 'istiod:15012',
    })
    expect(identity).toEqual({
      namespace: 'shop',
      domain: 'shop.svc.cluster.local',
      pod: 'web-1',
      ip: '10.1.2.3',
      serviceAccount: 'web',
      cluster: 'east',
      trustDomain: 'cluster.local',
      network: 'net-1',
      labels: { app: 'web', n: '1' },
    })
    expect(istio).toEqual({
      isDetected: true,
      metadata: { CLUSTER_ID: 'east', NETWORK: 'net-1', DNS_CAPTURE: 'true', 'a.b/c': 'd' },
      rootCerts: ['/etc/certs/root-cert.pem', '/var/run/secrets/istio/root-cert.pem'],
      certificates: [],
      hostsFiles: ['/etc/hosts'],
      origins: {},
    })
  })

  test.each([
    ['localhost:15053', ['127.0.0.1:15053', '[::1]:15053']],
    [':53', ['0.0.0.0:53', '[::]:53']],
    ['10.0.0.1:53', ['10.0.0.1:53']],
    ['[::1]:15053', ['[::1]:15053']],
  ])('DNS_PROXY_ADDR=%s', (address, listen) => {
    expect(config({ DNS_PROXY_ADDR: address }).listen.map(({ text }) => text)).toEqual(listen)
  })

  test('DNS_FORWARD_PARALLEL and DNS_FORWARD_TIMEOUT', () => {
    expect(config({ DNS_FORWARD_PARALLEL: 'true' }).upstream.policy).toBe('parallel')
    expect(config({ DNS_FORWARD_PARALLEL: 'false' }).upstream.policy).toBe('random')
    expect(config({ DNS_FORWARD_TIMEOUT: '2s' }).upstream).toMatchObject({ attemptTimeoutMs: 2000, deadlineMs: 4500 })
    expect(config({ DNS_FORWARD_TIMEOUT: '5s' }).upstream).toMatchObject({ attemptTimeoutMs: 5000, deadlineMs: 5000 })
    expect(() => config({ DNS_FORWARD_TIMEOUT: '5 apples' })).toThrow(
      'DNS_FORWARD_TIMEOUT: must be a duration such as 2s or 500ms, not "5 apples"',
    )
    expect(() => config({ DNS_FORWARD_PARALLEL: 'maybe' })).toThrow(
      'DNS_FORWARD_PARALLEL: must be true or false, not "maybe"',
    )
  })

  test('PROXY_CONFIG names the control plane and more metadata, but not the address to listen on', () => {
    const proxyConfig = `
discoveryAddress: istiod-canary.istio-system.svc:15012
proxyMetadata:
  ISTIO_META_DNS_CAPTURE: "true"
  DNS_PROXY_ADDR: localhost:15953
`
    const read = config({ PROXY_CONFIG: proxyConfig, XDS_ROOT_CA: '/etc/root.pem' })
    expect(read.mesh.source).toMatchObject({
      addresses: [{ text: 'istiod-canary.istio-system.svc:15012' }],
      tls: { rootCert: '/etc/root.pem' },
      token: '/var/run/secrets/tokens/istio-token',
    })
    expect(read.istio).toMatchObject({ isDetected: true, metadata: { DNS_CAPTURE: 'true' } })
    expect(read.listen[0]!.text).toBe('127.0.0.1:15053')
  })

  test.each([
    '{"discoveryAddress":"istiod:15010"}',
    '{"discoveryAddress":"istiod:15012","controlPlaneAuthPolicy":"NONE"}',
  ])('plaintext by port or policy: %s', (proxyConfig) => {
    expect(config({ PROXY_CONFIG: proxyConfig }).mesh.source).toMatchObject({ tls: null, token: '' })
  })

  test('a source in the configuration is stronger than PROXY_CONFIG', () => {
    const env = { PROXY_CONFIG: '{"discoveryAddress":"a:15012"}', BYNAME_MESH_SOURCE_FILES: 'mesh' }
    expect(config(env).mesh.source).toEqual({ kind: 'files', folder: 'mesh' })
  })

  test.each([
    [{ PROXY_CONFIG: '{' }, /^PROXY_CONFIG: must be YAML with keys such as discoveryAddress/],
    [{ PROXY_CONFIG: 'discoveryAddress: nowhere' }, 'PROXY_CONFIG: discoveryAddress: must be HOST:PORT, not "nowhere"'],
    [{ ISTIO_METAJSON_LABELS: '[]' }, 'ISTIO_METAJSON_LABELS: must be a JSON object of labels'],
    [{ ISTIO_METAJSON_X: 'x' }, 'ISTIO_METAJSON_X: must be a JSON object'],
    [{ INSTANCE_IP: 'x' }, 'INSTANCE_IP: identity.ip: must be an IP address'],
    [{ DNS_PROXY_ADDR: 'x:1' }, /^DNS_PROXY_ADDR: listen\[0\]: "x" is no IP address/],
  ])('%j is refused in one line', (env, message) => {
    expect(() => config(env)).toThrow(message)
  })
})

test.each([
  ['1.5s', 1500],
  ['2m30s', 150_000],
  ['300ms', 300],
  ['1h', 3_600_000],
  ['.5s', 500],
  ['500us', 0.5],
  ['500µs', 0.5],
  ['0', 0],
  ['5', null],
  ['-1s', null],
  ['s', null],
  ['1s2', null],
  ['', null],
])('Go’s duration %j is %j ms', (text, ms) => {
  expect(parseGoDuration(text)).toBe(ms)
})
