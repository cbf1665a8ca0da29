import { describe, expect, test } from 'vitest'
import { parseHostsFile } from '../../src/config/hosts-file.ts'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { hostEntries } from '../../src/daemon/engine-settings.ts'
import { Source } from '../../src/stats/counters.ts'
import { a } from '../dns/messages.ts'
import { collidingNames } from '../dns/colliding-names.ts'
import { EngineUnderTest, SEED, settingsWith } from './engine-under-test.ts'

const hosts = hostEntries(
  parseHostsFile('192.0.2.7 db.corp db\n192.0.2.8 db.corp\n2001:db8::7 db.corp\n2001:db8::9 six\n127.0.0.2 localhost'),
)

const data = (byname: EngineUnderTest, name: string, type: number): unknown[] =>
  byname.ask(name, type).reply?.answers.map((one) => one.data) ?? ['nothing']

describe('a name of the hosts file', () => {
  test('has its addresses of the family asked for, its case is the question’s', () => {
    const byname = new EngineUnderTest({ hosts })
    expect(new Set(data(byname, 'db.corp', Type.A))).toEqual(new Set(['192.0.2.7', '192.0.2.8']))
    expect(data(byname, 'db.corp', Type.AAAA)).toEqual(['2001:db8::7'])
    const reply = byname.ask('DB').reply
    expect(reply).toMatchObject({ aa: true, answers: [{ name: 'DB', ttl: 30, data: '192.0.2.7' }] })
    expect(byname.responses(Source.local)).toBe(3)
  })

  test('without addresses of the family has no data, and clients may remember that', () => {
    const reply = new EngineUnderTest({ hosts }).ask('six', Type.A, { edns: {} }).reply
    expect(reply).toMatchObject({ rcode: Rcode.NOERROR, answers: [], authorities: [{ name: 'six', type: 'SOA' }] })
    expect(reply?.opt).not.toBeNull()
  })

  test('gives ANY both families, HTTPS and SVCB nothing', () => {
    const byname = new EngineUnderTest({ hosts })
    expect(data(byname, 'db.corp', Type.ANY)).toHaveLength(3)
    expect([data(byname, 'db.corp', Type.HTTPS), data(byname, 'db.corp', Type.SVCB)]).toEqual([[], []])
  })

  test('of another type goes upstream, as do names beside and below it', () => {
    const byname = new EngineUnderTest({ hosts })
    for (const [name, type] of [
      ['db.corp', Type.MX],
      ['www.db.corp', Type.A],
      ['corp', Type.A],
      ['xdb', Type.A],
      ['.', Type.A],
    ] as const) {
      expect(byname.ask(name, type).reply).toBeNull()
    }
  })

  test('comes before what the cache has', () => {
    const byname = new EngineUnderTest()
    byname.ask('db.corp')
    byname.answer({ answers: [a(1)] })
    byname.engine.configure(settingsWith({ hosts }))
    expect(data(byname, 'db.corp', Type.A)).not.toContain('192.0.2.1')
    byname.engine.configure(settingsWith())
    expect(data(byname, 'db.corp', Type.A)).toEqual(['192.0.2.1'])
  })

  test('does not change what localhost is', () => {
    expect(data(new EngineUnderTest({ hosts }), 'localhost', Type.A)).toEqual(['127.0.0.1'])
  })

  test('with more addresses than fit is truncated', () => {
    const lines = Array.from({ length: 60 }, (_, k) => `10.1.0.${k} many`).join('\n')
    const byname = new EngineUnderTest({ hosts: hostEntries(parseHostsFile(lines)) })
    const cut = byname.ask('many')
    expect(cut.reply?.tc).toBe(true)
    expect(cut.length).toBeLessThanOrEqual(512)
    expect(byname.ask('many', Type.A, { tcp: true }).reply?.answers).toHaveLength(60)
  })
})

test('an address of the hosts file has its first name', () => {
  const byname = new EngineUnderTest({ hosts })
  expect(data(byname, '7.2.0.192.in-addr.arpa', Type.PTR)).toEqual(['db.corp'])
  const six = `9.${'0.'.repeat(23)}8.b.d.0.1.0.0.2.ip6.arpa`
  expect(data(byname, six, Type.PTR)).toEqual(['six'])
  expect(byname.ask('9.2.0.192.in-addr.arpa', Type.PTR).reply).toBeNull()
  expect(byname.ask('7.2.0.192.in-addr.arpa', Type.A).reply).toBeNull()
})

test.each([true, false])('two names of one hash are told apart, of one length: %s', (areOfOneLength) => {
  const [one, other] = collidingNames(SEED, 'corp', areOfOneLength)
  const byname = new EngineUnderTest({ hosts: hostEntries(parseHostsFile(`10.0.0.1 ${one}\n10.0.0.2 ${other}`)) })
  expect(data(byname, one, Type.A)).toEqual(['10.0.0.1'])
  expect(data(byname, other, Type.A)).toEqual(['10.0.0.2'])
})

test('many names are all found', () => {
  const lines = Array.from({ length: 3000 }, (_, k) => `10.${k >> 8}.${k & 255}.1 host-${k}.corp`).join('\n')
  const byname = new EngineUnderTest({ hosts: hostEntries(parseHostsFile(lines)) })
  for (let k = 0; k < 3000; k += 7) {
    expect(data(byname, `host-${k}.corp`, Type.A)).toEqual([`10.${k >> 8}.${k & 255}.1`])
  }
  expect(byname.ask('host-3000.corp').reply).toBeNull()
})

test('a name of the file that is a reverse name has its addresses, and the address its name', () => {
  const byname = new EngineUnderTest({ hosts: hostEntries(parseHostsFile('10.0.0.1 1.0.0.10.in-addr.arpa')) })
  expect(data(byname, '1.0.0.10.in-addr.arpa', Type.A)).toEqual(['10.0.0.1'])
  expect(data(byname, '1.0.0.10.in-addr.arpa', Type.PTR)).toEqual(['1.0.0.10.in-addr.arpa'])
})
