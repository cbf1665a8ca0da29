import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { decode, soa, wire } from '../dns/messages.ts'
import { EngineUnderTest, type SettingsChange, settingsWith } from './engine-under-test.ts'
import { pass, serversWith } from './servers.ts'

/** Three servers, of which the first two are default ones. */
function probing(id: string, sends: boolean = true): SettingsChange {
  const { servers } = serversWith(3, 'random')
  return {
    servers: servers!,
    routes: [
      { domains: [wire('corp.example')], servers: [2], policy: 'random' },
      { domains: [new Uint8Array(1)], servers: [0, 1], policy: 'random' },
    ],
    loopProbe: { id, names: [wire(`0.${id}`), wire(`1.${id}`), null], sends },
  }
}

/** Names asked for so far, by server. */
function asked(byname: EngineUnderTest): [server: number, name: string, type: string][] {
  return byname.outlet.queries.map(({ server, bytes }) => {
    const question = decode(bytes).questions[0]!
    return [server, question.name, question.type]
  })
}

describe('a loop is looked for', () => {
  it('by a name of its own for each default server, soon after the start', () => {
    const byname = new EngineUnderTest(probing('abc'))
    expect(byname.engine.nextDue).toBe(500)
    pass(byname, 499)
    expect(asked(byname)).toEqual([])
    byname.advance(1)
    expect(asked(byname)).toEqual([
      [0, '0.abc', 'HINFO'],
      [1, '1.abc', 'HINFO'],
    ])
  })

  it('once more after ten seconds, and not again', () => {
    const byname = new EngineUnderTest(probing('abc'))
    pass(byname, 10_400)
    expect(asked(byname)).toHaveLength(2)
    pass(byname, 200)
    expect(asked(byname)).toHaveLength(4)
    pass(byname, 60_000)
    expect(asked(byname)).toHaveLength(4)
    expect(byname.engine.nextDue).toBe(Number.POSITIVE_INFINITY)
    expect(byname.engine.isQuiet).toBe(true)
  })

  it('by one worker only', () => {
    const byname = new EngineUnderTest(probing('abc', false))
    pass(byname, 20_000)
    expect(asked(byname)).toEqual([])
    expect(byname.ask('0.abc', Type.HINFO).reply?.rcode).toBe(5)
  })

  it('anew with other names, and not with the same', () => {
    const byname = new EngineUnderTest(probing('abc'))
    pass(byname, 11_000)
    byname.outlet.queries.length = 0
    byname.engine.configure({ ...byname.settings })
    pass(byname, 20_000)
    expect(asked(byname)).toEqual([])
    byname.engine.configure(settingsWith(probing('def')))
    pass(byname, 600)
    expect(asked(byname).map(([, name]) => name)).toEqual(['0.def', '1.def'])
  })

  it('not at all without names', () => {
    const byname = new EngineUnderTest()
    pass(byname, 20_000)
    expect(asked(byname)).toEqual([])
  })
})

describe('a probe that comes back', () => {
  it('is refused and counted, and its server and whence it came are told', () => {
    const byname = new EngineUnderTest(probing('abc'))
    pass(byname, 600)
    byname.from(Uint8Array.of(127, 0, 0, 53))
    expect(byname.ask('1.ABC', Type.HINFO).reply?.rcode).toBe(5)
    expect(byname.loops).toEqual([['192.0.2.2:53', '127.0.0.53']])
    expect(byname.cell('loopsDetected')).toBe(1)
    expect(asked(byname)).toHaveLength(2)
  })

  it('another name or type is not a probe', () => {
    const byname = new EngineUnderTest(probing('abc'))
    byname.ask('2.abc', Type.HINFO)
    byname.ask('abc', Type.HINFO)
    byname.ask('x.0.abc', Type.HINFO)
    byname.ask('0.abc', Type.A)
    expect(byname.loops).toEqual([])
    expect(byname.outlet.queries).toHaveLength(4)
  })
})

describe('what servers say to a probe', () => {
  it('is neither kept nor held against them, and no failure of theirs', () => {
    const byname = new EngineUnderTest(probing('abc'))
    pass(byname, 600)
    const [first, second] = byname.outlet.queries
    byname.answer({ flags: 0x8183, authorities: [soa('.', 60, 60)] }, first)
    byname.fail(5, second)
    expect(byname.engine.cache?.entries).toBe(0)
    expect([byname.upstream(0, 'healthy'), byname.upstream(1, 'healthy')]).toEqual([1, 1])
    expect(byname.upstream(1, 'failuresRefused')).toBe(0)
  })

  it.each<[string, (byname: EngineUnderTest) => void]>([
    ['silence', () => {}],
    ['socket errors', (byname) => byname.outlet.queries.forEach(({ socket }) => byname.socketFailed(socket))],
    [
      'a header alone',
      (byname) => byname.outlet.queries.forEach((sent) => byname.answer({ flags: 0x8182, questions: [] }, sent)),
    ],
  ])('may be %s: they count as well all the same', (_, react) => {
    const byname = new EngineUnderTest(probing('abc'))
    pass(byname, 600)
    react(byname)
    pass(byname, 20_000)
    for (const server of [0, 1]) {
      for (const field of ['failuresTimeout', 'failuresNetwork', 'failuresServfail'] as const)
        expect(byname.upstream(server, field)).toBe(0)
      expect(byname.upstream(server, 'healthy')).toBe(1)
    }
    expect(byname.engine.isQuiet).toBe(true)
  })
})
