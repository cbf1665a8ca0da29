/** resolv.conf, and with it the servers, are others from one moment to the next, while hundreds of questions are under way. */
import { describe, expect, it } from 'vitest'
import { parseResolvConf } from '../../src/config/resolv-conf.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { deriveSettings } from '../../src/daemon/engine-settings.ts'
import { a } from '../dns/messages.ts'
import { type Asked, EngineUnderTest } from './engine-under-test.ts'
import { pass } from './servers.ts'

const { config } = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => '' })
/** Settings as the daemon derives them. */
const settingsOf = (resolvConf: string): EngineSettings =>
  deriveSettings({ ...config, mesh: { ...config.mesh, beforeSync: 'forward' } }, parseResolvConf(resolvConf), [])
    .settings

const OLD = settingsOf('nameserver 192.0.2.1\nnameserver 192.0.2.2\n')
const NEW = settingsOf('nameserver 192.0.2.3\n')

/** The same with one attempt for each question. */
const onceEach = (settings: EngineSettings): EngineSettings => ({
  ...settings,
  routes: settings.routes.map((route) => ({ ...route, maxAttempts: 1 })),
})

/** Asks for many names, of which each server answers every third at once. */
function loaded(byname: EngineUnderTest, from: number, count: number): Asked[] {
  const asked: Asked[] = []
  for (let n = from; n < from + count; n++) {
    asked.push(byname.ask(`n${n}.example`))
    if (n % 3 === 0) byname.answer({ answers: [a(1)] })
  }
  return asked
}

describe('resolv.conf replaced under load', () => {
  it('what is under way is asked of the new servers at once, and every client gets one answer', () => {
    const byname = new EngineUnderTest(OLD)
    const asked = loaded(byname, 0, 300)
    const old = byname.outlet.queries.splice(0)
    byname.engine.configure(NEW)
    byname.advance(4)
    const open = asked.filter(({ reply }) => reply === null)
    expect(open).toHaveLength(200)
    expect(byname.outlet.queries).toHaveLength(200)
    // What the old servers say now is none of ours.
    for (const sent of old) byname.answer({ answers: [a(66)] }, sent)
    expect(open.every(({ reply }) => reply === null)).toBe(true)
    for (const sent of byname.outlet.queries.splice(0)) byname.answer({ answers: [a(3)] }, sent)
    for (const { reply } of open) expect(reply!.answers[0]!.data).toBe('192.0.2.3')
    expect([byname.waiting, byname.engine.isQuiet]).toEqual([0, true])
    expect(byname.responses()).toBe(300)
  })

  it('new servers are asked as often as the first ones', () => {
    const byname = new EngineUnderTest(onceEach(OLD))
    const asked = byname.ask('example.org')
    byname.engine.configure(onceEach(NEW))
    byname.advance(4)
    byname.answer({ answers: [a(3)] })
    expect(asked.reply?.answers).toMatchObject([{ data: '192.0.2.3' }])
  })

  it('again and again: no client waits beyond the deadline, and none is lost', () => {
    const byname = new EngineUnderTest(OLD)
    const asked: Asked[] = []
    for (let round = 0; round < 40; round++) {
      asked.push(...loaded(byname, round * 30, 30))
      byname.engine.configure(round % 2 === 0 ? NEW : OLD)
      byname.advance(50)
      for (const sent of byname.outlet.queries.splice(0).filter((_, k) => k % 2 === 0))
        byname.answer({ answers: [a(round)] }, sent)
    }
    pass(byname, OLD.deadlineMs)
    expect(asked.filter(({ reply }) => reply === null)).toEqual([])
    expect([byname.waiting, byname.engine.isQuiet, byname.responses()]).toEqual([0, true, asked.length])
  })

  it('an answer that was cached stays', () => {
    const byname = new EngineUnderTest(OLD)
    loaded(byname, 0, 30)
    byname.engine.configure(NEW)
    byname.outlet.queries.length = 0
    for (let n = 0; n < 30; n += 3) expect(byname.ask(`n${n}.example`).reply!.answers[0]!.data).toBe('192.0.2.1')
    expect(byname.outlet.queries).toEqual([])
  })

  it('by one that says the same: nothing under way is given up', () => {
    const byname = new EngineUnderTest(OLD)
    const asked = loaded(byname, 0, 30)
    const sent = byname.outlet.queries.splice(0)
    byname.engine.configure({ ...OLD, routes: OLD.routes.map((route) => ({ ...route })) })
    byname.advance(4)
    expect(byname.outlet.queries).toEqual([])
    sent.forEach((query, k) => void (k % 3 !== 0 && byname.answer({ answers: [a(2)] }, query)))
    expect(asked.every(({ reply }) => reply?.rcode === 0)).toBe(true)
  })

  it('by an empty one: SERVFAIL at once, also to those who wait; by a good one again: answers', () => {
    const byname = new EngineUnderTest(OLD)
    const asked = loaded(byname, 0, 30)
    byname.engine.configure(settingsOf(''))
    byname.advance(4)
    expect(asked.filter(({ reply }) => reply?.rcode === 2)).toHaveLength(20)
    expect(byname.ask('later.example').reply?.rcode).toBe(2)
    byname.engine.configure(NEW)
    const again = byname.ask('later.example')
    byname.answer({ answers: [a(3)] })
    expect(again.reply?.rcode).toBe(0)
  })
})
