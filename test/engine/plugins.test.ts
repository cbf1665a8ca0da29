import { describe, expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import type { PluginSettings } from '../../src/engine/plugins/plugin-abi.ts'
import { PLUGIN_ERRORS } from '../../src/engine/plugins/plugin-abi.ts'
import { PluginCell, Source } from '../../src/stats/counters.ts'
import { a, cname, decode, soa } from '../dns/messages.ts'
import { loaded, type PluginParts } from '../plugins/wat.ts'
import { imageOf, service } from '../table/compiled.ts'
import { EngineUnderTest, type SettingsChange } from './engine-under-test.ts'

// The buffer is at 1,024, the message at 1,088; its first label's first letter at 1,101.
const RECORD = String.raw`(data (i32.const 0) "\c0\0c\00\01\00\01\00\00\00\3c\00\04\c0\00\02\07")`
const ANSWER = `(i32.store16 (i32.const 1090) (i32.const 0x8081)) (i32.store16 (i32.const 1094) (i32.const 0x0100))
  (i32.store16 (i32.const 1098) (i32.const 0))
  (memory.copy (i32.add (i32.const 1088) (i32.load16_u (i32.const 1084))) (i32.const 0) (i32.const 16))
  (i32.store (i32.const 1028) (i32.add (i32.load16_u (i32.const 1084)) (i32.const 16)))`
/** Does it to names that begin with that letter, and passes on all others. */
const only = (letter: string, body: string): string =>
  `(if (result i32) (i32.eq (i32.load8_u (i32.const 1101)) (i32.const ${letter.charCodeAt(0)})) (then ${body}) (else (i32.const 0)))`
const answering: PluginParts = { more: RECORD, query: only('p', `${ANSWER} (i32.const 1)`) }
const denying = (rcode: number, ede: number = 0xffff): PluginParts => ({
  query: only(
    'b',
    `(i32.store16 (i32.const 1076) (i32.const ${rcode})) (i32.store16 (i32.const 1078) (i32.const ${ede})) (i32.const 3)`,
  ),
})
/** Changes the first letter, from one to the other. */
const renaming = (from: string, to: string): PluginParts => ({
  query: only(from, `(i32.store8 (i32.const 1101) (i32.const ${to.charCodeAt(0)})) (i32.const 2)`),
})

const after = (change: string): string => only('p', `${ANSWER} ${change} (i32.const 1)`)
const trapping = (on: string): PluginParts => ({ query: only('t', `${on} (i32.const 0)`) })
/** Answers with an rcode only if all of it is so. */
const expecting = (...conditions: string[]): PluginParts => ({
  query: `(i32.store16 (i32.const 1076) (i32.const 5)) (if (result i32) ${conditions.reduce((all, each) => `(i32.and ${all} ${each})`)} (then (i32.const 3)) (else (i32.const 0)))`,
})
const is = (load: string, at: number, value: number): string =>
  `(i32.eq (i32.${load} (i32.const ${1024 + at})) (i32.const ${value}))`
/** Changes the last byte of an address of a reply to one record. */
const replying = (result: string, body = ''): string =>
  `(func (export "byname_reply") (param $length i32) ${result} ${body})`
const table = imageOf(new Map([service('web', 'shop', ['10.0.0.1'])]))

function withPlugins(plugins: PluginSettings[], change: SettingsChange = {}): EngineUnderTest {
  return new EngineUnderTest({ plugins, ...change }, table)
}

function calls(byname: EngineUnderTest, plugin = 0): number[] {
  return [0, 1, 2, 3, 4].map((action) => byname.counters.pluginGet(plugin, PluginCell.actions + action))
}

function errors(byname: EngineUnderTest, plugin = 0): Record<string, number> {
  return Object.fromEntries(
    PLUGIN_ERRORS.map((error, k): [string, number] => [
      error,
      byname.counters.pluginGet(plugin, PluginCell.errors + k),
    ]).filter(([, count]) => count > 0),
  )
}

test('a query that the plug-in passes on is answered as without it', () => {
  const byname = withPlugins([loaded(answering)])
  const asked = byname.ask('www.example')
  expect(asked.reply).toBeNull()
  byname.answer({ answers: [a(1)] })
  expect(asked.reply).toMatchObject({ answers: [{ name: 'www.example', data: '192.0.2.1' }] })
  expect(byname.ask('www.example').reply).toMatchObject({ answers: [{ data: '192.0.2.1' }] })
  expect([calls(byname), byname.responses(Source.cache)]).toEqual([[2, 0, 0, 0, 0], 1])
})

test('its answer goes to the client, with the OPT, the case and the size that the client wants', () => {
  const byname = withPlugins([loaded(answering)])
  const { reply } = byname.ask('pRinter.example', Type.A, { id: 77, edns: {} })
  expect(reply).toMatchObject({
    id: 77,
    rcode: Rcode.NOERROR,
    questions: [{ name: 'pRinter.example' }],
    answers: [{ name: 'pRinter.example', type: 'A', ttl: 60, data: '192.0.2.7' }],
    opt: {},
  })
  expect([byname.outlet.queries.length, calls(byname), byname.responses(Source.local)]).toEqual([0, [0, 1, 0, 0, 0], 1])
  expect(byname.ask('printer.example').reply).toMatchObject({ opt: null, answers: [{ data: '192.0.2.7' }] })
})

test('names of the mesh and of byname itself come before plug-ins', () => {
  const byname = withPlugins([loaded({ query: '(i32.const 4)' })])
  expect(byname.ask('web.shop').reply?.answers).toMatchObject([{ data: '10.0.0.1' }])
  expect(byname.ask('localhost').reply?.answers).toMatchObject([{ data: '127.0.0.1' }])
  expect(calls(byname)).toEqual([0, 0, 0, 0, 0])
})

test.each([
  [Rcode.NXDOMAIN, [{ type: 'SOA', name: 'bad.example', ttl: 30 }]],
  [Rcode.NOERROR, [{ type: 'SOA', name: 'bad.example', ttl: 30 }]],
  [Rcode.REFUSED, []],
  [Rcode.SERVFAIL, []],
])('an rcode of %i is answered without records', (rcode, authorities) => {
  const byname = withPlugins([loaded(denying(rcode, 15))])
  expect(byname.ask('bad.example', Type.A, { edns: {} }).reply).toMatchObject({
    rcode,
    answers: [],
    authorities,
    opt: { options: [{ code: 15, data: Buffer.from([0, 15]) }] },
  })
  expect(byname.ask('bad.example').reply).toMatchObject({ rcode, opt: null })
})

test('what is dropped gets no reply, and is counted', () => {
  const byname = withPlugins([loaded({ query: only('d', '(i32.const 4)') })])
  expect(byname.ask('d.example').reply).toBeNull()
  expect(byname.ask('d.example', Type.A, { tcp: true }).reply).toBeNull()
  expect([byname.dropped('plugin'), byname.waiting, byname.outlet.queries.length, calls(byname)]).toEqual([
    2,
    0,
    0,
    [0, 0, 0, 0, 2],
  ])
})

describe('a changed question', () => {
  test('is asked, and its reply goes back to the question that the client asked', () => {
    const byname = withPlugins([loaded(renaming('o', 'n'))])
    const asked = byname.ask('oLD.example', Type.A, { id: 5, edns: {} })
    expect(decode(byname.lastQuery.bytes).questions).toMatchObject([{ name: 'nld.example' }])
    byname.answer({ answers: [cname('target.example'), a(9, 60, 'target.example')] })
    expect(asked.reply).toMatchObject({
      id: 5,
      questions: [{ name: 'oLD.example', type: 'A' }],
      answers: [
        { name: 'oLD.example', type: 'CNAME', data: 'target.example' },
        { name: 'target.example', type: 'A', data: '192.0.2.9' },
      ],
      opt: {},
    })
  })

  test('is found in the cache and in the mesh', () => {
    const byname = withPlugins([loaded(renaming('o', 'n'))])
    byname.ask('nld.example')
    byname.answer({ answers: [a(1), a(2)] })
    const { reply } = byname.ask('old.example')
    expect(reply?.questions).toMatchObject([{ name: 'old.example' }])
    expect(reply?.answers.map(({ name, data }) => `${name} ${String(data)}`).toSorted()).toEqual([
      'old.example 192.0.2.1',
      'old.example 192.0.2.2',
    ])
    const mesh = withPlugins([loaded(renaming('v', 'w'))])
    expect(mesh.ask('veb.shop').reply).toMatchObject({
      questions: [{ name: 'veb.shop' }],
      answers: [{ name: 'veb.shop', data: '10.0.0.1' }],
    })
    expect(mesh.responses(Source.mesh)).toBe(1)
  })

  test('joins the same question of others, who get theirs', () => {
    const byname = withPlugins([loaded(renaming('o', 'n'))])
    const plain = byname.ask('nld.example')
    const changed = byname.ask('old.example')
    expect(byname.outlet.queries).toHaveLength(1)
    byname.answer({ authorities: [soa('example', 60, 60)], flags: 0x8183 })
    expect(plain.reply).toMatchObject({ rcode: Rcode.NXDOMAIN, questions: [{ name: 'nld.example' }] })
    expect(changed.reply).toMatchObject({
      rcode: Rcode.NXDOMAIN,
      questions: [{ name: 'old.example' }],
      authorities: [{ name: 'example', type: 'SOA' }],
    })
  })

  test('gets SERVFAIL under its own name where no server answers', () => {
    const byname = withPlugins([loaded(renaming('o', 'n'))])
    const asked = byname.ask('old.example')
    byname.advance(1000)
    byname.advance(4000)
    expect(asked.reply).toMatchObject({ rcode: Rcode.SERVFAIL, questions: [{ name: 'old.example' }] })
    expect(byname.waiting).toBe(0)
  })

  test('goes through the plug-ins that follow, each of which may change it again', () => {
    const byname = withPlugins([loaded(renaming('o', 'n')), loaded(renaming('n', 'p')), loaded(answering)])
    expect(byname.ask('old.example').reply).toMatchObject({
      questions: [{ name: 'old.example' }],
      answers: [{ name: 'old.example', data: '192.0.2.7' }],
    })
    expect([calls(byname, 0), calls(byname, 1), calls(byname, 2)]).toEqual([
      [0, 0, 1, 0, 0],
      [0, 0, 1, 0, 0],
      [0, 1, 0, 0, 0],
    ])
  })

  test('may have a longer name: what does not fit any more is cut, with TC', () => {
    // The name as the client asked it is 100 bytes longer, in each record whose owner is written out.
    const long = `${'o'.repeat(60)}.${'x'.repeat(60)}.example`
    const short = String.raw`(data (i32.const 0) "\01n\07example\00\00\01\00\01")`
    const byname = withPlugins([
      loaded({
        more: short,
        query: only(
          'o',
          '(memory.copy (i32.const 1100) (i32.const 0) (i32.const 15)) (i32.store (i32.const 1028) (i32.const 27)) (i32.store16 (i32.const 1098) (i32.const 0)) (i32.const 2)',
        ),
      }),
    ])
    const asked = byname.ask(long)
    byname.answer({ answers: Array.from({ length: 29 }, (_, k) => a(k)) })
    expect(asked.reply?.questions).toMatchObject([{ name: long }])
    expect(asked.length).toBeLessThanOrEqual(512)
    expect((asked.reply!.flags & 0x0200) !== 0).toBe(true)
    expect(asked.reply!.answers).toEqual([])
  })

  test('that is no question counts as an error', () => {
    const broken = [
      '(i32.store8 (i32.const 1100) (i32.const 200)) (i32.const 2)',
      '(i32.store (i32.const 1028) (i32.const 14)) (i32.const 2)',
      '(i32.store (i32.const 1028) (i32.const -1)) (i32.const 2)',
      '(i32.store (i32.const 1028) (i32.const 0)) (i32.const 2)',
      '(i32.store16 (i32.const 1092) (i32.const 0x0200)) (i32.const 2)',
      '(i32.store8 (i32.const 1090) (i32.const 0x81)) (i32.const 2)',
    ]
    for (const query of broken) {
      const byname = withPlugins([loaded({ query: only('q', query) })])
      const asked = byname.ask('q.example')
      expect(errors(byname), query).toEqual({ query: 1 })
      byname.answer({ answers: [a(1)] })
      expect(asked.reply).toMatchObject({ answers: [{ name: 'q.example' }] })
    }
  })
})

test.each([
  ['CD', { cd: true, rd: true }, '(i32.store8 (i32.const 1091) (i32.const 0x10))'],
  ['no RD', { cd: false, rd: false }, '(i32.store8 (i32.const 1090) (i32.const 0))'],
])('a changed query asks with its own flags (%s), and the client gets back its own', (_, flags, change) => {
  const byname = withPlugins([loaded({ query: only('q', `${change} (i32.const 2)`) })])
  const asked = byname.ask('q.example')
  const sent = decode(byname.lastQuery.bytes)
  expect([sent.flags & 0x0100, sent.flags & 0x0010]).toEqual([flags.rd ? 0x0100 : 0, flags.cd ? 0x0010 : 0])
  byname.answer({ answers: [a(1)] })
  expect(asked.reply!.flags & 0x0110).toBe(0x0100)
})

describe('an answer that does not fit the query counts as an error, and the query goes on', () => {
  test.each([
    ['another id', '(i32.store8 (i32.const 1088) (i32.const 99))'],
    ['another question', '(i32.store8 (i32.const 1101) (i32.const 113))'],
    [
      'another type',
      '(i32.store8 (i32.sub (i32.add (i32.const 1088) (i32.load16_u (i32.const 1084))) (i32.const 3)) (i32.const 28))',
    ],
    ['no QR', '(i32.store8 (i32.const 1090) (i32.const 1))'],
    ['an opcode', '(i32.store8 (i32.const 1090) (i32.const 0x89))'],
    ['more records than it has', '(i32.store8 (i32.const 1095) (i32.const 2))'],
    ['fewer records than it has', '(i32.store8 (i32.const 1095) (i32.const 0))'],
    ['two questions', '(i32.store8 (i32.const 1093) (i32.const 2))'],
    ['no length', '(i32.store (i32.const 1028) (i32.const 0))'],
    ['less than a header', '(i32.store (i32.const 1028) (i32.const 11))'],
    ['less than its question', '(i32.store (i32.const 1028) (i32.const 16))'],
    ['half a record', '(i32.store (i32.const 1028) (i32.sub (i32.load (i32.const 1028)) (i32.const 3)))'],
    ['a negative length', '(i32.store (i32.const 1028) (i32.const -4))'],
    ['a huge length', '(i32.store (i32.const 1028) (i32.const 65536))'],
    [
      'data longer than the message',
      '(i32.store8 (i32.add (i32.add (i32.const 1088) (i32.load16_u (i32.const 1084))) (i32.const 11)) (i32.const 200))',
    ],
    [
      'a pointer in a circle',
      '(i32.store8 (i32.add (i32.add (i32.const 1088) (i32.load16_u (i32.const 1084))) (i32.const 1)) (i32.const 200))',
    ],
  ])('%s', (_, change) => {
    const byname = withPlugins([loaded({ more: RECORD, query: after(change) })])
    const asked = byname.ask('printer.example')
    expect([errors(byname), asked.reply]).toEqual([{ reply: 1 }, null])
    byname.answer({ answers: [a(1)] })
    expect(asked.reply).toMatchObject({ answers: [{ data: '192.0.2.1' }] })
    const closed = withPlugins([loaded({ more: RECORD, query: after(change) }, { onError: 'servfail' })])
    expect(closed.ask('printer.example').reply).toMatchObject({ rcode: Rcode.SERVFAIL, answers: [] })
  })

  test.each(['5', '-1', '2147483647'])('an action of %s', (action) => {
    const byname = withPlugins([loaded({ query: only('x', `(i32.const ${action})`) })])
    byname.ask('x.example')
    expect(errors(byname)).toEqual({ action: 1 })
  })

  test('an rcode that needs an OPT', () => {
    const byname = withPlugins([loaded(denying(16))])
    byname.ask('b.example')
    expect(errors(byname)).toEqual({ action: 1 })
  })

  test('a header that it wrote over changes nothing', () => {
    const query = only('h', '(memory.fill (i32.const 1024) (i32.const 255) (i32.const 64)) (i32.const 0)')
    const byname = withPlugins([loaded({ query })])
    const asked = byname.ask('h.example')
    byname.answer({ answers: [a(1)] })
    expect([asked.reply?.answers.length, errors(byname)]).toEqual([1, {}])
  })
})

test('a large answer is cut for a client over UDP, and whole over TCP', () => {
  // 100 copies of the record.
  const query = only(
    'p',
    `${ANSWER} (i32.store16 (i32.const 1094) (i32.const 0x6400)) (local.set $n (i32.const 0))
    (loop $l (memory.copy (i32.add (i32.add (i32.const 1088) (i32.load16_u (i32.const 1084))) (i32.mul (local.get $n) (i32.const 16))) (i32.const 0) (i32.const 16))
      (i32.store8 (i32.add (i32.add (i32.const 1103) (i32.load16_u (i32.const 1084))) (i32.mul (local.get $n) (i32.const 16))) (local.get $n))
      (br_if $l (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 100))))
    (i32.store (i32.const 1028) (i32.add (i32.load16_u (i32.const 1084)) (i32.const 1600))) (i32.const 1)`,
  )
  const byname = withPlugins([loaded({ more: RECORD, query: `(local $n i32) ${query}` })])
  const udp = byname.ask('printer.example')
  expect([(udp.reply!.flags & 0x0200) !== 0, udp.length <= 512, udp.reply!.answers.length > 25]).toEqual([
    true,
    true,
    true,
  ])
  expect(byname.ask('printer.example', Type.A, { tcp: true }).reply?.answers).toHaveLength(100)
})

describe('a call that traps', () => {
  // Every third query.
  const third: PluginParts = {
    more: '(global $n (mut i32) (i32.const 0))',
    query:
      '(global.set $n (i32.add (global.get $n) (i32.const 1))) (if (i32.eq (global.get $n) (i32.const 3)) (then unreachable)) (i32.const 0)',
  }

  test.each([
    ['unreachable', 'unreachable', 'trap'],
    ['without end', '(loop $l (br $l))', 'timeout'],
    ['out of bounds', '(drop (i32.load (i32.const -4)))', 'trap'],
    ['recursion', '(drop (call $query (i32.const 0)))', /^(?:trap|timeout)$/],
  ])('%s: onError says what the client gets', (_, on, error) => {
    for (const onError of ['pass', 'servfail'] as const) {
      const byname = withPlugins([loaded(trapping(on), { onError })])
      const asked = byname.ask('t.example')
      const [[reason, count] = []] = Object.entries(errors(byname))
      expect([reason, count]).toEqual([expect.stringMatching(error), 1])
      expect(asked.reply?.rcode ?? null).toBe(onError === 'pass' ? null : Rcode.SERVFAIL)
    }
  })

  test('takes the instance with it, and the next one begins anew', () => {
    const byname = withPlugins([loaded(third)])
    for (let k = 0; k < 9; k++) {
      byname.ask(`q${k}.example`)
      byname.advance(100)
    }
    expect([calls(byname)[0], errors(byname), byname.pluginsOff]).toEqual([6, { trap: 3 }, []])
    expect(byname.counters.pluginGet(0, PluginCell.instances)).toBe(3)
    expect(byname.discardedBytes).toBe(3 * 2 * 65_536)
  })

  test('again and again does not make byname make instances all the time', () => {
    const byname = withPlugins([loaded(third)])
    for (let k = 0; k < 300; k++) byname.ask(`q${k}.example`)
    expect(byname.counters.pluginGet(0, PluginCell.instances)).toBeLessThan(3)
    expect(errors(byname).unavailable).toBeGreaterThan(200)
  })

  test('ten times in a row switches it off, until another takes its place', () => {
    const settings = loaded(trapping('unreachable'), {}, 'breaker')
    const byname = withPlugins([settings])
    for (let k = 0; k < 30; k++) {
      byname.ask('t.example')
      byname.advance(1000)
    }
    expect(byname.pluginsOff).toEqual([[settings.id, expect.stringMatching(/unreachable/)]])
    expect(errors(byname)).toEqual({ trap: 10, unavailable: 20 })
    byname.engine.configure({ ...byname.settings, plugins: [settings] })
    byname.ask('t.example')
    expect(errors(byname)).toEqual({ trap: 10, unavailable: 21 })
    byname.engine.configure({ ...byname.settings, plugins: [loaded(denying(3), {}, 'breaker')] })
    expect(byname.ask('b.example').reply?.rcode).toBe(Rcode.NXDOMAIN)
    expect(byname.pluginsOff).toHaveLength(1)
  })

  test('in between successes does not', () => {
    const byname = withPlugins([loaded(trapping('unreachable'))])
    for (let k = 0; k < 60; k++) {
      byname.ask(k % 5 === 4 ? 'fine.example' : 't.example')
      byname.advance(100)
    }
    expect(byname.pluginsOff).toEqual([])
  })
})

test('a plug-in without a file that can be used does what onError says', () => {
  const absent = { ...loaded(), module: null }
  const open = withPlugins([absent])
  expect(open.ask('www.example').reply).toBeNull()
  const closed = withPlugins([{ ...absent, onError: 'servfail' }])
  expect(closed.ask('www.example').reply?.rcode).toBe(Rcode.SERVFAIL)
  expect([errors(open), errors(closed)]).toEqual([{ unavailable: 1 }, { unavailable: 1 }])
})

describe('the header', () => {
  test('tells what is known of the query', () => {
    const byname = withPlugins(
      [
        loaded(
          expecting(
            is('load16_u', 0, 1),
            is('load16_u', 2, 64),
            is('load', 4, 29 + 11),
            is('load', 8, 65_599),
            is('load8_u', 12, 0),
            is('load8_u', 13, 1),
            is('load8_u', 14, 4),
            is('load8_u', 15, 255),
            is('load', 16, 0x0700000a),
            is('load', 20, 0),
            is('load16_u', 32, 4711),
            is('load16_u', 34, 16),
            is('load16_u', 36, 1),
            is('load16_u', 38, 12),
            is('load', 40, 123_456),
            is('load', 44, 0),
            is('load16_u', 48, 65_535),
            is('load16_u', 50, 1 | 2 | 8),
            is('load16_u', 54, 65_535),
            is('load', 56, 30),
            is('load16_u', 60, 29),
            '(i32.eq (local.get $length) (i32.const 104))',
          ),
          {},
        ),
      ],
      { access: [{ address: Uint8Array.of(10, 0, 0, 0), length: 8 }] },
    )
    byname.advance(123_456)
    byname.engine.client(1, Uint8Array.of(10, 0, 0, 7), 0, 4, false, 4711)
    const query = byname.ask('www.example', Type.TXT, { edns: { dnssecOk: true } })
    expect(query.reply?.rcode).toBe(Rcode.REFUSED)
  })

  test('has an address of 16 bytes for IPv6', () => {
    const byname = withPlugins(
      [loaded(expecting(is('load8_u', 14, 6), is('load8_u', 16, 0xfd), is('load8_u', 31, 9)))],
      {
        access: [{ address: new Uint8Array(16), length: 0 }],
      },
    )
    byname.from(Uint8Array.of(0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9))
    expect(byname.ask('www.example').reply?.rcode).toBe(Rcode.REFUSED)
  })
})

test('its buffer may stand at any address', () => {
  const query = '(i32.store16 (i32.const 1078) (i32.load16_u (i32.const 1060))) (i32.const 3)'
  const byname = withPlugins([loaded({ buffer: '(i32.const 1026)', query })])
  // The rcode is at 1,026 + 52, the type at 1,026 + 34.
  expect(byname.ask('www.example', Type.NS).reply?.rcode).toBe(Type.NS)
})

test('memory that grows while it answers is the memory that is read', () => {
  const byname = withPlugins([
    loaded({ more: RECORD, query: only('p', `(drop (memory.grow (i32.const 1))) ${ANSWER} (i32.const 1)`) }),
  ])
  for (let k = 0; k < 3; k++) {
    expect(byname.ask('printer.example').reply).toMatchObject({ answers: [{ data: '192.0.2.7' }] })
  }
  expect(errors(byname)).toEqual({})
})

describe('byname_reply', () => {
  const LAST = '(i32.sub (i32.add (i32.const 1024) (local.get $length)) (i32.const 1))'

  test('sees replies of servers and of the cache, and may change them', () => {
    const plugin = loaded({ reply: replying('(result i32)', `(i32.store8 ${LAST} (i32.const 99)) (i32.const 1)`) })
    const byname = withPlugins([plugin])
    const asked = byname.ask('www.example')
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.99' }])
    expect(byname.ask('www.example').reply?.answers).toMatchObject([{ data: '192.0.2.99' }])
    expect(byname.counters.pluginGet(0, PluginCell.replyActions + 1)).toBe(2)
    // The cache has what the server said.
    byname.engine.configure({ ...byname.settings, plugins: [] })
    expect(byname.ask('www.example').reply?.answers).toMatchObject([{ data: '192.0.2.1' }])
  })

  test('without a result changes what it leaves changed', () => {
    const looking = withPlugins([loaded({ reply: replying('') })])
    looking.ask('www.example')
    looking.answer({ answers: [a(1)] })
    expect(looking.counters.pluginGet(0, PluginCell.replyActions)).toBe(1)
    const changing = withPlugins([loaded({ reply: replying('', `(i32.store8 ${LAST} (i32.const 98))`) })])
    const asked = changing.ask('www.example')
    changing.answer({ answers: [a(1)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.98' }])
  })

  test('that breaks the reply, or traps, leaves it as it is', () => {
    for (const body of [
      `(i32.store8 (i32.const 1088) (i32.const 9)) (i32.const 1)`,
      'unreachable',
      '(i32.const 2)',
      '(i32.const 77)',
      '(loop $l (br $l)) (i32.const 0)',
    ]) {
      const byname = withPlugins([loaded({ reply: replying('(result i32)', body) })])
      const asked = byname.ask('www.example')
      byname.answer({ answers: [a(1)] })
      expect(asked.reply?.answers, body).toMatchObject([{ data: '192.0.2.1' }])
      expect(Object.values(errors(byname)), body).toEqual([1])
    }
  })

  test('may deny or drop a reply', () => {
    const denied = withPlugins([
      loaded({ reply: replying('(result i32)', '(i32.store16 (i32.const 1076) (i32.const 3)) (i32.const 3)') }),
    ])
    const asked = denied.ask('www.example')
    denied.answer({ answers: [a(1)] })
    expect(asked.reply).toMatchObject({ rcode: Rcode.NXDOMAIN, answers: [] })
    const dropped = withPlugins([loaded({ reply: replying('(result i32)', '(i32.const 4)') })])
    const unanswered = dropped.ask('www.example')
    dropped.answer({ answers: [a(1)] })
    expect([unanswered.reply, dropped.waiting, dropped.dropped('plugin')]).toEqual([null, 0, 1])
  })

  test("is shown the client's own question after a change, and only to those of the set that saw the query", () => {
    const seesOld = `(if (i32.ne (i32.load8_u (i32.const 1101)) (i32.const 111)) (then unreachable))`
    const both = { ...renaming('o', 'n'), reply: replying('(result i32)', `${seesOld} (i32.const 0)`) }
    const byname = withPlugins([loaded(both)])
    byname.ask('old.example')
    byname.answer({ answers: [a(1)] })
    expect([errors(byname), byname.counters.pluginGet(0, PluginCell.replyActions)]).toEqual([{}, 1])
    const asked = byname.ask('other.example')
    byname.engine.configure({
      ...byname.settings,
      plugins: [loaded({ reply: replying('(result i32)', 'unreachable') })],
    })
    byname.answer({ answers: [a(2)] })
    expect([asked.reply?.questions[0]?.name, errors(byname)]).toEqual(['other.example', {}])
  })

  test('after the last plug-in is gone a changed question is still changed back', () => {
    const byname = withPlugins([loaded(renaming('o', 'n'))])
    const asked = byname.ask('old.example')
    byname.engine.configure({ ...byname.settings, plugins: [] })
    byname.answer({ answers: [a(1)] })
    expect(asked.reply).toMatchObject({ questions: [{ name: 'old.example' }], answers: [{ name: 'old.example' }] })
  })
})

test('what it may call', () => {
  const plugin = loaded(
    {
      imports: `(import "byname" "log" (func $log (param i32 i32))) (import "byname" "counter" (func $count (param i32 i32)))
      (import "byname" "now" (func $now (result i64))) (import "byname" "random" (func $random (result f64)))`,
      more: '(data (i32.const 0) "hello")',
      query: `(call $log (i32.const 0) (i32.const 5)) (call $log (i32.const -1) (i32.const 5)) (call $count (i32.const 3) (i32.const 2))
      (call $count (i32.const 16) (i32.const 2)) (call $count (i32.const -1) (i32.const 2)) (call $count (i32.const 4) (i32.const -5))
      (i32.store16 (i32.const 1076) (i32.wrap_i64 (call $now))) (drop (call $random)) (i32.const 3)`,
    },
    {},
    'caller',
  )
  const byname = withPlugins([plugin])
  byname.now = 5
  byname.advance(0)
  expect(byname.ask('www.example').reply?.rcode).toBe(5)
  for (let k = 0; k < 30; k++) byname.ask('www.example')
  // Ten lines a second.
  expect([byname.pluginLines.length, byname.pluginLines[0]]).toEqual([10, 'caller: hello'])
  const own = Array.from({ length: 16 }, (_, k) => byname.counters.pluginGet(0, PluginCell.own + k))
  expect(own.map((value, k) => [k, value]).filter(([, value]) => value !== 0)).toEqual([[3, 62]])
})

test('settings that do not touch the plug-ins leave their memory alone', () => {
  const counting: PluginParts = {
    more: '(global $n (mut i32) (i32.const 0))',
    query:
      '(global.set $n (i32.add (global.get $n) (i32.const 1))) (i32.store16 (i32.const 1076) (global.get $n)) (i32.const 3)',
  }
  const byname = withPlugins([loaded(counting)])
  expect([byname.ask('x.example').reply?.rcode, byname.ask('x.example').reply?.rcode]).toEqual([1, 2])
  byname.engine.configure({ ...byname.settings, ttlSeconds: 5 })
  expect(byname.ask('x.example').reply?.rcode).toBe(3)
})
