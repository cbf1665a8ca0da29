import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { parse as parseYaml } from 'yaml'
import { ConfigError } from '../../src/config/config-error.ts'
import { type LoadedConfig, type LoadOptions, loadConfig } from '../../src/config/load.ts'
import { MAX_ROUTES, MAX_SERVERS, RESOLV_CONF_SERVERS } from '../../src/config/schema.ts'
import { MOST_ROUTES } from '../../src/engine/settings.ts'
import { MAX_SERVERS as COUNTED_SERVERS } from '../../src/stats/counters.ts'

/** Loads `yaml` as byname.yaml. */
function load(yaml: string, options: Partial<LoadOptions> = {}): LoadedConfig {
  return loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml, ...options })
}

/** The problems that loading reports. */
function problemsOf(yaml: string, options: Partial<LoadOptions> = {}): readonly string[] {
  try {
    load(yaml, options)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

/** `size` keys of one value. */
function mapOf(size: number, value: unknown): Record<string, unknown> {
  return Object.fromEntries(Array.from({ length: size }, (_, k) => [`k${k}`, value]))
}

/** A configuration with one route to so many servers. */
function routeTo(count: number): string {
  const servers = Array.from({ length: count }, (_, k) => `10.0.0.${k + 1}`)
  return JSON.stringify({ upstream: { routes: [{ domains: ['corp.example'], servers }] } })
}

describe('defaults', () => {
  const defaults = loadConfig({ env: {} })

  test('an empty environment gives the defaults of the contract', () => {
    const { config } = defaults
    expect(config.listen.map((address) => address.text)).toEqual(['127.0.0.1:15053', '[::1]:15053'])
    expect(config.identity).toMatchObject({ namespace: 'default', domain: 'default.svc.cluster.local', labels: {} })
    expect(config.mesh).toMatchObject({ ttlSeconds: 30, httpsRecords: 'nodata', beforeSync: 'auto', lastKnownGood: '' })
    expect(config.upstream).toEqual({
      resolvConf: '/etc/resolv.conf',
      servers: [],
      routes: [],
      policy: 'random',
      attemptTimeoutMs: null,
      deadlineMs: 4500,
      maxInFlight: 4096,
      caseRandomization: false,
      rootCert: '',
    })
    expect(config.hostsFile).toBe('')
    expect(config.rateLimit).toEqual({ queriesPerSecond: 0, burst: 100 })
    expect(config.cache).toMatchObject({ maxBytes: 8_388_608, nxdomainCut: false })
    expect(config.metrics.listen?.text).toBe('[::]:9153')
    expect(config.admin.listen?.text).toBe('127.0.0.1:15054')
    expect(defaults.warnings).toEqual([])
    expect(defaults.file).toBeNull()
  })

  test('without a mesh source, in the environment of Istio: istiod is asked over TLS with the token of the pod', () => {
    const { source } = loadConfig({ env: { ISTIO_META_CLUSTER_ID: 'Kubernetes' } }).config.mesh
    expect(source).toEqual({
      kind: 'xds',
      addresses: [{ host: 'istiod.istio-system.svc', port: 15012, text: 'istiod.istio-system.svc:15012' }],
      tls: { rootCert: '', cert: '', key: '', serverName: '' },
      token: '/var/run/secrets/tokens/istio-token',
      certificate: 'none',
      certificateAuthority: null,
      certificateFolder: '',
      delta: true,
      automaticVips: 'auto',
    })
  })

  test('without a mesh source, outside Istio: none', () => {
    expect(defaults.config.mesh.source).toEqual({ kind: 'none' })
    expect(defaults.config.istio.isDetected).toBe(false)
  })

  test('settings of a control plane without its address are those of the one that Istio names', () => {
    const env = { PROXY_CONFIG: 'discoveryAddress: istiod.istio-system.svc:15010' }
    const { source } = load('mesh: { source: { xds: { delta: false } } }', { env }).config.mesh
    expect(source).toMatchObject({ kind: 'xds', addresses: [{ port: 15_010 }], delta: false })
  })

  test('the commented configuration that ships has exactly the defaults', () => {
    const yaml = readFileSync(new URL('../../config/byname.yaml', import.meta.url), 'utf8')
    expect(load(yaml).config).toEqual(defaults.config)
  })

  test('the mesh sources that it shows in comments are valid too', () => {
    const yaml = readFileSync(new URL('../../config/byname.yaml', import.meta.url), 'utf8')
    // A key that is commented out has no space before it, a sentence has.
    const shown = [...yaml.matchAll(/^ {4}( *)#(\w.*)$/gm)].map(([, indent, line]) => `${indent}${line}`).join('\n')
    const sources: Record<string, unknown> = parseYaml(shown)
    expect(Object.keys(sources)).toEqual(['xds', 'table', 'files'])
    for (const [kind, value] of Object.entries(sources)) {
      expect(load(JSON.stringify({ mesh: { source: { [kind]: value } } })).config.mesh.source.kind).toBe(kind)
    }
  })

  test('systemd tells where the last known good table belongs', () => {
    const { config } = loadConfig({ env: { STATE_DIRECTORY: '/var/lib/byname' } })
    expect(config.mesh.lastKnownGood).toBe('/var/lib/byname/table.image')
    const off = load('mesh: { lastKnownGood: "" }', { env: { STATE_DIRECTORY: '/var/lib/byname' } })
    expect(off.config.mesh.lastKnownGood).toBe('')
  })

  test('there are as many servers as counters for them', () => {
    expect(MAX_SERVERS).toBe(COUNTED_SERVERS)
  })

  test('there are no more routes than the engine tells apart, the default one included', () => {
    expect(MAX_ROUTES).toBeLessThan(MOST_ROUTES)
  })
})

describe('problems name file, line, column and key', () => {
  test.each([
    ['cache:\n    maxBites: 12', 'byname.yaml:2:5: cache.maxBites: unknown key (did you mean maxBytes?)'],
    ['log:\n  zzz: 1', 'byname.yaml:2:3: log.zzz: unknown key (keys here: level, format)'],
    [
      'queryLog: { sample: 0 }',
      'byname.yaml:1:21: queryLog.sample: must be a number over 0 and at most 1, such as 0.01, not 0',
    ],
    [
      'queryLog: { sample: 1% }',
      'byname.yaml:1:21: queryLog.sample: must be a number over 0 and at most 1, such as 0.01, not "1%"',
    ],
    ['queryLog: { format: text }', 'byname.yaml:1:21: queryLog.format: must be json or dnstap, not "text"'],
    [
      'queryLog: { rcodes: [SERVFIAL] }',
      expect.stringMatching(
        /^byname.yaml:1:22: queryLog.rcodes\[0\]: must be NOERROR, .* or BADCOOKIE, not "SERVFIAL"$/,
      ),
    ],
    [
      'queryLog: { sources: [disk] }',
      'byname.yaml:1:23: queryLog.sources[0]: must be mesh, cache, stale, upstream or local, not "disk"',
    ],
    [
      'queryLog: { names: ["a b"] }',
      expect.stringMatching(/^byname.yaml:1:21: queryLog.names\[0\]: "a b" is no domain name/),
    ],
    [
      'queryLog: { file: a, socket: b }',
      'byname.yaml:1:30: queryLog.socket: must be empty where file is set: the log goes to one place',
    ],
    ['queryLog: { maxFileBytes: 4Ki }', 'byname.yaml:1:27: queryLog.maxFileBytes: must be 0 or at least 1 MiB'],
    ['workers: many', 'byname.yaml:1:10: workers: must be a whole number from 1 to 64, not "many"'],
    ['workers: 1.5', 'byname.yaml:1:10: workers: must be a whole number from 1 to 64, not 1.5'],
    ['workers: 0', 'byname.yaml:1:10: workers: must be a whole number from 1 to 64, not 0'],
    ['driver: fast', 'byname.yaml:1:9: driver: must be auto, batch or dgram, not "fast"'],
    ['cache: 5', 'byname.yaml:1:8: cache: must be a section of keys, not 5'],
    ['cache: { prefetch: 1 }', 'byname.yaml:1:20: cache.prefetch: must be true or false, not 1'],
    ['listen: 127.0.0.1:53', 'byname.yaml:1:9: listen: must be a list of addresses, not "127.0.0.1:53"'],
    ['listen: []', 'byname.yaml:1:9: listen: must name at least one address'],
    [
      'listen:\n  - 127.0.0.1:53\n  - localhost:53',
      'byname.yaml:3:5: listen[1]: "localhost" is no IP address; write IP:PORT such as 127.0.0.1:15053 or [::1]:15053',
    ],
    [
      'listen: ["127.0.0.1"]',
      'byname.yaml:1:10: listen[0]: "127.0.0.1" has no port; write IP:PORT such as 127.0.0.1:15053 or [::1]:15053',
    ],
    ['listen: ["[::1]:53", "[::1]:53"]', 'byname.yaml:1:22: listen[1]: [::1]:53 is there twice'],
    [
      'mesh:\n  source: { table: a.json, files: mesh }',
      'byname.yaml:2:11: mesh.source: takes one of xds, table and files, not table and files',
    ],
    ['mesh: { source: { xds: {} } }', 'byname.yaml:1:24: mesh.source.xds.address: is missing; write HOST:PORT'],
    [
      'mesh: { source: { xds: { address: istiod } } }',
      'byname.yaml:1:35: mesh.source.xds.address: "istiod" has no port; write HOST:PORT such as istiod.istio-system.svc:15012',
    ],
    [
      'upstream: { servers: [dns.google] }',
      'byname.yaml:1:23: upstream.servers[0]: "dns.google" is a name, and a server is needed before names can be looked up; write IP, IP:PORT, tcp://IP:PORT, tls://IP:853#NAME or https://IP/dns-query#NAME',
    ],
    [
      'upstream: { servers: ["https://dns.google/dns-query"] }',
      'byname.yaml:1:23: upstream.servers[0]: "dns.google" is a name, and a server is needed before names can be looked up; write https://IP/dns-query#dns.google',
    ],
    [
      'upstream: { attemptTimeoutMs: 5000 }',
      'byname.yaml:1:31: upstream.attemptTimeoutMs: must not be over deadlineMs (4500)',
    ],
    [
      'upstream:\n  routes: [{ domains: [], servers: [10.0.0.1] }]',
      'byname.yaml:2:23: upstream.routes[0].domains: must not be empty',
    ],
    [
      'upstream:\n  routes: [{ domains: [corp] }]',
      'byname.yaml:2:12: upstream.routes[0].servers: is missing; it must be a list of servers',
    ],
    [
      'access: [10.0.0.0/33]',
      'byname.yaml:1:10: access[0]: "10.0.0.0/33" is no prefix; write CIDR such as 10.0.0.0/8 or fd00::/8',
    ],
    ['rateLimit: { burst: 0 }', 'byname.yaml:1:21: rateLimit.burst: must be a whole number from 1 to 1000000, not 0'],
    [
      'cache: { minTtlSeconds: 60, maxTtlSeconds: 30 }',
      'byname.yaml:1:25: cache.minTtlSeconds: must not be over maxTtlSeconds (30)',
    ],
    [
      'listen: ["[fe80::1]:53"]',
      'byname.yaml:1:10: listen[0]: "fe80::1" is an address of one link; name its interface, as in [fe80::1%eth0]:53',
    ],
    [
      'upstream: { servers: ["fe80::1"] }',
      'byname.yaml:1:23: upstream.servers[0]: "fe80::1" is an address of one link; name its interface, as in [fe80::1%eth0]:53',
    ],
    [
      'upstream: { servers: [224.0.0.251] }',
      'byname.yaml:1:23: upstream.servers[0]: "224.0.0.251" is no address of one server; write IP, IP:PORT, tcp://IP:PORT, tls://IP:853#NAME or https://IP/dns-query#NAME',
    ],
    ['hostsFile: "a\\0b"', 'byname.yaml:1:12: hostsFile: "a\\u0000b" is no path: it has control characters'],
    ['mesh: { source: { table: "" } }', 'byname.yaml:1:26: mesh.source.table: must not be empty'],
    ['servers: [10.0.0.1]', 'byname.yaml:1:1: servers: unknown key (did you mean upstream.servers?)'],
    [
      'max_bytes: 1',
      'byname.yaml:1:1: max_bytes: unknown key (keys here: listen, workers, driver, watchConfig, access, hostsFile, aaaa, plugins, identity, mesh, upstream, maxUdpPayload, rateLimit, rules, egress, cache, search, metrics, admin, queryLog, log)',
    ],
    ['- a', 'byname.yaml:1:1: must be a section of keys such as "workers: 1"'],
    ['identity: { namespace: "a b" }', 'byname.yaml:1:24: identity.namespace: "a b" is no domain name'],
    ['identity: { labels: { a: 1 } }', 'byname.yaml:1:26: identity.labels.a: must be a text, not 1'],
    ['__proto__: { workers: 3 }', expect.stringMatching(/^byname\.yaml:1:1: __proto__: unknown key/)],
  ])('%j', (yaml, problem) => {
    expect(problemsOf(yaml)).toEqual([problem])
  })

  test('all problems are collected, and the message stays one line', () => {
    const problems = problemsOf('workers: 0\nfoo: 1\ncache: { maxBytes: -1 }')
    expect(problems).toHaveLength(3)
    expect(() => load('workers: 0\nfoo: 1')).toThrow(
      expect.objectContaining({
        code: 'CONFIG',
        message: expect.stringMatching(/^byname\.yaml:1:10: .* \(and 1 more\)$/),
      }),
    )
  })

  test('YAML that cannot be parsed is a problem with its place', () => {
    expect(problemsOf('workers: [1')).toEqual([expect.stringMatching(/^byname\.yaml:1:\d+: /)])
    expect(problemsOf('workers: 1\nworkers: 2')).toEqual(['byname.yaml:2:1: key "workers" occurs twice in one mapping'])
    expect(problemsOf('workers: *one')).toEqual([expect.stringMatching(/^byname\.yaml.*one/)])
  })

  test('a file that is not there says how to name another', () => {
    expect(() => loadConfig({ file: '/nowhere/byname.yaml', env: {} })).toThrow(
      '/nowhere/byname.yaml: no such file; name an existing one with --config',
    )
  })

  test('more servers than can be counted are refused', () => {
    const servers = Array.from({ length: MAX_SERVERS + 1 }, (_, index) => `10.0.0.${index + 1}`)
    expect(problemsOf(JSON.stringify({ upstream: { servers } }))).toEqual([
      expect.stringContaining('upstream.servers: must be at most 32 servers'),
    ])
  })

  test('servers of routes leave room for those of resolv.conf', () => {
    expect(load(routeTo(MAX_SERVERS - RESOLV_CONF_SERVERS)).config.upstream.routes).toHaveLength(1)
    expect(problemsOf(routeTo(MAX_SERVERS))).toEqual([
      expect.stringContaining('upstream.servers: must be at most 29 servers, as resolv.conf names some, too'),
    ])
  })

  test('more routes than the engine tells apart are refused', () => {
    const routes = Array.from({ length: MAX_ROUTES + 1 }, (_, k) => ({
      domains: [`r${k}.example`],
      servers: ['10.0.0.1'],
    }))
    expect(problemsOf(JSON.stringify({ upstream: { routes } }))).toEqual([
      expect.stringContaining('upstream.routes: must be at most 4096 routes'),
    ])
  })

  test('keys whose lines are all commented out are no error', () => {
    expect(load('cache:\nmesh:\n  source:\n').config).toEqual(load('').config)
  })
})

describe('file < environment < flags', () => {
  const flags = [{ path: ['workers'], value: 4, from: '--workers' }]

  test('the stronger one wins, key by key', () => {
    const env = { BYNAME_WORKERS: '3', BYNAME_CACHE_MAX_BYTES: '1000' }
    const yaml = 'workers: 2\ncache: { maxBytes: 5, staleSeconds: 7 }\n'
    expect(load(yaml).config.workers).toBe(2)
    expect(load(yaml, { env }).config.workers).toBe(3)
    const { config } = load(yaml, { env, flags })
    expect(config.workers).toBe(4)
    expect(config.cache).toMatchObject({ maxBytes: 1000, staleSeconds: 7 })
  })

  test('Istio’s variables are stronger than the file and weaker than BYNAME_*', () => {
    const env = { POD_NAMESPACE: 'shop', POD_NAME: 'web-1' }
    const yaml = 'identity: { namespace: file, pod: file, cluster: east }'
    const { identity } = load(yaml, { env: { ...env, BYNAME_IDENTITY_POD: 'mine' } }).config
    expect(identity).toMatchObject({
      namespace: 'shop',
      domain: 'shop.svc.cluster.local',
      pod: 'mine',
      cluster: 'east',
    })
  })

  test('a command’s own defaults are weaker than the file', () => {
    const defaults = [{ path: ['log', 'level'], value: 'warn', from: 'byname demo' }]
    expect(load('', { defaults }).config.log.level).toBe('warn')
    expect(load('log: { level: debug }', { defaults }).config.log.level).toBe('debug')
  })

  test('a stronger mesh source replaces a weaker one of another kind', () => {
    const { source } = load('mesh: { source: { files: mesh } }', { env: { BYNAME_MESH_SOURCE_TABLE: 't.json' } }).config
      .mesh
    expect(source).toEqual({ kind: 'table', file: 't.json' })
  })

  test('a problem is shown where the strongest one wrote it', () => {
    expect(problemsOf('workers: 2', { env: { BYNAME_WORKERS: 'x' } })).toEqual([
      'BYNAME_WORKERS: workers: must be a whole number from 1 to 64, not "x"',
    ])
    expect(problemsOf('', { flags: [{ path: ['listen'], value: ['x'], from: '--listen' }] })).toEqual([
      '--listen: listen[0]: "x" is no IP address; write IP:PORT such as 127.0.0.1:15053 or [::1]:15053',
    ])
  })

  test('BYNAME_CONFIG names the file unless --config does', () => {
    const read: string[] = []
    const readFile = (path: string): string => {
      read.push(path)
      return ''
    }
    loadConfig({ env: { BYNAME_CONFIG: 'env.yaml' }, readFile })
    loadConfig({ file: 'flag.yaml', env: { BYNAME_CONFIG: 'env.yaml' }, readFile })
    expect(read).toEqual(['env.yaml', 'flag.yaml'])
  })
})

describe('values take the shape that the daemon uses', () => {
  test('upstream servers, routes and prefixes', () => {
    const { upstream, access } = load(`
upstream:
  policy: fastest
  servers: [10.0.0.10, "[fd00::10]:5353", "tcp://10.0.0.11", "tls://9.9.9.9#dns.quad9.net"]
  routes:
    - { domains: [Corp.Example.], servers: ["https://1.1.1.1#one.one.one.one"], policy: sequential }
    - { domains: [lan], servers: [10.0.0.1] }
access: [10.1.2.3/8, 192.0.2.1, "fd00:1::/32"]
`).config
    expect(upstream.servers).toEqual([
      { label: '10.0.0.10:53', transport: 'udp', address: '10.0.0.10', port: 53 },
      { label: '[fd00::10]:5353', transport: 'udp', address: 'fd00::10', port: 5353 },
      { label: 'tcp://10.0.0.11:53', transport: 'tcp', address: '10.0.0.11', port: 53 },
      {
        label: 'tls://9.9.9.9:853#dns.quad9.net',
        transport: 'tls',
        address: '9.9.9.9',
        port: 853,
        serverName: 'dns.quad9.net',
      },
    ])
    expect(upstream.routes).toMatchObject([
      {
        domains: ['corp.example'],
        policy: 'sequential',
        servers: [{ label: 'https://1.1.1.1:443/dns-query#one.one.one.one', path: '/dns-query', port: 443 }],
      },
      { domains: ['lan'], policy: 'fastest' },
    ])
    expect(access.map((prefix) => prefix.text)).toEqual(['10.0.0.0/8', '192.0.2.1/32', 'fd00:1::/32'])
    expect(access[0]).toMatchObject({ address: Uint8Array.of(10, 0, 0, 0), length: 8 })
  })

  test('control planes: one address or several, plaintext unless tls is there', () => {
    const one = load('mesh: { source: { xds: { address: "127.0.0.1:15010" } } }').config.mesh.source
    expect(one).toMatchObject({ addresses: [{ host: '127.0.0.1', port: 15010 }], tls: null, token: '', delta: true })
    const two = load('mesh: { source: { xds: { address: ["a:1", "[::1]:2"], tls: {}, delta: false } } }').config.mesh
      .source
    expect(two).toMatchObject({
      addresses: [{ text: 'a:1' }, { host: '::1', port: 2 }],
      tls: { rootCert: '' },
      delta: false,
    })
  })

  test('"" turns metrics and admin endpoint off', () => {
    const { metrics, admin } = load('metrics: { listen: "" }\nadmin: { listen: "" }').config
    expect(metrics.listen).toBeNull()
    expect(admin.listen).toBeNull()
  })
})

describe('a text that means harm', () => {
  test.each([
    ['a list that contains itself', 'listen: &a [*a]', 'byname.yaml:1:13: alias *a stands in the value that it means'],
    [
      'a map that contains itself',
      'cache: &a { x: *a }',
      'byname.yaml:1:16: alias *a stands in the value that it means',
    ],
    [
      'brackets without end',
      `access: ${'['.repeat(3000)}`,
      expect.stringMatching(/^byname.yaml:1:\d+: is nested more than 200 levels deep$/),
    ],
    [
      'a second document',
      'workers: 2\n---\nworkers: 3',
      'byname.yaml:3:1: begins a second document; a configuration is one',
    ],
    ['a key with a line break', '"a\\nb": 1', expect.stringMatching(/^byname.yaml:1:1: \["a\\nb"\]: unknown key/)],
    ['a key of a thousand letters', `? ${'k'.repeat(2000)}\n: 1`, expect.stringMatching(/^.{50,400}$/)],
    ['a name of a thousand letters', `identity: { domain: ${'x'.repeat(2000)} }`, expect.stringMatching(/^.{50,400}$/)],
    [
      'a name with two dots at its end',
      'identity: { namespace: a.. }',
      expect.stringMatching(/"a.." is no domain name/),
    ],
    [
      'a date for a section',
      'cache: !!timestamp 2001-12-14',
      expect.stringMatching(/cache: must be a section of keys/),
    ],
  ])('%s is one line', (_, yaml, problem) => {
    expect(problemsOf(yaml)[0]).toEqual(problem)
  })

  test("of many problems the first are told: of a file that is none of byname's every key is one", () => {
    const yaml = Array.from({ length: 30_000 }, (_, k) => `k${k}: 1\n`).join('')
    const before = process.cpuUsage()
    const problems = problemsOf(yaml)
    expect(problems).toHaveLength(21)
    expect(problems.at(-1)).toBe('and more: correct these first')
    // To look for the place of each took the square of their number.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(5000)
  })

  const MANY = 150_000
  const manyOf = (value: unknown): unknown[] => Array.from({ length: MANY }, () => value)
  test.each<[what: string, path: string[], value: unknown, problem: RegExp]>([
    ['wrong addresses', ['listen'], Array(MANY).fill(1), /^it: listen\[0\]: must be an address and port, not 1$/],
    ['wrong rules', ['rules'], manyOf({ names: 1 }), /^it: rules\[0\]\.names: must be a list of names, not 1$/],
    [
      'texts that are none',
      ['identity', 'labels'],
      mapOf(MANY, 1),
      /^it: identity\.labels\.k0: must be a text, not 1$/,
    ],
    [
      'wrong addresses after good ones',
      ['access'],
      [...Array(2000).fill('10.0.0.1'), ...Array(MANY).fill(1)],
      /^it: access: has more wrong values than can be told, and none among the first 1000/,
    ],
    [
      'rules',
      ['rules'],
      manyOf({ id: 'a', name: 'a.example', action: 'nodata' }),
      /^it: rules: must be at most \d+ rules; give one rule more names, or a file/,
    ],
  ])('of very many %s the first are told, at once', (_, path, value, problem) => {
    const before = process.cpuUsage()
    const [first, ...others] = problemsOf('', { flags: [{ path, value, from: 'it' }] })
    expect(first).toMatch(problem)
    expect(others.length).toBeLessThanOrEqual(20)
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(20_000)
  })

  test('a great many addresses and labels are taken, in a time that grows with their number alone', () => {
    const before = process.cpuUsage()
    const listen = Array.from({ length: MANY }, (_, k) => `10.${k >> 16}.${(k >> 8) & 255}.${k & 255}:53`)
    const flags = [
      { path: ['listen'], value: listen, from: 'it' },
      { path: ['identity', 'labels'], value: mapOf(MANY, 'a'), from: 'it' },
    ]
    const { config } = load('', { flags })
    expect(config.listen).toHaveLength(MANY)
    expect(Object.keys(config.identity.labels)).toHaveLength(MANY)
    // To compare each address with all others took a minute.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(20_000)
  })

  test.each([
    [
      { PROXY_CONFIG: '*a' },
      'PROXY_CONFIG: must be YAML with keys such as discoveryAddress (alias *a has no anchor before it)',
    ],
    [
      { PROXY_CONFIG: '&a { proxyMetadata: *a }' },
      expect.stringMatching(/^PROXY_CONFIG: must be YAML .*stands in the value/),
    ],
    [
      { BYNAME_UPSTREAM_ROUTES: '*a' },
      expect.stringMatching(/^BYNAME_UPSTREAM_ROUTES: upstream.routes: must be a list/),
    ],
    [
      { BYNAME_UPSTREAM_ROUTES: '&a [*a]' },
      expect.stringMatching(/^BYNAME_UPSTREAM_ROUTES: upstream.routes: must be a list/),
    ],
  ])('in the environment %j is one line', (env, problem) => {
    expect(problemsOf('', { env })).toEqual([problem])
  })

  test('a hundred thousand digits for a duration are none, at once', () => {
    const before = process.cpuUsage()
    const problems = problemsOf('', { env: { DNS_FORWARD_TIMEOUT: '1'.repeat(100_000) } })
    expect(problems).toEqual([expect.stringMatching(/^DNS_FORWARD_TIMEOUT: must be a duration .{1,150}$/)])
    // The expression took the square of it.
    expect(process.cpuUsage(before).user / 1000).toBeLessThan(2000)
  })

  test('a key __proto__ of Istio’s metadata stays a key', () => {
    const { metadata } = load('', { env: { ISTIO_METAJSON_X: '{"__proto__": {"a": 1}}' } }).config.istio
    expect(Object.keys(metadata)).toEqual(['__proto__'])
    expect('a' in metadata).toBe(false)
  })

  test('names that are too long for a message are refused where they stand', () => {
    const name = [63, 63, 63, 62].map((length) => 'a'.repeat(length)).join('.')
    expect(problemsOf(`identity: { domain: ${name} }`)).toEqual([
      expect.stringMatching(/1:21: identity.domain: .* is no/),
    ])
    const route = `upstream: { routes: [{ domains: [${name}], servers: [10.0.0.1] }] }`
    expect(problemsOf(route)).toEqual([
      expect.stringMatching(/upstream.routes\[0\].domains\[0\]: .* is no domain name/),
    ])
  })
})
