import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { nameToWire } from '../../src/dns/name.ts'
import type { NameInfo } from '../../src/table/nds.ts'
import { info, imageOf, service } from '../table/compiled.ts'
import { bytes, type DecodedMessage } from '../dns/messages.ts'
import { type Asking, EngineUnderTest } from './engine-under-test.ts'

const IPS = ['10.0.0.1', '10.0.0.2', 'fd00::1']
const many: [string, NameInfo] = [
  'many.example',
  info({
    ips: Array.from({ length: 100 }, (_, k) => `10.1.0.${k + 1}`).concat(
      Array.from({ length: 60 }, (_, k) => `fd01::${k + 1}`),
    ),
  }),
]
const table = new Map<string, NameInfo>([
  service('web', 'shop', IPS),
  service('old', 'ops', ['10.0.1.1']),
  ['api.example.com', info({ ips: ['192.0.2.7'] })],
  ['six.example.com', info({ ips: ['fd00::6'] })],
  ['*.wild.example', info({ ips: ['192.0.2.8'] })],
  ['mapped.example', info({ ips: ['::ffff:192.0.2.9'] })],
  many,
])
const SEARCH = 'shop.svc.cluster.local'
const WEB = 'web.shop.svc.cluster.local'

function ask(name: string, type: number = Type.A, asking: Asking = {}): DecodedMessage & { length: number } {
  const byname = new EngineUnderTest({}, imageOf(table))
  const asked = byname.ask(name, type, asking)
  if (asked.reply === null) throw new Error('no reply')
  expect(byname.responses(0)).toBe(1)
  return { ...asked.reply, length: asked.length }
}

/** True if the question goes upstream. */
function isForwarded(name: string, type: number, httpsRecords: 'nodata' | 'forward' = 'nodata'): boolean {
  const byname = new EngineUnderTest({ httpsRecords }, imageOf(table))
  const { reply } = byname.ask(name, type)
  return reply === null && byname.outlet.queries.length === 1
}

function summary(reply: DecodedMessage): unknown[] {
  return reply.answers.map(({ name, type, ttl, data }) => [name, type, ttl, data])
}

/** Owner, TTL and MINIMUM of the one SOA of a reply without other records than CNAMEs. */
function soaOf(reply: DecodedMessage): unknown[] {
  expect(reply.rcode).toBe(0)
  expect(reply.answers.every(({ type }) => type === 'CNAME')).toBe(true)
  expect(reply.authorities.length).toBe(1)
  const [soa] = reply.authorities
  expect(soa).toMatchObject({ data: { minimum: expect.any(Number) } })
  return [soa!.name, soa!.type, soa!.ttl, Reflect.get(Object(soa!.data), 'minimum')]
}

describe('a host of the table', () => {
  it('is answered with its addresses of the family asked, with authority', () => {
    const reply = ask(WEB)
    expect([reply.rcode, reply.aa, reply.ra, reply.rd, reply.tc, reply.ad]).toEqual([0, true, true, true, false, false])
    expect(summary(reply).toSorted((x, y) => String(x).localeCompare(String(y)))).toEqual([
      [WEB, 'A', 30, '10.0.0.1'],
      [WEB, 'A', 30, '10.0.0.2'],
    ])
    expect(summary(ask(WEB, Type.AAAA))).toEqual([[WEB, 'AAAA', 30, 'fd00::1']])
  })

  it('is found in any case, and the case of the question comes back', () => {
    const reply = ask('WeB.Shop.svc.CLUSTER.local')
    expect(reply.questions[0]!.name).toBe('WeB.Shop.svc.CLUSTER.local')
    expect(reply.answers[0]!.name).toBe('WeB.Shop.svc.CLUSTER.local')
  })

  it.each(['web', 'web.shop', 'web.shop.svc', 'old.ops', 'old.ops.svc'])('answers to %s as well', (name) => {
    const reply = ask(name)
    expect(reply.answers.every((answer) => answer.name === name && answer.type === 'A')).toBe(true)
    expect(reply.answers.length).toBeGreaterThan(0)
  })

  it('puts every address first about equally often, for A and AAAA asked in turn as well', () => {
    const byname = new EngineUnderTest({}, imageOf(table))
    const first = new Map<unknown, number>()
    for (let k = 0; k < 4000; k++) {
      const [answer] = byname.ask('many.example', Type.A, { tcp: true }).reply!.answers
      first.set(answer!.data, (first.get(answer!.data) ?? 0) + 1)
      byname.ask('web', Type.AAAA)
    }
    expect(first.size).toBe(100)
    expect(Math.max(...first.values())).toBeLessThan(90)
  })

  it('is an AAAA record for an IPv4-mapped address', () => {
    expect(ask('mapped.example').answers).toEqual([])
    expect(summary(ask('mapped.example', Type.AAAA)).length).toBe(1)
  })

  it('answers ANY with both families', () => {
    expect(ask(WEB, Type.ANY).answers.map(({ type }) => type)).toEqual(['A', 'A', 'AAAA'])
    expect(ask('api.example.com', Type.ANY).answers.map(({ type }) => type)).toEqual(['A'])
  })

  it.each([Type.MX, Type.TXT, Type.SRV, Type.NS, Type.CNAME, Type.SOA, Type.PTR])(
    'leaves type %i to upstream',
    (type) => {
      expect(isForwarded(WEB, type)).toBe(true)
    },
  )

  it('has no HTTPS and SVCB records, unless they are to be forwarded', () => {
    for (const type of [Type.HTTPS, Type.SVCB]) {
      expect(soaOf(ask(WEB, type))).toEqual([WEB, 'SOA', 30, 30])
      expect(isForwarded(WEB, type, 'forward')).toBe(true)
    }
  })

  it('takes the TTL of the settings', () => {
    const byname = new EngineUnderTest({ ttlSeconds: 7 }, imageOf(table))
    expect(byname.ask(WEB).reply!.answers[0]!.ttl).toBe(7)
    expect(soaOf(byname.ask('api.example.com', Type.AAAA).reply!)).toEqual(['api.example.com', 'SOA', 7, 7])
  })

  it('has an OPT in its reply if there was one in the query', () => {
    expect(ask(WEB).opt).toBeNull()
    expect(ask(WEB, Type.A, { edns: { payload: 600, dnssecOk: true } }).opt).toMatchObject({
      udpPayloadSize: 4096,
      flag_do: true,
    })
    expect(ask('old.ops', Type.AAAA, { edns: {} }).opt).not.toBeNull()
  })
})

describe('a name with the search domain appended', () => {
  it.each([
    [`api.example.com.${SEARCH}`, 'api.example.com'],
    [`old.ops.${SEARCH}`, 'old.ops.svc.cluster.local'],
    [`old.ops.svc.${SEARCH}`, 'old.ops.svc.cluster.local'],
    [`old.ops.svc.cluster.local.${SEARCH}`, 'old.ops.svc.cluster.local'],
    [`web.shop.${SEARCH}`, WEB],
  ])('%s is an alias of the host’s full name', (name, host) => {
    const reply = ask(name)
    expect(summary(reply)[0]).toEqual([name, 'CNAME', 30, host])
    expect(reply.answers.length).toBeGreaterThan(1)
    for (const answer of reply.answers.slice(1)) expect([answer.name, answer.type]).toEqual([host, 'A'])
  })

  it('has one CNAME and both families under ANY', () => {
    expect(ask(`web.shop.svc.${SEARCH}`, Type.ANY).answers.map(({ type }) => type)).toEqual(['CNAME', 'A', 'A', 'AAAA'])
  })

  it('below a wildcard is an alias of the concrete name, in the client’s case', () => {
    const reply = ask(`Foo.wild.example.${SEARCH}`)
    expect(summary(reply)).toEqual([
      [`Foo.wild.example.${SEARCH}`, 'CNAME', 30, 'Foo.wild.example'],
      ['Foo.wild.example', 'A', 30, '192.0.2.8'],
    ])
  })
})

describe('a name below a wildcard', () => {
  it('is answered at any depth, in the client’s case, without CNAME', () => {
    expect(summary(ask('A.b.Wild.example'))).toEqual([['A.b.Wild.example', 'A', 30, '192.0.2.8']])
    expect(isForwarded('wild.example', Type.A)).toBe(true)
  })
})

describe('a host without addresses of the family', () => {
  it.each<[string, number, string]>([
    ['api.example.com', Type.AAAA, 'api.example.com'],
    ['API.example.com', Type.AAAA, 'API.example.com'],
    ['six.example.com', Type.A, 'six.example.com'],
    ['old.ops', Type.AAAA, 'old.ops.svc.cluster.local'],
    ['old.ops.svc', Type.AAAA, 'old.ops.svc.cluster.local'],
    ['a.b.wild.example', Type.AAAA, 'wild.example'],
    [`a.b.wild.example.${SEARCH}`, Type.AAAA, 'wild.example'],
    [`api.example.com.${SEARCH}`, Type.AAAA, 'api.example.com'],
    [`old.ops.${SEARCH}`, Type.AAAA, 'old.ops.svc.cluster.local'],
  ])('has an SOA for %s %i, of %s', (name, type, owner) => {
    expect(soaOf(ask(name, type))).toEqual([owner, 'SOA', 30, 30])
    expect(soaOf(ask(name, type, { edns: {} }))).toEqual([owner, 'SOA', 30, 30])
  })

  it('has an SOA of the host for another name of the same length', () => {
    const host = {
      ips: ['10.0.0.1'],
      registry: 'Kubernetes',
      shortname: 'web',
      namespace: 'shop',
      altHosts: ['abc.shop.svc.cluster.local'],
    }
    const byname = new EngineUnderTest({}, imageOf(new Map([[WEB, host]])))
    expect(soaOf(byname.ask('abc.shop.svc.cluster.local', Type.AAAA).reply!)).toEqual([WEB, 'SOA', 30, 30])
  })

  it('keeps the CNAME', () => {
    expect(summary(ask(`api.example.com.${SEARCH}`, Type.AAAA))).toEqual([
      [`api.example.com.${SEARCH}`, 'CNAME', 30, 'api.example.com'],
    ])
  })
})

describe('a reply over the client’s limit', () => {
  it.each<[string, Asking, number]>([
    ['512 without EDNS', {}, 512],
    ['512 with a smaller payload', { edns: { payload: 100 } }, 512],
    ['1232', { edns: { payload: 1232 } }, 1232],
  ])('keeps whole records and sets TC at %s', (_, asking, limit) => {
    for (const type of [Type.A, Type.AAAA, Type.ANY]) {
      const reply = ask('many.example', type, asking)
      expect(reply.tc).toBe(true)
      expect(reply.length).toBeLessThanOrEqual(limit)
      expect(reply.length).toBeGreaterThan(limit - 28)
      expect(reply.opt !== null).toBe(asking.edns !== undefined)
      const addresses = reply.answers.map(({ data }) => data)
      expect(new Set(addresses).size).toBe(addresses.length)
    }
  })

  it('begins at any address when it is cut as well', () => {
    const byname = new EngineUnderTest({}, imageOf(table))
    const first = new Set<unknown>()
    for (let k = 0; k < 1000; k++) first.add(byname.ask('many.example').reply!.answers[0]!.data)
    expect(first.size).toBeGreaterThan(95)
  })

  it('is whole over TCP', () => {
    const reply = ask('many.example', Type.ANY, { tcp: true })
    expect([reply.tc, reply.answers.length]).toEqual([false, 160])
  })

  it('takes at most what we send to clients from elsewhere', () => {
    const byname = new EngineUnderTest({ access: [{ address: new Uint8Array(4), length: 0 }] }, imageOf(table))
    byname.from(Uint8Array.of(10, 0, 0, 1))
    const asked = byname.ask('many.example', Type.A, { edns: { payload: 4096 } })
    expect(asked.length).toBeLessThanOrEqual(1232)
    expect(asked.reply).toMatchObject({ tc: true, opt: { udpPayloadSize: 1232 } })
  })

  it('keeps to the limit where already the names take it all', () => {
    const label = 'a'.repeat(60)
    const long = `${label}.${label}.${label}.${'b'.repeat(50)}`
    const image = imageOf(
      new Map([
        [long, info({ ips: ['10.0.0.1'] })],
        [`*.${long.slice(3)}`, info({ ips: ['10.0.0.1'] })],
      ]),
      { namespace: 'n', domain: 'n.svc.c', searchDomain: 'search' },
    )
    const byname = new EngineUnderTest({}, image)
    for (const name of [`${long}.search`, `x.${long.slice(3)}.search`]) {
      for (const type of [Type.A, Type.AAAA]) {
        for (const edns of [null, {}, { payload: 600 }, { payload: 530 }, { payload: 512 }]) {
          const asked = byname.ask(name, type, { edns })
          expect(asked.reply!.answers.length + (asked.reply!.tc ? 1 : 0)).toBeGreaterThan(0)
          expect(asked.length).toBeLessThanOrEqual(edns?.payload ?? (edns === null ? 512 : 1232))
        }
        expect(byname.ask(name, type, { tcp: true }).reply).toMatchObject({ tc: false })
      }
    }
  })
})

describe('PTR for an address of the table', () => {
  const reverse = {
    '10.0.0.2': '2.0.0.10.in-addr.arpa',
    'fd00::1': `1.${'0.'.repeat(28)}d.f.ip6.arpa`
      .replace('0.d.f', '0.0.d.f')
      .replace(/^1\.(0\.)+/, `1.${'0.'.repeat(29)}`),
  }

  it.each(Object.entries(reverse))('%s is answered with the host’s full name', (_, name) => {
    const reply = ask(name, Type.PTR, { edns: {} })
    expect(summary(reply)).toEqual([[name, 'PTR', 30, WEB]])
    expect([reply.aa, reply.opt !== null]).toEqual([true, true])
    expect(summary(ask(name.toUpperCase(), Type.PTR))[0]).toEqual([name.toUpperCase(), 'PTR', 30, WEB])
  })

  it.each([
    '3.0.0.10.in-addr.arpa',
    '2.0.0.10.ip6.arpa',
    '02.0.0.10.in-addr.arpa',
    '256.0.0.10.in-addr.arpa',
    'a.0.0.10.in-addr.arpa',
    '1234.0.0.10.in-addr.arpa',
    '0.0.10.in-addr.arpa',
    '1.2.0.0.10.in-addr.arpa',
    `g.${'0.'.repeat(29)}d.f.ip6.arpa`,
    `11.${'0.'.repeat(29)}d.f.ip6.arpa`,
    `${'0.'.repeat(32)}in-addr.arpa`,
    'in-addr.arpa',
    '.',
  ])('leaves %s to upstream', (name) => {
    expect(isForwarded(name, Type.PTR)).toBe(true)
  })

  describe('below a wildcard host that has the reverse names', () => {
    const zone = new Map<string, NameInfo>([
      service('web', 'shop', IPS),
      ['*.10.in-addr.arpa', info({ ips: ['192.0.2.20'] })],
      ['*.arpa', info({ ips: ['fd00::20'] })],
    ])
    const byname = (): EngineUnderTest => new EngineUnderTest({}, imageOf(zone))

    it('is answered with the host’s full name all the same', () => {
      for (const name of Object.values(reverse)) {
        const engine = byname()
        expect(summary(engine.ask(name, Type.PTR).reply!)).toEqual([[name, 'PTR', 30, WEB]])
        expect([engine.responses(0), engine.outlet.queries.length]).toEqual([1, 0])
      }
    })

    it('is left to upstream for an address that no host has: a wildcard host has no pointers', () => {
      for (const name of ['20.2.0.192.in-addr.arpa', '9.9.9.10.in-addr.arpa', 'x.10.in-addr.arpa', '10.in-addr.arpa']) {
        const engine = byname()
        expect([engine.ask(name, Type.PTR).reply, engine.outlet.queries.length]).toEqual([null, 1])
      }
    })

    it('does not keep such a name from having addresses', () => {
      const name = reverse['10.0.0.2']
      expect(summary(byname().ask(name, Type.A).reply!)).toEqual([[name, 'A', 30, '192.0.2.20']])
      expect(soaOf(byname().ask(name, Type.AAAA).reply!)).toEqual(['10.in-addr.arpa', 'SOA', 30, 30])
      expect(summary(byname().ask(name, Type.ANY).reply!)).toEqual([[name, 'A', 30, '192.0.2.20']])
    })

    it('with the search domain appended is nobody’s: what is appended is no reverse name', () => {
      const engine = byname()
      expect(engine.ask(`${reverse['10.0.0.2']}.${SEARCH}`, Type.PTR).reply).toBeNull()
      expect(summary(engine.ask(`${reverse['10.0.0.2']}.${SEARCH}`, Type.A).reply!)).toHaveLength(2)
    })
  })

  it('reads names that are no longer than they may be', () => {
    expect(nameToWire(reverse['fd00::1'])!.length).toBe(74)
  })
})

it('a truncated header is none of the table’s', () => {
  const byname = new EngineUnderTest({}, imageOf(table))
  expect(byname.askRaw(bytes(1, 2)).reply).toBeNull()
})

describe('an exact host below a wildcard, asked for with the search domain once more', () => {
  const local = new Map<string, NameInfo>([...table, ['*.local', info({ ips: ['192.0.2.9', 'fd00::9'] })]])
  const twice = `${WEB}.${SEARCH}`

  it.each([
    [Type.A, ['10.0.0.1', '10.0.0.2']],
    [Type.AAAA, ['fd00::1']],
  ])('has its own addresses (type %i)', (type, ips) => {
    const { reply } = new EngineUnderTest({}, imageOf(local)).ask(twice, type)
    expect(reply!.answers[0]).toMatchObject({ name: twice, type: 'CNAME', data: WEB })
    expect(
      reply!.answers
        .slice(1)
        .map(({ name, data }) => `${name} ${String(data)}`)
        .toSorted(),
    ).toEqual(ips.map((ip) => `${WEB} ${ip}`))
  })

  it('has no address where it has none of the family: an SOA of its own', () => {
    const { reply } = new EngineUnderTest({}, imageOf(local)).ask(`old.ops.svc.cluster.local.${SEARCH}`, Type.AAAA)
    expect(summary(reply!)).toMatchObject([[expect.any(String), 'CNAME', 30, 'old.ops.svc.cluster.local']])
    expect(soaOf(reply!)).toEqual(['old.ops.svc.cluster.local', 'SOA', 30, 30])
  })
})
