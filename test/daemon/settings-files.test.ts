/** resolv.conf, the hosts file and this machine's addresses while the daemon runs, on a virtual clock and file system. */
import { readFileSync } from 'node:fs'
import { beforeEach, describe, expect, test } from 'vitest'
import { HOSTS, RESOLV_CONF, SettingsWorld } from './settings-world.ts'

let world: SettingsWorld
beforeEach(() => {
  world = new SettingsWorld()
  world.files.write(RESOLV_CONF, 'nameserver 192.0.2.1\nsearch corp.example\n')
  world.files.write(HOSTS, '192.0.2.9 db.corp\n')
})

function own(): string[] {
  return world.settings.engine.ownAddresses.map((bytes) => bytes.join('.'))
}

describe('resolv.conf', () => {
  test('is watched from the first reading on: what changes before the threads are up is not lost', () => {
    world.open()
    world.files.replace(RESOLV_CONF, 'nameserver 192.0.2.2\n')
    world.rest()
    expect([world.servers, world.identities.at(-1)?.searchDomain]).toEqual([['192.0.2.2:53'], null])
    expect(world.lines).toEqual(['info resolv.conf changed'])
    expect(world.told.at(-1)).toBe(world.settings.engine)
  })

  test.each<[what: string, spoil: () => void, line: string]>([
    [
      'half written',
      () => world.files.write(RESOLV_CONF, 'names'),
      'names no server and no search domain: its last servers stay',
    ],
    [
      'emptied',
      () => world.files.write(RESOLV_CONF, ''),
      'names no server and no search domain: its last servers stay',
    ],
    [
      'garbage',
      () => world.files.write(RESOLV_CONF, '\0\x01\x02'),
      'holds NUL bytes, so it is no text; replace it: its last servers stay',
    ],
    ['gone', () => world.files.remove(RESOLV_CONF), 'is gone: its last servers stay'],
    [
      'a FIFO',
      () => world.files.special(RESOLV_CONF, 'is a FIFO; name a regular file'),
      `cannot be read: what it said last stays (${RESOLV_CONF} is a FIFO; name a regular file)`,
    ],
  ])(
    'that is %s leaves what it said last, search domain and all, in one line; and is good again in one',
    (_, spoil, line) => {
      const settings = world.open()
      spoil()
      world.rest()
      expect([world.servers, settings.identity.searchDomain, world.told]).toEqual([
        ['192.0.2.1:53'],
        'corp.example',
        [],
      ])
      expect(world.lines).toEqual([`warn resolv.conf ${line}`])
      expect(settings.problems).toMatchObject([{ about: 'resolv_conf', text: expect.stringContaining(RESOLV_CONF) }])
      world.files.replace(RESOLV_CONF, 'nameserver 192.0.2.3\n')
      world.rest()
      expect(world.lines.slice(1)).toEqual(['info resolv.conf is good again', 'info resolv.conf changed'])
      expect([world.servers, settings.problems]).toEqual([['192.0.2.3:53'], []])
    },
  )

  test('that only misses its servers keeps the last ones, and its search domain counts', () => {
    world.open()
    world.files.write(RESOLV_CONF, 'search other.example\n')
    world.rest()
    expect([world.servers, world.identities]).toEqual([
      ['192.0.2.1:53'],
      [expect.objectContaining({ searchDomain: 'other.example' })],
    ])
    expect(world.lines[0]).toBe('warn resolv.conf names no server: its last servers stay')
  })

  test('that is not needed for servers may name none', () => {
    world.open('servers: [192.0.2.7]')
    world.files.write(RESOLV_CONF, 'search other.example\n')
    world.rest()
    expect(world.lines).toEqual(['info resolv.conf changed'])
    expect([world.servers, world.settings.identity.searchDomain]).toEqual([['192.0.2.7:53'], 'other.example'])
  })

  test('that names no servers from the start, and none later, counts by its search domains', () => {
    world.files.write(RESOLV_CONF, 'search one.example\n')
    const settings = world.open()
    expect(world.lines).toEqual(['warn no upstream servers: names outside the mesh get SERVFAIL'])
    world.files.write(RESOLV_CONF, 'search other.example\n')
    world.rest()
    expect([settings.identity.searchDomain, world.lines.at(-1)]).toEqual(['other.example', 'info resolv.conf changed'])
  })

  test('says how names are searched', () => {
    const settings = world.open()
    expect(settings.search).toEqual({ domains: ['corp.example'], ndots: 1 })
    world.files.write(RESOLV_CONF, 'nameserver 192.0.2.1\nsearch a.example b.example\noptions ndots:3\n')
    world.rest()
    expect(settings.search).toEqual({ domains: ['a.example', 'b.example'], ndots: 3 })
  })

  test('with the same search domain as before makes no table anew', () => {
    world.open()
    world.files.write(RESOLV_CONF, 'nameserver 192.0.2.2\nsearch corp.example\n')
    world.rest()
    expect([world.servers, world.identities]).toEqual([['192.0.2.2:53'], []])
  })

  test('another one makes loops forgotten: its servers may lead elsewhere', () => {
    const settings = world.open()
    settings.loopFound('192.0.2.1:53', Uint8Array.of(127, 0, 0, 1))
    expect([...settings.looping]).toEqual(['192.0.2.1:53'])
    expect(settings.engine.routes.at(-1)?.servers).toEqual([])
    const before = settings.engine.loopProbe?.id
    world.files.replace(RESOLV_CONF, 'nameserver 192.0.2.1\nnameserver 192.0.2.2\n')
    world.rest()
    expect(settings.looping.size).toBe(0)
    expect(settings.engine.routes.at(-1)?.servers).toEqual([0, 1])
    expect(settings.engine.loopProbe?.id).not.toBe(before)
  })
})

describe('the hosts file', () => {
  test.each<[what: string, spoil: () => void, line: string]>([
    [
      'garbage',
      () => world.files.write(HOSTS, '<html>404</html>\n'),
      'has no line of an address and names; mend it, or empty it: its last names stay',
    ],
    [
      'garbage of bytes',
      () => world.files.write(HOSTS, '192.0.2.1 a\n\0\0\0'),
      'holds NUL bytes, so it is no text; replace it: its last names stay',
    ],
    ['gone', () => world.files.remove(HOSTS), 'is gone: its last names stay'],
  ])('that is %s leaves its last names', (_, spoil, line) => {
    world.open()
    spoil()
    world.rest()
    expect([world.hosts, world.lines, world.told]).toEqual([['db.corp'], [`warn the hosts file ${line}`], []])
    world.files.write(HOSTS, '192.0.2.9 db.corp cache.corp\n')
    world.rest()
    expect([world.hosts, world.settings.problems]).toEqual([['db.corp', 'cache.corp'], []])
  })

  test.each(['', '# no names\n\n', '  # none\n'])('that is emptied has no names: %j', (text) => {
    world.open()
    world.files.write(HOSTS, text)
    world.rest()
    expect([world.hosts, world.lines]).toEqual([[], ['info hosts file changed']])
  })

  test('lines that mean nothing cost only themselves', () => {
    world.open()
    world.files.write(HOSTS, 'nonsense\nfe80::1%lo0 localhost\n192.0.2.8 web.corp\n')
    world.rest()
    expect(world.hosts).toEqual(['web.corp'])
  })
})

describe('a reload (SIGHUP)', () => {
  test('reads both files at once, watched or not, and tells of what is wrong every time', () => {
    const settings = world.open()
    world.files.write(RESOLV_CONF, 'nameserver 192.0.2.4\n')
    world.files.write(HOSTS, '192.0.2.9 new.corp\n')
    settings.reload(settings.config)
    expect([world.servers, world.hosts]).toEqual([['192.0.2.4:53'], ['new.corp']])
    expect(world.told).toHaveLength(1)
    world.files.remove(HOSTS)
    for (let times = 1; times <= 2; times++) {
      settings.reload(settings.config)
      expect(
        world.lines.filter((line) => line.includes('the hosts file cannot be read: its last names stay')),
      ).toHaveLength(times)
    }
    expect(world.hosts).toEqual(['new.corp'])
  })

  test('forgets loops and looks for addresses', () => {
    const settings = world.open()
    settings.loopFound('192.0.2.1:53', Uint8Array.of(127, 0, 0, 1))
    world.addresses = ['127.0.0.1', '10.0.0.6']
    settings.reload(settings.config)
    expect(settings.looping.size).toBe(0)
    expect(settings.engine.ownAddresses.map(String)).toEqual(['127,0,0,1', '10,0,0,6'])
  })
})

describe("this machine's addresses", () => {
  test('are followed: another one counts within five seconds', () => {
    world.open()
    world.addresses = ['127.0.0.1', '10.0.0.6', '10.0.0.7']
    world.clock.advance(4999)
    expect(own()).toEqual(['127.0.0.1', '10.0.0.5'])
    world.clock.advance(1)
    expect(own()).toEqual(['127.0.0.1', '10.0.0.6', '10.0.0.7'])
    expect(world.lines).toEqual(["info this machine's addresses changed"])
    world.clock.advance(60_000)
    expect(world.told).toHaveLength(1)
  })

  test('and at once where a server begins to fail, which is probed again', () => {
    const settings = world.open()
    const before = settings.engine.loopProbe?.id
    world.addresses = ['10.0.0.9']
    settings.serverFails()
    expect(own()).toEqual(['10.0.0.9'])
    expect(settings.engine.loopProbe?.id).not.toBe(before)
    expect(world.told.at(-1)).toBe(settings.engine)
  })

  test('and at once where somebody was refused; the same ones in another order tell nobody', () => {
    const settings = world.open()
    world.addresses = ['10.0.0.5', '127.0.0.1', '10.0.0.5']
    settings.clientRefused()
    expect(world.told).toEqual([])
    world.addresses = ['10.0.0.9']
    settings.clientRefused()
    expect(own()).toEqual(['10.0.0.9'])
  })
})

describe('a file of root certificates', () => {
  const pem = readFileSync(new URL('../stream/certificates/ca.pem', import.meta.url), 'utf8')
  const ROOTS = '/etc/roots.pem'

  test('verifies upstream servers by what it holds, once a change has rested; a bad one changes nothing', () => {
    world.files.write(ROOTS, pem)
    world.open(`rootCert: ${ROOTS}`)
    expect(world.settings.rootCertificates).toBe(pem)
    const told = world.told.length
    world.files.replace(ROOTS, `${pem}\n${pem}`)
    world.clock.advance(1000)
    expect([world.settings.rootCertificates, world.told.length]).toEqual([`${pem}\n${pem}`, told + 1])
    world.files.write(ROOTS, pem.slice(0, 300))
    world.clock.advance(1000)
    expect([world.settings.rootCertificates, world.told.length]).toEqual([`${pem}\n${pem}`, told + 1])
    expect(world.lines.at(-1)).toBe(
      `error upstream.rootCert: ${ROOTS}: holds no certificate; the certificates that it held last stay`,
    )
    expect(world.settings.problems).toMatchObject([{ about: 'root_certificates' }])
  })

  test('is another one, or none, after a reload', () => {
    world.files.write(ROOTS, pem)
    world.open()
    expect(world.settings.rootCertificates).toBeNull()
    const files = `hostsFile: ${HOSTS}, upstream: { resolvConf: ${RESOLV_CONF}`
    world.settings.reload(world.configOf(`{ ${files}, rootCert: ${ROOTS} } }`))
    expect([world.settings.rootCertificates, world.files.watched.includes(ROOTS)]).toEqual([pem, true])
    world.settings.reload(world.configOf(`{ ${files} } }`))
    expect([world.settings.rootCertificates, world.files.watched.includes(ROOTS)]).toEqual([null, false])
  })

  test('that is another one after a reload, and of no use, leaves the certificates of the one before, until it is', () => {
    world.files.write(ROOTS, pem)
    world.open(`rootCert: ${ROOTS}`)
    const other = '/etc/other.pem'
    const yaml = `{ hostsFile: ${HOSTS}, upstream: { resolvConf: ${RESOLV_CONF}, rootCert: ${other} } }`
    world.settings.reload(world.configOf(yaml))
    expect([world.settings.rootCertificates, world.files.watched.includes(ROOTS)]).toEqual([pem, false])
    world.files.write(other, `${pem}\n`)
    world.rest()
    expect(world.settings.rootCertificates).toBe(`${pem}\n`)
  })

  test('is read again by a reload that names the same one', () => {
    world.files.write(ROOTS, pem)
    world.open(`rootCert: ${ROOTS}`)
    world.files.replace(ROOTS, `${pem}\n`)
    world.settings.reload(world.settings.config)
    expect(world.settings.rootCertificates).toBe(`${pem}\n`)
  })
})

describe('a resolv.conf with a link-local server', () => {
  test('that names no zone is warned of, and the others are asked', () => {
    world.files.write(RESOLV_CONF, 'nameserver fe80::1\nnameserver 10.0.0.1\n')
    world.open()
    expect(world.servers).toEqual(['10.0.0.1:53'])
    expect(world.lines).toEqual([
      'warn resolv.conf: nameserver fe80::1 is an address of one link; name its interface, as in fe80::1%eth0; it is left out',
    ])
  })
})

test('nothing is watched or due any more once stopped', () => {
  world.files.write('/etc/roots.pem', '')
  world.files.write('/etc/names', 'ads.example\n')
  const rules = 'rules: [{ id: ads, file: /etc/names, action: nxdomain }]'
  const settings = world.open('rootCert: /etc/roots.pem', rules)
  expect(world.files.watched.toSorted()).toEqual([HOSTS, '/etc/names', RESOLV_CONF, '/etc/roots.pem'].toSorted())
  settings.loopFound('192.0.2.1:53', Uint8Array.of(127, 0, 0, 1))
  settings.serverFails()
  settings.stop()
  expect([world.files.watched, world.clock.pending]).toEqual([[], []])
})

function reload(hostsFile: string, resolvConf: string, rest = ''): void {
  world.settings.reload(
    world.configOf(`{ hostsFile: "${hostsFile}", upstream: { resolvConf: ${resolvConf} }, ${rest} }`),
  )
}

describe('a reload', () => {
  const OTHER_HOSTS = '/etc/other-hosts'
  const OTHER_RESOLV_CONF = '/run/resolv.conf'

  test('reads both files again, at once', () => {
    world.open()
    world.files.write(HOSTS, '192.0.2.9 new.corp\n')
    world.files.write(RESOLV_CONF, 'nameserver 192.0.2.4\n')
    reload(HOSTS, RESOLV_CONF)
    expect([world.hosts, world.servers]).toEqual([['new.corp'], ['192.0.2.4:53']])
    expect(world.told.at(-1)).toBe(world.settings.engine)
  })

  test('takes the names and servers of other files, and follows those from then on', () => {
    world.files.write(OTHER_HOSTS, '192.0.2.9 other.corp\n')
    world.files.write(OTHER_RESOLV_CONF, 'nameserver 192.0.2.5\nsearch other.example\n')
    world.open()
    reload(OTHER_HOSTS, OTHER_RESOLV_CONF)
    expect([world.hosts, world.servers]).toEqual([['other.corp'], ['192.0.2.5:53']])
    expect(world.identities.at(-1)?.searchDomain).toBe('other.example')
    expect(world.files.watched.toSorted()).toEqual([OTHER_HOSTS, OTHER_RESOLV_CONF])
    world.files.write(OTHER_HOSTS, '192.0.2.9 third.corp\n')
    world.files.write(OTHER_RESOLV_CONF, 'nameserver 192.0.2.6\n')
    world.files.write(HOSTS, '192.0.2.9 never.corp\n')
    world.rest()
    expect([world.hosts, world.servers]).toEqual([['third.corp'], ['192.0.2.6:53']])
  })

  test('that names files which are of no use keeps what the ones before said, until they are', () => {
    world.open()
    reload(OTHER_HOSTS, OTHER_RESOLV_CONF)
    expect([world.hosts, world.servers]).toEqual([['db.corp'], ['192.0.2.1:53']])
    expect(
      world.lines.filter((line) => /cannot be read: (?:what it said last|its last names) stay/.test(line)),
    ).toHaveLength(2)
    world.files.write(OTHER_HOSTS, '192.0.2.9 other.corp\n')
    world.files.write(OTHER_RESOLV_CONF, 'nameserver 192.0.2.5\n')
    world.rest()
    expect([world.hosts, world.servers]).toEqual([['other.corp'], ['192.0.2.5:53']])
  })

  test('without a hosts file has no names of one, and with one again has', () => {
    world.open()
    reload('', RESOLV_CONF)
    expect([world.hosts, world.files.watched]).toEqual([[], [RESOLV_CONF]])
    reload(HOSTS, RESOLV_CONF)
    expect(world.hosts).toEqual(['db.corp'])
  })

  test('forgets loops, and tells everybody of other settings', () => {
    const settings = world.open()
    settings.loopFound('192.0.2.1:53', Uint8Array.of(127, 0, 0, 1))
    reload(HOSTS, RESOLV_CONF, 'mesh: { ttlSeconds: 77 }')
    expect(settings.looping.size).toBe(0)
    expect(settings.config.mesh.ttlSeconds).toBe(77)
    expect(world.told.at(-1)).toMatchObject({ ttlSeconds: 77 })
  })
})

test('a search domain whose storms are not ended is warned of once, until its servers are others', () => {
  world.files.write(RESOLV_CONF, 'nameserver 10.0.0.10\nsearch default.svc.cluster.local lan\n')
  const settings = world.open()
  expect(settings.warnings).toEqual([])
  for (let worker = 0; worker < 2; worker++) settings.stormsOff('default.svc.cluster.local.', 'a template')
  settings.stormsOff('gone.svc.cluster.local.', 'a template')
  const warning =
    'search storms are not ended below default.svc.cluster.local. (a template): every question there is asked of servers; search.storms: off says the same for all domains'
  expect(settings.warnings).toEqual([warning])
  expect(world.lines.filter((line) => line === `warn ${warning}`)).toHaveLength(1)
  world.files.write(HOSTS, '192.0.2.10 other.corp\n')
  world.rest()
  expect([world.hosts, settings.warnings]).toEqual([['other.corp'], [warning]])
  world.files.write(RESOLV_CONF, 'nameserver 10.0.0.11\nsearch default.svc.cluster.local\n')
  world.rest()
  expect(settings.warnings).toEqual([])
  settings.stop()
})
