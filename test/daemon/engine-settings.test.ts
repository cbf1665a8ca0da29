import { describe, expect, it } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { parseHostsFile } from '../../src/config/hosts-file.ts'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'
import type { EngineSettings, UpstreamRoute } from '../../src/engine/settings.ts'
import { nameToText } from '../../src/dns/name.ts'
import { deriveSettings, hostEntries, loopProbeNames, serverUses } from '../../src/daemon/engine-settings.ts'
import { warningsOf } from '../../src/daemon/start-check.ts'

function settingsOf(resolvConf: string, yaml: string = ''): EngineSettings {
  const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml })
  return deriveSettings(config, parseResolvConf(resolvConf), ['192.0.2.1', 'fd00::1']).settings
}

function warnings(yaml: string): string[] {
  const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml })
  return warningsOf({ ...config, mesh: { ...config.mesh, source: { kind: 'table', file: 't' } } }).map(
    ({ message }) => message,
  )
}

/** Prefixes of those who may ask. */
function prefixes(yaml: string): string[] {
  return settingsOf('', yaml).access.map(({ address, length }) => `${address.join('.')}/${length}`)
}

/** Labels of the servers that are left out on a machine with two addresses. */
function loops(yaml: string, resolvConf: string = ''): string[] {
  const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml })
  return deriveSettings(config, parseResolvConf(resolvConf), ['192.0.2.1', 'fd00::1']).loops
}

/** The route of resolv.conf's servers, and what an attempt at them may take. */
function fallbackOf(resolvConf: string, yaml?: string): UpstreamRoute {
  return settingsOf(resolvConf, yaml).routes.at(-1)!
}

function attemptOf(resolvConf: string, yaml?: string): number {
  return fallbackOf(resolvConf, yaml).attemptTimeoutMs ?? settingsOf(resolvConf, yaml).attemptTimeoutMs
}

const TWO = 'nameserver 10.0.0.10\nnameserver 10.0.0.11\n'

describe("resolv.conf's options", () => {
  it('none: a second for an attempt, eight attempts', () => {
    expect(attemptOf(TWO)).toBe(1000)
    expect(fallbackOf(TWO).maxAttempts).toBeUndefined()
  })

  it('timeout: seconds for an attempt', () => {
    expect(attemptOf(`${TWO}options timeout:2`)).toBe(2000)
  })

  it('timeout: at most half of the deadline, so that another server has its turn', () => {
    expect(attemptOf(`${TWO}options timeout:30`)).toBe(2250)
    expect(attemptOf(TWO, 'upstream: { deadlineMs: 500 }')).toBe(250)
  })

  it('timeout: the configuration wins where it says something', () => {
    expect(attemptOf(`${TWO}options timeout:2`, 'upstream: { attemptTimeoutMs: 300 }')).toBe(300)
    expect(attemptOf(`${TWO}options timeout:2`, 'upstream: { attemptTimeoutMs: 1000 }')).toBe(1000)
  })

  it('attempts: rounds through the servers', () => {
    expect(fallbackOf(`${TWO}options attempts:1`).maxAttempts).toBe(2)
    expect(fallbackOf(`${TWO}options attempts:3`).maxAttempts).toBe(6)
    expect(fallbackOf(`${TWO}options attempts:5`).maxAttempts).toBe(8)
    // One lost datagram must not be the end.
    expect(fallbackOf('nameserver 10.0.0.10\noptions attempts:1').maxAttempts).toBe(2)
  })

  it('however many servers there are, those of routes find room', () => {
    const many = Array.from({ length: 40 }, (_, k) => `nameserver 10.0.1.${k + 1}\n`).join('')
    const { routes, servers } = settingsOf(
      many,
      'upstream: { routes: [{ domains: [corp.example], servers: [10.9.9.1, 10.9.9.2] }] }',
    )
    expect([servers.length, routes[0]!.servers, routes[1]!.servers.length]).toEqual([32, [30, 31], 30])
  })

  it('timeout and attempts are not for routes of the configuration', () => {
    const { attemptTimeoutMs, routes } = settingsOf(
      `${TWO}options timeout:2 attempts:1`,
      'upstream: { routes: [{ domains: [corp.example], servers: [10.9.9.1, 10.9.9.2, 10.9.9.3, 10.9.9.4] }] }',
    )
    expect([attemptTimeoutMs, routes[0]!.attemptTimeoutMs, routes[0]!.maxAttempts]).toEqual([
      1000,
      undefined,
      undefined,
    ])
    expect(routes[1]).toMatchObject({ attemptTimeoutMs: 2000, maxAttempts: 2 })
  })

  it('use-vc: the servers are asked over TCP', () => {
    expect(settingsOf(`${TWO}options use-vc`).servers.map((server) => server.transport)).toEqual(['tcp', 'tcp'])
  })

  it('timeout, attempts and use-vc are not for the servers of the configuration', () => {
    const { attemptTimeoutMs, routes, servers } = settingsOf(
      `${TWO}options timeout:2 attempts:1 use-vc`,
      'upstream: { servers: [10.9.9.9] }',
    )
    expect([attemptTimeoutMs, routes[0]!.attemptTimeoutMs, routes[0]!.maxAttempts]).toEqual([
      1000,
      undefined,
      undefined,
    ])
    expect(servers.map((server) => server.transport)).toEqual(['udp'])
  })

  it('rotate: questions are spread over the servers, as they are without it', () => {
    expect(settingsOf(`${TWO}options rotate`).routes.at(-1)!.policy).toBe('random')
    expect(settingsOf(TWO).routes.at(-1)!.policy).toBe('random')
    expect(settingsOf(`${TWO}options rotate`, 'upstream: { policy: sequential }').routes.at(-1)!.policy).toBe(
      'sequential',
    )
  })
})

describe('routes', () => {
  const { servers, routes } = settingsOf(
    TWO,
    'upstream: { policy: fastest, routes: [{ domains: [Corp.Example.], servers: [10.0.0.11, 10.5.5.5], policy: parallel }, { domains: [lab], servers: [10.6.6.6] }] }',
  )

  it('a server that stands in several is one server', () => {
    expect(servers.map((server) => server.label)).toEqual([
      '10.0.0.10:53',
      '10.0.0.11:53',
      '10.5.5.5:53',
      '10.6.6.6:53',
    ])
    expect(routes.map((route) => route.servers)).toEqual([[1, 2], [3], [0, 1]])
  })

  it('each has its policy, or the one of all', () => {
    expect(routes.map((route) => route.policy)).toEqual(['parallel', 'fastest', 'fastest'])
  })
})

describe('a wildcard listen address', () => {
  it.each(['0.0.0.0:53', '[::]:53'])('%s without an access list is warned about', (listen) => {
    const found = warnings(`listen: ["${listen}"]`)
    expect(found).toHaveLength(1)
    expect(found[0]).toContain(listen)
    expect(found[0]).toContain('private ranges')
  })

  it('with an access list it is nobody else’s business', () => {
    expect(warnings('{ listen: ["0.0.0.0:53"], access: [0.0.0.0/0] }')).toEqual([])
  })

  it('a specific address is not warned about', () => {
    expect(warnings('listen: ["127.0.0.1:53", "192.0.2.1:53"]')).toEqual([])
  })

  it('answers private ranges only, a specific one link scope only', () => {
    expect(prefixes('listen: ["0.0.0.0:53"]')).toContain('10.0.0.0/8')
    expect(prefixes('listen: ["0.0.0.0:53"]')).not.toContain('0.0.0.0/0')
    expect(prefixes('listen: ["192.0.2.1:53"]')).toHaveLength(2)
    expect(prefixes('listen: ["192.0.2.1:53", "0.0.0.0:5353"]')).toContain('10.0.0.0/8')
  })
})

describe('a server that is our own listener', () => {
  it.each([
    ['{ listen: ["127.0.0.1:53"], upstream: { servers: [127.0.0.1] } }', ['127.0.0.1:53']],
    ['{ listen: ["0.0.0.0:53"], upstream: { servers: [192.0.2.1, 127.0.0.53] } }', ['192.0.2.1:53', '127.0.0.53:53']],
    ['{ listen: ["[::]:53"], upstream: { servers: ["fd00::1", "::1"] } }', ['[fd00::1]:53', '[::1]:53']],
    [
      '{ listen: ["127.0.0.1:15053"], upstream: { routes: [{ domains: [a], servers: ["tcp://127.0.0.1:15053"] }] } }',
      ['tcp://127.0.0.1:15053'],
    ],
    [
      '{ listen: ["127.0.0.1:15053"], upstream: { servers: [127.0.0.1, "127.0.0.1:15054", "tls://127.0.0.1:15053"] } }',
      [],
    ],
    ['{ listen: ["0.0.0.0:53"], upstream: { servers: [192.0.2.2] } }', []],
    ['{ listen: ["192.0.2.1:53", "127.0.0.1:53"], upstream: { servers: [127.0.0.1] } }', ['127.0.0.1:53']],
    ['{ listen: ["127.0.0.1:53"], upstream: { servers: ["::ffff:127.0.0.1"] } }', ['[::ffff:127.0.0.1]:53']],
    ['{ listen: ["[::1]:53"], upstream: { servers: ["0:0:0:0:0:0:0:1"] } }', ['[0:0:0:0:0:0:0:1]:53']],
    ['{ listen: ["[::]:53"], upstream: { servers: ["FD00:0::1"] } }', ['[FD00:0::1]:53']],
  ])('%s', (yaml, found) => {
    expect(loops(yaml)).toEqual(found)
  })

  it('in resolv.conf: left out, and the others stay', () => {
    expect(loops('listen: ["127.0.0.1:53"]', 'nameserver 127.0.0.1\nnameserver 10.0.0.10')).toEqual(['127.0.0.1:53'])
  })
})

/** What two servers of resolv.conf, and those of the configuration, are asked to find loops. */
function probeNames(yaml: string): (string | null)[] {
  return loopProbeNames('id', settingsOf(TWO, yaml)).names.map((name) => name && nameToText(name))
}

describe('loops are looked for', () => {
  it('by a name of its own for each server', () => {
    expect(probeNames('')).toEqual(['0.id.', '1.id.'])
  })

  it('by one that the server is asked for: below the domain of its route', () => {
    const routes = '[{ domains: [corp.example, lab.example], servers: [10.0.0.20, 10.0.0.11] }]'
    expect(probeNames(`upstream: { routes: ${routes} }`)).toEqual(['0.id.', '1.id.', '2.id.corp.example.'])
  })

  it('not where there is no room for such a name', () => {
    const long = Array.from({ length: 4 }, () => 'x'.repeat(62)).join('.')
    expect(probeNames(`upstream: { routes: [{ domains: [${long}], servers: [10.0.0.20] }] }`)[2]).toBeNull()
  })
})

const SOURCE = 'source: { table: /t.json }'

describe('before the first table', () => {
  it.each([
    ['', 'no source of tables', 'forward'],
    [`mesh: { beforeSync: servfail }`, 'no source of tables, whatever else is set', 'forward'],
    [`{ listen: ["127.0.0.1:15053"], mesh: { ${SOURCE} } }`, 'behind a resolver', 'auto'],
    [`{ listen: ["127.0.0.1:15053", "127.0.0.1:53"], mesh: { ${SOURCE} } }`, 'the resolver itself', 'forward'],
    [`{ listen: ["127.0.0.1:53"], mesh: { ${SOURCE}, beforeSync: servfail } }`, 'as configured', 'servfail'],
    [`{ listen: ["127.0.0.1:15053"], mesh: { ${SOURCE}, beforeSync: forward } }`, 'as configured', 'forward'],
  ])('%s (%s): %s', (yaml, _, expected) => {
    expect(settingsOf(TWO, yaml).beforeSync).toBe(expected)
  })
})

describe('servers', () => {
  it('are one each, however often they are named, and those that are left out leave no gap', () => {
    const { servers, routes } = settingsOf(
      '',
      '{ listen: ["192.0.2.1:53"], upstream: { servers: [10.0.0.1, 192.0.2.1, 10.0.0.2], routes: [{ domains: [x.y], servers: [192.0.2.1, 10.0.0.1] }] } }',
    )
    expect(servers.map(({ label }) => label)).toEqual(['10.0.0.1:53', '10.0.0.2:53'])
    expect(routes.map((route) => route.servers)).toEqual([[0], [0, 1]])
  })

  it('of a route that rules choose are used for it by its name', () => {
    const settings = settingsOf(
      TWO,
      'upstream: { routes: [{ name: corp, servers: [10.5.5.5] }, { domains: [x.y], servers: [10.5.5.5] }] }',
    )
    expect(settings.routes.map(({ name }) => name)).toEqual(['corp', undefined, undefined])
    expect(serverUses(settings, new Set()).at(-1)).toEqual({ routes: ['rules:corp', 'x.y'], isLoop: false })
  })
})

describe('who may ask', () => {
  it('are those that the configuration names, and nobody else', () => {
    expect(prefixes('access: [10.9.0.0/16, "fd00::/8"]')).toEqual([
      '10.9.0.0/16',
      '253.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0/8',
    ])
    expect(prefixes('{ listen: ["0.0.0.0:53"], access: [10.9.0.0/16] }')).toEqual(['10.9.0.0/16'])
  })
})

describe('what a server is used for', () => {
  it('is every domain of every route that it stands in, the default one as a dot', () => {
    const settings = settingsOf(
      TWO,
      'upstream: { routes: [{ domains: [corp.example, lab], servers: [10.0.0.11] }, { domains: [x.y], servers: [10.5.5.5, 10.0.0.11] }] }',
    )
    expect(settings.servers.map(({ label }) => label)).toEqual(['10.0.0.10:53', '10.0.0.11:53', '10.5.5.5:53'])
    expect(serverUses(settings, new Set(['10.5.5.5:53']))).toEqual([
      { routes: ['.'], isLoop: false },
      { routes: ['corp.example', 'lab', 'x.y', '.'], isLoop: false },
      { routes: ['x.y'], isLoop: true },
    ])
  })
})

describe('a hosts file', () => {
  it('may name what is the reverse name of another line: both are one entry', () => {
    const text = '10.0.0.1 7.2.0.192.in-addr.arpa\n192.0.2.7 web\n'
    const entry = hostEntries(parseHostsFile(text)).filter(({ name }) => nameToText(name).startsWith('7.2.0.192'))
    expect(entry.map(({ target, v4 }) => [v4.join('.'), nameToText(target)])).toEqual([['10.0.0.1', 'web.']])
  })

  const ONES = '1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa'

  it('gives each name its addresses by family, and each address its first name, however it is spelt', () => {
    const text = '192.0.2.7 both\n::1 both\n192.0.2.7 second\n0:0:0:0:0:0:0:1 third\n'
    const entries = hostEntries(parseHostsFile(text)).map(({ name, v4, v6, target }) => [
      nameToText(name).replace(/\.$/, ''),
      v4.join('.'),
      v6.length === 0 ? '' : Buffer.from(v6).toString('hex'),
      target.length === 0 ? '' : nameToText(target).replace(/\.$/, ''),
    ])
    const one = '00000000000000000000000000000001'
    expect(entries).toEqual([
      ['both', '192.0.2.7', one, ''],
      ['second', '192.0.2.7', '', ''],
      ['third', '', one, ''],
      ['7.2.0.192.in-addr.arpa', '', '', 'both'],
      [ONES, '', '', 'both'],
    ])
  })
})

describe('the memory of the cache', () => {
  it.each([
    [1, 1_000_000],
    [3, 333_333],
    [7, 142_857],
  ])('is shared by %i workers, none has more than its share', (workers, share) => {
    expect(settingsOf(TWO, `{ workers: ${workers}, cache: { maxBytes: 1000000 } }`).cache.maxBytes).toBe(share)
  })
})

describe('short names that may be real domains', () => {
  it.each([
    ['all', 'search shop.svc.cluster.local\noptions ndots:5', undefined],
    ['auto', 'search shop.svc.cluster.local\noptions ndots:5', 5],
    ['auto', 'search shop.svc.cluster.local', 1],
    ['auto', 'options ndots:5', undefined],
    ['none', 'search shop.svc.cluster.local\noptions ndots:5', undefined],
  ])('shortNames: %s and %j: left to servers below %s dots', (shortNames, resolvConf, expected) => {
    expect(settingsOf(resolvConf, `mesh: { shortNames: ${shortNames} }`).searchedBelowDots).toBe(expected)
  })
})

/** Search domains below which storms are ended. */
function stormDomains(search: string, yaml: string): string[] {
  const { searchStorms = [] } = settingsOf(`nameserver 10.0.0.10\nsearch ${search}\n`, yaml)
  return searchStorms.map((name) => nameToText(name))
}

describe('search storms', () => {
  it.each([
    [
      'of a pod',
      'svc.cluster.local default.svc.cluster.local cluster.local eu-west-1.compute.internal',
      '',
      ['default.svc.cluster.local.', 'svc.cluster.local.', 'cluster.local.'],
    ],
    [
      'of another cluster domain',
      'shop.svc.corp.example svc.corp.example corp.example example cluster.local',
      'identity: { domain: shop.svc.corp.example }',
      ['shop.svc.corp.example.', 'svc.corp.example.', 'corp.example.'],
    ],
    ['in capitals', 'Default.SVC.Cluster.Local', '', ['default.svc.cluster.local.']],
    ['that only end alike', 'xcluster.local notcluster.local', '', []],
    ['of a machine', 'lan corp.example', '', []],
    ['of an identity that is no cluster', 'local', 'identity: { domain: local }', []],
    ['with search.storms: off', 'default.svc.cluster.local', 'search: { storms: off }', []],
    ['with search.storms: false', 'default.svc.cluster.local', 'search: { storms: false }', []],
  ])('are ended below the search domains %s', (_, search, yaml, expected) => {
    expect(stormDomains(search, yaml)).toEqual(expected)
  })
})
