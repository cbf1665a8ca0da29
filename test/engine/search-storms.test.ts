import { expect, test } from 'vitest'
import { Ede, Rcode, Type } from '../../src/dns/constants.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import { Source } from '../../src/stats/counters.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { a, cname, decode, message, soa, type WireMessage, wire } from '../dns/messages.ts'
import { imageOf, service } from '../table/compiled.ts'
import { type Asked, EngineUnderTest, server, type SettingsChange } from './engine-under-test.ts'
import type { SentQuery } from './fake-outlet.ts'

const NXDOMAIN = 0x8183
const SEARCH = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']
const searchStorms = SEARCH.map(wire)

type Script = (name: string) => WireMessage

/** As CoreDNS answers for a cluster: namespaces shop and prod, with a service api in each. */
const cluster: Script = (name) => {
  const exists = /^(api\.)?(shop|prod)\.svc\.cluster\.local$|^(svc\.)?cluster\.local$/.test(name)
  const authorities = [soa('cluster.local', 30, 30)]
  if (!exists) return { flags: NXDOMAIN, authorities }
  return name.startsWith('api.') ? { answers: [a(1, 30)] } : { authorities }
}

function under(change: SettingsChange = {}, table: NameTable | null = null): EngineUnderTest {
  return new EngineUnderTest({ searchStorms, ...change }, table === null ? null : imageOf(table))
}

const nameOf = ({ bytes }: SentQuery): string => decode(bytes).questions[0]!.name.toLowerCase()

/** Answers all that was asked of servers from `from` on, and returns the names, random ones as `?`. */
function serve(byname: EngineUnderTest, script: Script = cluster, from: number = 0): string[] {
  const { queries } = byname.outlet
  for (let k = from; k < queries.length; k++) byname.answer(script(nameOf(queries[k]!)), queries[k])
  return queries.slice(from).map((sent) => nameOf(sent).replace(/^[a-z2-7]{12}\./, '?.'))
}

/** Asks, has servers answer, and returns the reply and the names that they were asked for. */
function look(
  byname: EngineUnderTest,
  name: string,
  script: Script = cluster,
  type: number = Type.A,
): [Asked, string[]] {
  const from = byname.outlet.queries.length
  const asked = byname.ask(name, type, { edns: {} })
  return [asked, serve(byname, script, from)]
}

/** Below the first search domain, where com is known not to exist. */
function denying(change: SettingsChange = {}, table: NameTable | null = null): EngineUnderTest {
  const byname = under(change, table)
  look(byname, `first.com.${SEARCH[0]}`)
  return byname
}

/** Names that are asked of a server when a client asks for `name`. */
function asks(byname: EngineUnderTest, name: string, type: number = Type.A, script: Script = cluster): string[] {
  return look(byname, name, script, type)[1]
}

test('the first question goes as before; a random name and the parent below each domain are asked for beside it', () => {
  const byname = under()
  const [asked, names] = look(byname, `api.example.com.${SEARCH[0]}`)
  expect(names).toEqual([
    `api.example.com.${SEARCH[0]}`,
    ...SEARCH.flatMap((domain) => [`?.com.${domain}`, `com.${domain}`]),
  ])
  expect(asked.reply?.rcode).toBe(Rcode.NXDOMAIN)
  expect([byname.cell('stormParents'), byname.cell('stormGuards'), byname.cell('stormDenials')]).toEqual([3, 3, 0])
  // The resolver goes on.
  for (const domain of SEARCH.slice(1)) expect(asks(byname, `api.example.com.${domain}`)).toEqual([])
})

test('after that every name below the parent is denied, of any type, with the SOA of the parent', () => {
  const byname = denying()
  byname.advance(10_000)
  for (const type of [Type.A, Type.AAAA, Type.HTTPS, Type.SRV]) {
    const [asked, names] = look(byname, `Other.Example.COM.${SEARCH[0]}`, cluster, type)
    expect(names).toEqual([])
    expect(asked.reply).toMatchObject({
      rcode: Rcode.NXDOMAIN,
      answers: [],
      authorities: [{ name: 'cluster.local', type: 'SOA', ttl: 20 }],
      opt: { options: [{ code: 15, data: Buffer.from([0, Ede.SYNTHESIZED]) }] },
    })
  }
  expect([byname.cell('stormDenials'), byname.cell('cacheHitsNegative'), byname.responses(Source.cache)]).toEqual([
    4, 4, 4,
  ])
})

test('a thousand new names cost no question below the search domains', () => {
  const byname = under()
  for (let k = 0; k < 1000; k++)
    for (const domain of SEARCH)
      for (const type of [Type.A, Type.AAAA]) look(byname, `host-${k}.example.com.${domain}`, cluster, type)
  // A below the first domain, and a parent and a random name below each.
  expect(byname.outlet.queries.length).toBe(7)
})

test('parents that exist deny nothing, and are not asked for again for a while', () => {
  const byname = under()
  const name = 'api.prod.svc.cluster.local'
  expect(asks(byname, name)).toEqual([name, ...SEARCH.flatMap((domain) => [`?.prod.${domain}`, `prod.${domain}`])])
  expect(asks(byname, 'no.prod.svc.cluster.local')).toEqual(['no.prod.svc.cluster.local'])
  byname.advance(60_000)
  expect(asks(byname, name)).toEqual([name])
  byname.advance(300_000)
  expect(asks(byname, name)).toEqual([name, ...SEARCH.map((domain) => `prod.${domain}`)])
})

test.each([
  ['a name directly below a search domain', `com.${SEARCH[0]}`, {}],
  ['a name outside the search list', 'www.example.com', {}],
  ['a name of another cluster', 'www.example.com.svc.other.local', {}],
  ['a name that only ends alike', 'www.example.com.xcluster.local', {}],
  ['a question with DO', `www.example.com.${SEARCH[0]}`, { edns: { dnssecOk: true } }],
  ['a question with CD', `www.example.com.${SEARCH[0]}`, { flags: 0x0110 }],
  ['a question without RD', `www.example.com.${SEARCH[0]}`, { flags: 0 }],
])('%s is asked, and nothing beside it', (_, name, asking) => {
  const byname = denying()
  const before = byname.outlet.queries.length
  byname.ask(name, Type.MX, asking)
  expect(byname.outlet.queries.slice(before).map(nameOf)).toEqual([name])
})

test('names of the table come first, and names below its services are asked', () => {
  const table = new Map([service('com', 'shop', ['10.0.0.1']), service('web', 'shop', ['10.0.0.2'])])
  const byname = denying({}, table)
  expect(byname.ask(`web.${SEARCH[0]}`).reply?.answers).toMatchObject([{ data: '10.0.0.2' }])
  expect(asks(byname, `www.example.com.${SEARCH[0]}`)).toEqual([`www.example.com.${SEARCH[0]}`])
  expect(asks(byname, `_http._tcp.web.${SEARCH[0]}`, Type.SRV)).toEqual([`_http._tcp.web.${SEARCH[0]}`])
})

test('a table that brings the parent ends its denial at once', () => {
  const byname = denying()
  expect(asks(byname, `www.example.com.${SEARCH[0]}`)).toEqual([])
  byname.engine.adopt(imageOf(new Map([service('com', 'shop', ['10.0.0.1'])])))
  expect(asks(byname, `www.example.com.${SEARCH[0]}`)).toEqual([`www.example.com.${SEARCH[0]}`])
})

test('a denial is renewed in the last quarter of its life, once, while it is used', () => {
  const byname = denying()
  byname.advance(22_000)
  expect(asks(byname, `a.example.com.${SEARCH[0]}`)).toEqual([])
  byname.advance(1000)
  const before = byname.outlet.queries.length
  byname.ask(`b.example.com.${SEARCH[0]}`)
  byname.ask(`c.example.com.${SEARCH[0]}`)
  expect(byname.outlet.queries.slice(before).map(nameOf)).toEqual([`com.${SEARCH[0]}`])
  serve(byname, cluster, before)
  byname.advance(20_000)
  expect(asks(byname, `d.example.com.${SEARCH[0]}`)).toEqual([])
})

test('a denial that nobody uses ends with its TTL, and the question after that goes as before', () => {
  const byname = denying()
  byname.advance(30_000)
  const name = `a.example.com.${SEARCH[0]}`
  expect(asks(byname, name)).toEqual([name, ...SEARCH.map((domain) => `com.${domain}`)])
})

test.each<[string, Script, string[][]]>([
  [
    'a wildcard or template answers the random name',
    (name) => (/\.com\.shop/.test(name) ? { answers: [a(7)] } : cluster(name)),
    [['shop.svc.cluster.local.', 'a random name is answered there, by a wildcard or a template']],
  ],
  [
    'the random name has no such record, but is there',
    (name) => (/^[a-z2-7]{12}\.com\.shop/.test(name) ? { authorities: [soa('cluster.local', 9, 9)] } : cluster(name)),
    [['shop.svc.cluster.local.', 'a random name is answered there, by a wildcard or a template']],
  ],
  [
    'the random name is a CNAME to nowhere',
    (name) =>
      /^[a-z2-7]{12}\.com\.shop/.test(name)
        ? { flags: NXDOMAIN, answers: [cname('gone.local')], authorities: [soa('local', 9, 9)] }
        : cluster(name),
    [['shop.svc.cluster.local.', 'a random name is answered there, by a wildcard or a template']],
  ],
  [
    'a name exists below the parent that was denied with it',
    (name) => (name.startsWith('a.example.com.shop') ? { answers: [a(7)] } : cluster(name)),
    [['shop.svc.cluster.local.', 'a name exists there below one that a server denies']],
  ],
])('%s: the domain is off, and that is said once', (_, script, said) => {
  const byname = under()
  const first = `a.example.com.${SEARCH[0]}`
  look(byname, first, script)
  expect(byname.stormsOff).toEqual(said)
  for (const name of [`b.example.com.${SEARCH[0]}`, `c.example.org.${SEARCH[0]}`])
    expect(asks(byname, name, Type.A, script)).toEqual([name])
  expect(byname.stormsOff).toEqual(said)
  // Other search domains are not affected.
  expect(asks(byname, `b.example.com.${SEARCH[1]}`)).toEqual([])
  const { stages } = explainQuery(byname.engine, message({ questions: [[`d.example.com.${SEARCH[0]}`, 1]] }), null)
  expect(stages.at(-1)?.finding).toBe(
    'off for shop.svc.cluster.local. because a server answers names below one that it denies',
  )
})

test('as long as the random name has no answer, every question is asked; it is asked for again after a while', () => {
  const byname = under()
  const silent: string[] = []
  const script: Script = (name) => {
    if (!/^[a-z2-7]{12}\./.test(name)) return cluster(name)
    silent.push(name)
    return { flags: 0x8182 }
  }
  look(byname, `a.example.com.${SEARCH[0]}`, script)
  const name = `b.example.com.${SEARCH[0]}`
  expect(asks(byname, name, Type.A, script)).toEqual([name])
  byname.advance(5000)
  const third = `c.example.com.${SEARCH[0]}`
  expect(asks(byname, third)).toEqual([third, ...SEARCH.map((domain) => `?.com.${domain}`)])
  expect(asks(byname, `d.example.com.${SEARCH[0]}`)).toEqual([])
})

test('a parent that has come into being denies nothing any more, as soon as a server says so', () => {
  const byname = denying()
  byname.advance(24_000)
  const created: Script = (name) => (name === `com.${SEARCH[0]}` ? { answers: [a(1, 30)] } : cluster(name))
  // The hit renews the denial, which is none any more.
  expect(asks(byname, `a.example.com.${SEARCH[0]}`, Type.A, created)).toEqual([`com.${SEARCH[0]}`])
  const name = `b.example.com.${SEARCH[0]}`
  expect(asks(byname, name, Type.A, created)).toEqual([name])
  expect(byname.stormsOff).toEqual([])
})

test.each([
  ['without an SOA', { flags: NXDOMAIN }, {}],
  ['that is good for no time', { flags: NXDOMAIN, authorities: [soa('cluster.local', 0, 30)] }, {}],
  [
    'that the cache may not keep',
    { flags: NXDOMAIN, authorities: [soa('cluster.local', 30, 30)] },
    { cache: { maxNegativeTtlSeconds: 0 } },
  ],
])('a denial %s spares nothing, and is not asked for with every name', (_, reply, change) => {
  const byname = under(change)
  look(byname, `a.example.com.${SEARCH[0]}`, () => reply)
  const name = `b.example.com.${SEARCH[0]}`
  expect(asks(byname, name, Type.A, () => reply)).toEqual([name])
})

test('other servers may see another tree: random name and parent are asked for again', () => {
  const byname = denying()
  const servers = [server('two')]
  byname.engine.configure({ ...byname.settings, servers })
  const name = `a.example.com.${SEARCH[0]}`
  expect(asks(byname, name)).toEqual([name, ...SEARCH.map((domain) => `?.com.${domain}`)])
  expect(asks(byname, `b.example.com.${SEARCH[0]}`)).toEqual([])
  byname.engine.configure({ ...byname.settings, servers, deadlineMs: 4000 })
  expect(asks(byname, `c.example.com.${SEARCH[0]}`)).toEqual([])
})

test('a parent that other servers are asked for says nothing', () => {
  const routes = [
    { domains: [wire(`example.com.${SEARCH[0]}`)], servers: [1], policy: 'sequential' as const },
    { domains: [new Uint8Array(1)], servers: [0], policy: 'sequential' as const },
  ]
  const byname = denying({ servers: [server('one'), server('two')], routes })
  expect(asks(byname, `a.example.com.${SEARCH[0]}`)).toEqual([`a.example.com.${SEARCH[0]}`])
  expect(asks(byname, `a.other.com.${SEARCH[0]}`)).toEqual([])
})

test('without search domains, and without a cache, there is no such stage', () => {
  const name = `a.example.com.${SEARCH[0]}`
  for (const byname of [under({ searchStorms: [] }), under({ cache: { maxBytes: 0 } })]) {
    expect(asks(byname, name)).toEqual([name])
    expect(byname.engine.stages.map((stage) => stage.name)).not.toContain('search storms')
  }
})

test('where half of the places for pending queries are taken, nothing is asked beside what clients ask', () => {
  const byname = under({ maxInFlight: 4 })
  byname.ask('one.example')
  const name = `a.example.com.${SEARCH[0]}`
  byname.ask(name)
  expect(byname.outlet.queries.map(nameOf)).toEqual(['one.example', name])
})

test('explain tells what is known, and asks nothing', () => {
  const byname = under()
  const findingOf = (name: string): string => {
    const { stages } = explainQuery(byname.engine, message({ questions: [[name, Type.A]] }), null)
    return stages.at(-1)!.finding
  }
  const name = `a.example.com.${SEARCH[0]}`
  expect(findingOf(name)).toBe('not known yet whether shop.svc.cluster.local. answers any name')
  expect(findingOf('www.example.com')).toBe("not below a parent in one of the cluster's search domains")
  look(byname, name)
  expect(findingOf(`b.example.com.${SEARCH[0]}`)).toBe(
    'com.shop.svc.cluster.local. does not exist, so nothing below it does (RFC 8020)',
  )
  expect(findingOf(`b.example.org.${SEARCH[0]}`)).toBe(
    'whether org.shop.svc.cluster.local. exists is not known, or it does',
  )
  expect(byname.outlet.queries.length).toBe(7)
})

test.each([
  ['without DO and CD', {}, 2],
  ['with DO', { edns: { dnssecOk: true } }, 1],
  ['with CD', { flags: 0x0110 }, 1],
])(
  'the denial of a parent that was asked for %s is kept for names below only if it answers for them',
  (_, how, kept) => {
    const byname = under()
    byname.ask(`com.${SEARCH[0]}`, Type.A, how)
    byname.answer({ flags: NXDOMAIN, authorities: [soa('cluster.local', 30, 30)] })
    expect(byname.engine.cache!.entries).toBe(kept)
  },
)
