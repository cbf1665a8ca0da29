import { describe, expect, it, test } from 'vitest'
import { Ede, Flag, Rcode, Type } from '../../src/dns/constants.ts'
import { explainQuery } from '../../src/engine/explain.ts'
import { Source } from '../../src/stats/counters.ts'
import type { Image } from '../../src/table/image.ts'
import { a, cname, decode, message, record, soa } from '../dns/messages.ts'
import { imageOf, info, service } from '../table/compiled.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'
import { rulesOf } from './rules-under-test.ts'
import { pass } from './servers.ts'

const table = imageOf(
  new Map([service('web', 'shop', ['10.0.0.1', 'fd00::1']), ['api.partner.example', info({ ips: ['10.0.0.9'] })]]),
)
const WEB = 'web.shop.svc.cluster.local'

function engineWith(yaml: string, files: Record<string, string> = {}, image: Image | null = null): EngineUnderTest {
  const { routes, servers, set } = rulesOf(yaml, files, ['shop.svc.cluster.local'])
  return new EngineUnderTest({ rules: set, routes, servers }, image)
}

/** An engine with one rule, and the table. */
function withRule(rule: string): EngineUnderTest {
  return engineWith(`rules: [{ ${rule} }]`, {}, table)
}

/** What a question gets, in a word: the rcode, NODATA, data of the records, or that it was asked of a server. */
function outcome({ reply }: Asked): string {
  if (reply === null) return 'asked'
  const names = ['NOERROR', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']
  if (reply.rcode !== Rcode.NOERROR) return names[reply.rcode]!
  if (reply.answers.length === 0) return 'NODATA'
  return reply.answers.map(({ data }) => String(data)).join(' ')
}

/** The question that was asked of a server last. */
function sent(byname: EngineUnderTest): { name: string; type: string } {
  const { name, type } = decode(byname.lastQuery.bytes).questions[0]!
  return { name, type }
}

const get = (byname: EngineUnderTest, name: string, type: number = Type.A): string => outcome(byname.ask(name, type))

describe('the names of a rule', () => {
  it.each([
    [
      'name: ads.example',
      ['ads.example', 'ADS.Example'],
      ['x.ads.example', 'ads.example.org', 'xads.example', 'example'],
    ],
    ['name: .ads.example', ['ads.example', 'a.b.ads.example'], ['xads.example', 'example']],
    ['name: "*.ads.example"', ['x.ads.example', 'a.b.ads.example'], ['ads.example', 'xads.example']],
    ['names: [one.example, .two.example]', ['one.example', 'x.two.example'], ['x.one.example']],
    ['name: ads.example, subdomains: true', ['ads.example', 'x.ads.example'], ['xads.example']],
    ['types: [A]', ['anything.example', 'x'], []],
    ['name: BÜCHER.example', ['xn--bcher-kva.example'], ['bcher.example']],
  ])('%s', (rule, matched, others) => {
    const byname = engineWith(`rules: [{ ${rule}, action: nxdomain }]`)
    for (const name of matched) expect([name, get(byname, name)]).toEqual([name, 'NXDOMAIN'])
    for (const name of others) expect([name, get(byname, name)]).toEqual([name, 'asked'])
  })
})

describe('files of names', () => {
  it.each([
    [
      'plain names',
      'ads.example\n.track.example # both\n*.below.example\n',
      ['ads.example', 'x.track.example', 'x.below.example'],
      ['x.ads.example', 'below.example'],
    ],
    [
      'hosts format',
      '127.0.0.1 localhost\n0.0.0.0 ads.example track.example\n:: six.example\n0.0.0.0 0.0.0.0\n',
      ['ads.example', 'track.example', 'six.example'],
      ['x.ads.example'],
    ],
    [
      'adblock',
      '[Adblock Plus 2.0]\n! title\n||ads.example^\n@@||good.ads.example^\nexample.org##.banner\n||a.example/path\n',
      ['ads.example', 'x.ads.example'],
      ['good.ads.example', 'x.good.ads.example', 'example.org', 'a.example'],
    ],
    [
      'CR LF, a byte order mark and no end of the last line',
      '\uFEFFads.example\r\n\r\nlast.example',
      ['ads.example', 'last.example'],
      ['other.example'],
    ],
  ])('%s', (_, text, matched, others) => {
    const byname = engineWith('rules: [{ file: list, action: nxdomain }]', { list: text })
    for (const name of matched) expect([name, get(byname, name)]).toEqual([name, 'NXDOMAIN'])
    for (const name of others) expect([name, get(byname, name)]).toEqual([name, 'asked'])
  })

  test('a response policy zone says itself what becomes of its names', () => {
    const zone = `$TTL 2h
@ IN SOA localhost. root.localhost. ( 1 ; serial
   3600 600 86400 30 )
  IN NS localhost.
gone.example CNAME .
*.gone.example CNAME .
ok.gone.example CNAME rpz-passthru.
empty.example 60 IN CNAME *.
drop.example CNAME rpz-drop.
tcp.example CNAME rpz-tcp-only.
local.example A 192.0.2.7
local.example 30 AAAA 2001:db8::7
local.example TXT "two words" more
alias.example CNAME walled.example.
32.1.2.0.192.rpz-ip CNAME .
`
    const byname = engineWith('rules: [{ file: zone }]', { zone })
    expect(get(byname, 'gone.example')).toBe('NXDOMAIN')
    expect(get(byname, 'x.gone.example')).toBe('NXDOMAIN')
    expect(get(byname, 'ok.gone.example')).toBe('asked')
    expect(get(byname, 'empty.example')).toBe('NODATA')
    expect(get(byname, 'drop.example')).toBe('asked')
    expect(byname.dropped('rule')).toBe(1)
    expect(byname.ask('drop.example', Type.A, { tcp: true }).reply?.rcode).toBe(Rcode.REFUSED)
    expect(byname.ask('tcp.example').reply!.flags & Flag.TC).toBe(Flag.TC)
    expect(outcome(byname.ask('tcp.example', Type.A, { tcp: true }))).toBe('asked')
    expect(byname.ask('local.example').reply?.answers).toMatchObject([{ type: 'A', ttl: 7200, data: '192.0.2.7' }])
    expect(byname.ask('local.example', Type.AAAA).reply?.answers).toMatchObject([{ ttl: 30, data: '2001:db8::7' }])
    expect(get(byname, 'local.example', Type.MX)).toBe('NODATA')
    const asked = byname.ask('alias.example')
    byname.answer({ answers: [a(9)] })
    expect(asked.reply?.answers).toMatchObject([
      { name: 'alias.example', type: 'CNAME', ttl: 7200, data: 'walled.example' },
      { name: 'walled.example', type: 'A', data: '192.0.2.9' },
    ])
  })

  test('names of a zone are those less its origin, and a rule with an action takes them all', () => {
    const zone =
      '$ORIGIN rpz.example.\n@ SOA a. b. 1 2 3 4 5\nbad.example CNAME .\nworse.example.rpz.example. CNAME rpz-passthru.\n'
    const byname = engineWith('rules: [{ file: zone, action: nodata }]', { zone })
    expect(get(byname, 'bad.example')).toBe('NODATA')
    expect(get(byname, 'worse.example')).toBe('asked')
    expect(get(byname, 'bad.example.rpz.example')).toBe('asked')
  })
})

describe('actions', () => {
  test('a denial has an SOA for caches and says which rule it is from', () => {
    const byname = engineWith(
      'rules: [{ id: trackers, name: ads.example, action: nxdomain, ttlSeconds: 5m, reason: filtered }]',
    )
    const { reply } = byname.ask('ads.example', Type.A, { edns: {} })
    expect(reply).toMatchObject({
      rcode: Rcode.NXDOMAIN,
      answers: [],
      authorities: [{ name: 'ads.example', type: 'SOA', ttl: 300, data: { minimum: 300 } }],
      opt: { options: [{ code: 15, data: Buffer.from(`\0${String.fromCharCode(Ede.FILTERED)}rule trackers`) }] },
    })
    expect(reply!.flags & (Flag.AA | Flag.RA)).toBe(Flag.RA)
    expect(byname.ask('ads.example').reply).toMatchObject({ opt: null })
    expect([byname.responses(Source.local), byname.counters.ruleMatchesOf(0)]).toEqual([2, 2])
    expect(byname.outlet.queries).toEqual([])
  })

  test('refuse, nodata and allow', () => {
    const byname = engineWith(`rules:
      - { name: a.example, action: refuse }
      - { name: b.example, action: nodata }
      - { name: c.example, action: allow }
      - { name: .example, action: nxdomain }`)
    expect(['a', 'b', 'c', 'd'].map((label) => get(byname, `${label}.example`))).toEqual([
      'REFUSED',
      'NODATA',
      'asked',
      'NXDOMAIN',
    ])
  })

  test('records: each type has its own, all others are NODATA, so that A, AAAA and HTTPS agree', () => {
    const byname = engineWith(`rules:
      - name: printer.example
        answer: [192.0.2.7, "2001:db8::7", "TXT \\"v=1 x\\" y", "MX 10 mail.example", "SRV 1 2 443 host.example"]
        ttlSeconds: 90`)
    const { reply } = byname.ask('Printer.Example')
    expect(reply?.answers).toMatchObject([{ name: 'Printer.Example', type: 'A', ttl: 90, data: '192.0.2.7' }])
    expect(reply!.flags & Flag.AA).toBe(Flag.AA)
    expect(get(byname, 'printer.example', Type.AAAA)).toBe('2001:db8::7')
    expect(get(byname, 'printer.example', Type.TXT)).toBe('v=1 x,y')
    expect(byname.ask('printer.example', Type.MX).reply?.answers).toMatchObject([
      { data: { preference: 10, exchange: 'mail.example' } },
    ])
    expect(byname.ask('printer.example', Type.SRV).reply?.answers).toMatchObject([
      { data: { priority: 1, weight: 2, port: 443, target: 'host.example' } },
    ])
    expect(get(byname, 'printer.example', Type.HTTPS)).toBe('NODATA')
    expect(byname.ask('printer.example', Type.ANY).reply?.answers).toHaveLength(5)
    expect(byname.outlet.queries).toEqual([])
  })

  test('records that do not fit are left out, with TC', () => {
    const addresses = Array.from({ length: 60 }, (_, k) => `192.0.2.${k}`).join(', ')
    const byname = engineWith(`rules: [{ name: many.example, answer: [${addresses}] }]`)
    const { reply } = byname.ask('many.example')
    expect(reply!.flags & Flag.TC).toBe(Flag.TC)
    expect(reply!.answers.length).toBeLessThan(60)
    expect(byname.ask('many.example', Type.A, { tcp: true }).reply?.answers).toHaveLength(60)
  })

  test('types and clients narrow a rule', () => {
    const byname = engineWith(
      'rules: [{ name: ads.example, types: [AAAA, HTTPS], clients: [10.1.0.0/16, "fd00::/8"], action: nodata }]',
    )
    expect(get(byname, 'ads.example', Type.AAAA)).toBe('asked')
    byname.from(Uint8Array.of(10, 1, 2, 3))
    const own = engineWith(
      'access: [0.0.0.0/0]\nrules: [{ name: ads.example, types: [AAAA], clients: [127.0.0.0/8], action: nodata }]',
    )
    expect([get(own, 'ads.example', Type.AAAA), get(own, 'ads.example', Type.A)]).toEqual(['NODATA', 'asked'])
  })

  test('a rule that logs, or is under audit, is counted, told of, and changes nothing', () => {
    const { set } = rulesOf(`rules:
      - { id: see, name: .example, action: log }
      - { id: later, name: a.example, action: nxdomain, audit: true }
      - { id: now, name: a.example, action: nodata }`)
    const byname = new EngineUnderTest({ rules: set })
    expect(get(byname, 'a.example')).toBe('NODATA')
    expect(get(byname, 'b.example')).toBe('asked')
    expect([0, 1, 2].map((place) => byname.counters.ruleMatchesOf(place))).toEqual([2, 1, 1])
  })
})

describe('rewriting', () => {
  test('the client sees the name it asked for, in its own case, for every type', () => {
    const byname = engineWith('rules: [{ name: old.example, rewrite: new.test }]')
    const asked = byname.ask('OLD.example', Type.A, { edns: {} })
    expect(sent(byname).name).toBe('new.test')
    byname.answer({ answers: [cname('host.test'), a(5, 60, 'host.test')] })
    expect(asked.reply).toMatchObject({
      questions: [{ name: 'OLD.example', type: 'A' }],
      answers: [
        { name: 'OLD.example', type: 'CNAME', data: 'host.test' },
        { name: 'host.test', type: 'A', data: '192.0.2.5' },
      ],
    })
    const again = byname.ask('old.example')
    expect(again.reply?.answers).toMatchObject([{ name: 'old.example' }, { data: '192.0.2.5' }])
    expect(byname.responses(Source.cache)).toBe(1)
    byname.ask('old.example', Type.HTTPS)
    expect(sent(byname)).toEqual({ name: 'new.test', type: 'UNKNOWN_65' })
  })

  test('a denial of the other name is one of the own, and failures keep the question', () => {
    const byname = engineWith('rules: [{ name: old.example, rewrite: new.test }]')
    const asked = byname.ask('old.example')
    byname.answer({ flags: 0x8183, authorities: [soa('test', 60, 60)] })
    expect(asked.reply).toMatchObject({
      rcode: Rcode.NXDOMAIN,
      questions: [{ name: 'old.example' }],
      authorities: [{ name: 'test' }],
    })
  })

  test('what is before the part that matched stays', () => {
    const byname = engineWith('rules: [{ name: .old.example, rewrite: .new.test }]')
    const asked = byname.ask('a.b.old.example')
    expect(sent(byname).name).toBe('a.b.new.test')
    byname.answer({ answers: [a(5)] })
    expect(asked.reply?.answers).toMatchObject([{ name: 'a.b.old.example' }])
    byname.ask('old.example')
    expect(sent(byname).name).toBe('new.test')
  })

  test('to a name of the mesh, whose table answers, and to an answer of a special name', () => {
    const byname = engineWith(
      `rules: [{ name: shop.example, rewrite: ${WEB} }, { name: here.example, rewrite: localhost }]`,
      {},
      table,
    )
    expect(byname.ask('shop.example').reply?.answers).toMatchObject([{ name: 'shop.example', data: '10.0.0.1' }])
    expect(byname.ask('shop.example', Type.AAAA).reply?.answers).toMatchObject([{ data: 'fd00::1' }])
    expect(get(byname, 'here.example')).toBe('127.0.0.1')
    expect(byname.responses(Source.mesh)).toBe(2)
  })

  test('names that differ wait for one answer together, each under its own name', () => {
    const byname = engineWith('rules: [{ names: [a.example, longer-than-that.example], rewrite: new.test }]')
    const asked = ['a.example', 'longer-than-that.example', 'new.test'].map((name) => byname.ask(name))
    expect(byname.outlet.queries).toHaveLength(1)
    byname.answer({ answers: [a(5)] })
    expect(asked.map(({ reply }) => reply?.answers[0]?.name)).toEqual([
      'a.example',
      'longer-than-that.example',
      'new.test',
    ])
  })

  test('a CNAME as the answer is one that the client sees', () => {
    const byname = engineWith('rules: [{ name: old.example, answer: CNAME new.test, ttlSeconds: 20 }]')
    const asked = byname.ask('old.example')
    byname.answer({ answers: [a(5)] })
    expect(asked.reply?.answers).toMatchObject([
      { name: 'old.example', type: 'CNAME', ttl: 20, data: 'new.test' },
      { name: 'new.test', type: 'A' },
    ])
    expect(byname.ask('old.example', Type.CNAME).reply?.answers).toMatchObject([{ data: 'new.test' }])
  })

  test('a failure behind a CNAME has no records, a denial has the CNAME', () => {
    const byname = engineWith('rules: [{ name: old.example, answer: CNAME new.test }]')
    const failed = byname.ask('old.example')
    pass(byname, 6000)
    expect(failed.reply).toMatchObject({ rcode: Rcode.SERVFAIL, answers: [], questions: [{ name: 'old.example' }] })
    byname.advance(60_000)
    const denied = byname.ask('old.example')
    byname.answer({ flags: 0x8183, authorities: [soa('test', 60, 60)] })
    expect(denied.reply).toMatchObject({ rcode: Rcode.NXDOMAIN, answers: [{ name: 'old.example', type: 'CNAME' }] })
  })

  test('a reply that grows beyond the limit is truncated', () => {
    const long = `${'x'.repeat(60)}.${'y'.repeat(60)}.${'z'.repeat(60)}.example`
    const byname = engineWith(`rules: [{ name: ${long}, answer: "CNAME n.test" }]`)
    const asked = byname.ask(long)
    byname.answer({ answers: Array.from({ length: 28 }, (_, k) => a(k)) })
    expect(asked.reply!.flags & Flag.TC).toBe(Flag.TC)
    expect(asked.reply).toMatchObject({ answers: [], questions: [{ name: long }] })
  })
})

describe('routes and TTLs', () => {
  const yaml = `upstream: { servers: [192.0.2.1], routes: [{ name: corp, servers: [192.0.2.2] }] }
rules:
  - { name: .corp.example, route: corp }
  - { name: odd.example, types: [TXT], route: corp, ttlSeconds: 10 }
  - { name: short.example, maxTtlSeconds: 20 }
  - { name: long.example, minTtlSeconds: 600 }`

  test('a rule has servers of a route asked, by name and by type', () => {
    const byname = engineWith(yaml)
    const serverOf = (name: string, type?: number): string => {
      byname.ask(name, type)
      return byname.engine.settings.servers[byname.lastQuery.server]!.label
    }
    expect([serverOf('x.corp.example'), serverOf('else.example')]).toEqual(['192.0.2.2:53', '192.0.2.1:53'])
    expect([serverOf('odd.example', Type.TXT), serverOf('odd.example')]).toEqual(['192.0.2.2:53', '192.0.2.1:53'])
  })

  test.each([
    ['short.example', 300, 20],
    ['long.example', 30, 600],
    ['plain.example', 300, 300],
  ])('%s with TTL %i is kept for %i s', (name, given, kept) => {
    const byname = engineWith(yaml)
    const asked = byname.ask(name)
    byname.answer({ answers: [a(1, given)] })
    expect(asked.reply?.answers).toMatchObject([{ ttl: kept }])
    expect(byname.ask(name).reply?.answers).toMatchObject([{ ttl: kept }])
    byname.advance(kept * 1000)
    expect(byname.ask(name).reply).toBeNull()
  })

  test('answers by one route are kept apart from those by another', () => {
    const byname = engineWith(`upstream: { servers: [192.0.2.1], routes: [{ name: corp, servers: [192.0.2.2] }] }
rules: [{ name: odd.example, clients: [10.0.0.0/8], route: corp }]
access: [10.0.0.0/8]`)
    byname.ask('odd.example')
    byname.answer({ answers: [a(1)] })
    expect(get(byname, 'odd.example')).toBe('192.0.2.1')
  })
})

describe('names of the mesh', () => {
  test('only a rule that names one itself, or says so, takes it', () => {
    const rules = (rule: string): EngineUnderTest =>
      engineWith(`rules: [{ ${rule}, action: nxdomain }]`, { list: `${WEB}\n` }, table)
    expect(get(rules(`name: ${WEB}`), WEB)).toBe('NXDOMAIN')
    expect(get(rules('name: .cluster.local'), WEB)).toBe('10.0.0.1')
    expect(get(rules('file: list'), WEB)).toBe('10.0.0.1')
    expect(get(rules('types: [A]'), WEB)).toBe('10.0.0.1')
    expect(get(rules('name: .cluster.local, mesh: true'), WEB)).toBe('NXDOMAIN')
    expect(get(rules(`name: ${WEB}, mesh: false`), WEB)).toBe('10.0.0.1')
    expect(get(rules('name: .cluster.local'), WEB, Type.MX)).toBe('asked')
    expect(get(rules('name: .cluster.local'), 'other.shop.svc.cluster.local')).toBe('NXDOMAIN')
  })

  test('a rule for one is for what resolvers ask first as well: the name with the search domain', () => {
    const searched = 'api.partner.example.shop.svc.cluster.local'
    expect(get(withRule('name: other.example, action: nxdomain'), searched)).toContain('10.0.0.9')
    expect(get(withRule('name: api.partner.example, action: nxdomain'), searched)).toBe('NXDOMAIN')
    expect(get(withRule(`name: ${searched}, action: nodata`), searched)).toBe('NODATA')
    const answered = withRule('name: api.partner.example, answer: 192.0.2.7').ask(searched)
    expect(answered.reply?.answers).toMatchObject([{ name: searched, data: '192.0.2.7' }])
    expect(get(withRule(`name: .partner.example, rewrite: .svc.cluster.local, mesh: true`), searched)).toBe('asked')
    const moved = withRule(`name: .partner.example, rewrite: .shop.example, mesh: true`)
    moved.ask(searched)
    expect(sent(moved).name).toBe('api.shop.example')
    expect(findings(moved, searched)[0]).toContain('rules[0] (.partner.example')
  })

  test('a route takes a mesh name to servers', () => {
    const byname = engineWith(
      `upstream: { servers: [192.0.2.1], routes: [{ name: real, servers: [192.0.2.2] }] }
rules: [{ name: api.partner.example, route: real }]`,
      {},
      table,
    )
    expect(get(byname, 'api.partner.example')).toBe('asked')
    expect(byname.lastQuery.server).not.toBe(0)
  })
})

test.each([
  ['a rule', 'rules: [{ types: [NS], action: nxdomain }]'],
  ['egress', 'egress: { default: deny }'],
])('the root exists, whatever %s denies: NXDOMAIN would deny all names (RFC 8020)', (_, yaml) => {
  const asked = engineWith(yaml).ask('.', Type.NS)
  expect([outcome(asked), asked.reply!.authorities.map(({ name }) => name)]).toEqual(['NODATA', ['.']])
})

describe('egress', () => {
  const allow = 'rules: [{ name: .good.example, action: allow }]'

  test('what no rule allows is denied, names of the mesh, special ones and the allowed ones are not', () => {
    const byname = engineWith(`${allow}\negress: { default: deny }`, {}, table)
    const { reply } = byname.ask('bad.example', Type.A, { edns: {} })
    expect(reply).toMatchObject({ rcode: Rcode.NXDOMAIN, authorities: [{ type: 'SOA' }] })
    expect(reply?.opt?.options?.[0]?.data[1]).toBe(Ede.BLOCKED)
    expect([
      get(byname, 'x.good.example'),
      get(byname, WEB),
      get(byname, 'localhost'),
      get(byname, WEB, Type.MX),
    ]).toEqual(['asked', '10.0.0.1', '127.0.0.1', 'asked'])
  })

  test('nodata is never said of a name with a search domain: musl would stop there', () => {
    const byname = engineWith(`${allow}\negress: { default: deny, deny: nodata }`, {}, table)
    expect(get(byname, 'bad.example')).toBe('NODATA')
    expect(get(byname, 'x.good.example.shop.svc.cluster.local')).toBe('NXDOMAIN')
  })

  test.each([
    ['nxdomain', 'bad.example', 'NXDOMAIN'],
    ['nxdomain', '.', 'NODATA'],
    ['nodata', 'bad.example', 'NODATA'],
    ['nodata', 'x.good.example.shop.svc.cluster.local', 'NXDOMAIN'],
  ])('explain says what deny: %s does to %s: %s', (deny, name, said) => {
    const byname = engineWith(`${allow}\negress: { default: deny, deny: ${deny} }`, {}, table)
    expect(get(byname, name)).toBe(said)
    expect(findings(byname, name)).toContain(`rules: no rule allows it: it is denied with ${said} (egress.default)`)
  })

  test('under audit it is counted, and answered as before', () => {
    const byname = engineWith(`${allow}\negress: { default: deny, audit: true }`)
    expect(get(byname, 'bad.example')).toBe('asked')
    expect(byname.counters.ruleMatchesOf(1)).toBe(1)
    const { stages } = explainQuery(byname.engine, message({ questions: [['bad.example', Type.A]] }), null)
    expect(stages.find(({ name }) => name === 'rules')?.finding).toBe(
      'no rule allows it: it would be denied with NXDOMAIN (egress.audit)',
    )
  })

  test('under audit a name with a search domain is told of only if there is one', () => {
    const { set } = rulesOf(`${allow}\negress: { default: deny, audit: true }`, {}, ['svc.cluster.local'])
    const byname = new EngineUnderTest({ rules: set })
    const told = (): string[] => byname.ruleMatches.map(({ name }) => name)
    byname.ask('bad.example')
    expect(told()).toEqual(['bad.example.'])
    byname.ask('bad.example.svc.cluster.local')
    byname.answer({ flags: 0x8183, authorities: [soa('cluster.local', 60, 60)] })
    byname.ask('bad.example.svc.cluster.local')
    expect(told()).toHaveLength(1)
    byname.ask('db.other.svc.cluster.local')
    expect(told()).toHaveLength(1)
    byname.answer({ answers: [a(1)] })
    expect(told()).toEqual(['bad.example.', 'db.other.svc.cluster.local.'])
    byname.ask('db.other.svc.cluster.local')
    expect([told().length, byname.counters.ruleMatchesOf(1)]).toEqual([3, 5])
  })

  test('a few of many matches in a second are told of, with the number of the others', () => {
    const byname = engineWith('egress: { default: deny, audit: true }')
    for (let k = 0; k < 100; k++) byname.ask(`n${k}.example`)
    expect([byname.ruleMatches.length, byname.counters.ruleMatchesOf(0)]).toEqual([20, 100])
    byname.advance(1000)
    byname.ask('last.example')
    expect(byname.ruleMatches.at(-1)).toMatchObject({ name: 'last.example.', untold: 80, rule: null })
  })

  test('a name that is allowed for one type has no other records, and exists', () => {
    const byname = engineWith(`rules: [{ name: .good.example, types: [A], action: allow }]\negress: { default: deny }`)
    expect([get(byname, 'x.good.example'), get(byname, 'x.good.example', Type.AAAA)]).toEqual(['asked', 'NODATA'])
    expect(get(byname, 'bad.example', Type.AAAA)).toBe('NXDOMAIN')
  })

  test('before the first table nothing is denied for good: it may be a name of the mesh', () => {
    const source = 'mesh: { source: { table: t.json } }'
    const byname = engineWith(`${allow}\negress: { default: deny }\n${source}`)
    const { reply } = byname.ask('api.partner.example', Type.A, { edns: {} })
    expect([reply?.rcode, reply?.opt?.options?.[0]?.data[1]]).toEqual([Rcode.SERVFAIL, Ede.NOT_READY])
    expect(get(byname, `x.good.example`)).toBe('asked')
    expect(get(byname, 'web.shop.svc.cluster.local')).toBe('asked')
    byname.engine.adopt(table)
    expect([get(byname, 'api.partner.example'), get(byname, 'bad.example')]).toEqual(['10.0.0.9', 'NXDOMAIN'])
  })

  test('names of the mesh need a rule if it says so', () => {
    const byname = engineWith(
      `rules: [{ name: ${WEB}, action: allow }]\negress: { default: deny, mesh: true }`,
      {},
      table,
    )
    expect([get(byname, WEB), get(byname, 'api.partner.example')]).toEqual(['10.0.0.1', 'NXDOMAIN'])
  })
})

/** What `explain` finds, a line a stage. */
const findings = (byname: EngineUnderTest, name: string, type: number = Type.A): string[] =>
  explainQuery(byname.engine, message({ questions: [[name, type]] }), null).stages.map(
    (stage) => `${stage.name}: ${stage.finding}`,
  )

describe('explain', () => {
  test('names the rule, its file and the line', () => {
    const byname = engineWith('rules: [{ id: ads, file: list.txt, action: nxdomain }]', {
      'list.txt': '# x\n.ads.example\n',
    })
    expect(findings(byname, 'x.ads.example').at(-1)).toBe('rules: ads (list.txt line 2, by ads.example.): nxdomain')
    expect(findings(byname, 'x.example')).toContain('rules: no rule of 1 has the name, type and client (1 names)')
    expect(byname.counters.ruleMatchesOf(0)).toBe(0)
  })

  test('says what is logged, and what would be done under audit, with the line of the file', () => {
    const byname = engineWith(
      `rules: [{ id: see, types: [A], action: log }, { id: ads, file: list.txt, action: nxdomain, audit: true }]`,
      { 'list.txt': 'x.example\n||ads.example^\n' },
    )
    expect(findings(byname, 'x.ads.example')).toContain(
      'rules: see (all names, types A): logged; ads (list.txt line 2): would be denied with NXDOMAIN (audit)',
    )
  })

  test('goes on with the name that a rule leads to', () => {
    const byname = engineWith(`rules: [{ name: shop.example, rewrite: ${WEB} }]`, {}, table)
    const steps = findings(byname, 'shop.example')
    expect(steps).toContain(`rules: rules[0] (shop.example): rewrite to ${WEB}.`)
    expect(steps.at(-1)).toContain(`mesh table: host ${WEB}`)
  })
})

test('new rules count at once, and without any nothing is paid', () => {
  const byname = new EngineUnderTest()
  const { set } = rulesOf('rules: [{ name: ads.example, action: nxdomain }]')
  expect(byname.engine.stages.some(({ name }) => name === 'rules')).toBe(false)
  byname.engine.configure({ ...byname.settings, rules: set })
  expect(get(byname, 'ads.example')).toBe('NXDOMAIN')
  byname.engine.configure(byname.settings)
  expect(get(byname, 'ads.example')).toBe('asked')
})

test('a record of an odd type is put back under its own owner as well', () => {
  const byname = engineWith('rules: [{ name: old.example, rewrite: new.test }]')
  const asked = byname.ask('old.example', 65_280)
  byname.answer({ answers: [record(65_280, 60, Uint8Array.of(1, 2, 3))] })
  expect(asked.reply?.answers).toMatchObject([{ name: 'old.example' }])
})

test('a route for rules alone is named in explain, and gets questions by rules only', () => {
  const byname = engineWith(`upstream: { servers: [192.0.2.1], routes: [{ name: corp, servers: [192.0.2.2] }] }
rules: [{ name: a.example, route: corp }]`)
  const explained = explainQuery(byname.engine, message({ questions: [['a.example', Type.A]] }), null)
  expect(explained.forward).toMatchObject({ route: ['rules:corp'], servers: [{ label: '192.0.2.2:53' }] })
  expect(explained.stages.filter(({ hasRule }) => hasRule === true).map(({ name }) => name)).toEqual(['rules'])
  expect(explainQuery(byname.engine, message({ questions: [['b.example', Type.A]] }), null).forward?.route).toEqual([
    '.',
  ])
})
