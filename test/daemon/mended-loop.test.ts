/** The daemon's settings and the engine, on one virtual clock, with a server that forwards to us until it is mended. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, it, vi } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { DaemonSettings } from '../../src/daemon/settings.ts'
import type { Log } from '../../src/observe/log.ts'
import { a } from '../dns/messages.ts'
import { EngineUnderTest } from '../engine/engine-under-test.ts'

const folders: string[] = []
afterEach(() => {
  vi.useRealTimers()
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

class World {
  readonly lines: string[] = []
  readonly settings: DaemonSettings
  readonly byname: EngineUnderTest
  /** Which of the servers forward to us. */
  readonly forwarding: Set<number> = new Set()
  #seen = 0
  #told = 0

  constructor(resolvConf: string, upstream: string = '') {
    vi.useFakeTimers()
    const folder = mkdtempSync(join(tmpdir(), 'byname-loop-'))
    folders.push(folder)
    const file = join(folder, 'resolv.conf')
    writeFileSync(file, resolvConf)
    const { config } = loadConfig({
      file: 'byname.yaml',
      env: {},
      readFile: () =>
        `{ mesh: { beforeSync: forward }, upstream: { resolvConf: ${JSON.stringify(file)}, ${upstream} } }`,
    })
    const write = (_: object, message: string): void => void this.lines.push(message)
    const log: Log = { level: 'info', debug: write, info: write, warn: write, error: write }
    this.settings = new DaemonSettings({
      config,
      log,
      onSettings: (settings) => this.byname.engine.configure(settings),
      onIdentity: () => {},
    })
    this.byname = new EngineUnderTest(this.settings.engine)
  }

  pass(seconds: number): void {
    for (let at = 0; at < seconds * 1000; at += 100) {
      vi.advanceTimersByTime(100)
      this.byname.advance(100)
      this.serve()
    }
  }

  /** Lets servers answer, or ask us what they are asked. */
  serve(): void {
    const { byname } = this
    while (this.#seen < byname.outlet.queries.length) {
      const sent = byname.outlet.queries[this.#seen++]!
      if (this.forwarding.has(sent.server)) byname.askRaw(sent.bytes)
      else byname.answer({ answers: [a(sent.server + 1)] }, sent)
    }
    for (; this.#told < byname.loops.length; this.#told++)
      this.settings.loopFound(byname.loops[this.#told]![0], Uint8Array.of(127, 0, 0, 1))
  }

  ask(name: string): { rcode: number | undefined; address: unknown } {
    const { reply } = (() => {
      const asked = this.byname.ask(name)
      this.serve()
      return asked
    })()
    return { rcode: reply?.rcode, address: reply?.answers[0]?.data }
  }
}

it('a loop that is mended comes back by itself, within the time between two checks', () => {
  const world = new World('nameserver 192.0.2.53\n')
  world.forwarding.add(0)
  world.pass(2)
  expect([...world.settings.looping]).toEqual(['192.0.2.53:53'])
  expect(world.ask('a.example').rcode).toBe(2)
  world.pass(200)
  expect(world.ask('b.example').rcode).toBe(2)
  world.forwarding.clear()
  world.pass(280)
  expect(world.settings.looping.size).toBe(0)
  expect(world.lines).toContain('upstream server 192.0.2.53:53 is no loop any more: it is asked again')
  expect(world.ask('c.example')).toEqual({ rcode: 0, address: '192.0.2.1' })
  // And stays, without further probes.
  world.pass(30)
  const { length } = world.byname.outlet.queries
  world.pass(3600)
  expect(world.byname.outlet.queries.length).toBe(length)
  world.settings.stop()
})

it('a loop that goes on is never asked for a name, and probed a few times an hour', () => {
  const world = new World('nameserver 192.0.2.53\nnameserver 192.0.2.54\n')
  world.forwarding.add(0)
  world.pass(2)
  const before = world.byname.outlet.queries.length
  for (let n = 0; n < 60; n++) {
    expect(world.ask(`n${n}.example`)).toEqual({ rcode: 0, address: '192.0.2.2' })
    world.pass(60)
  }
  const toLoop = world.byname.outlet.queries.slice(before).filter(({ server }) => server === 0)
  // Two for each check.
  expect(toLoop.length).toBeLessThanOrEqual(20)
  expect([...world.settings.looping]).toEqual(['192.0.2.53:53'])
  world.settings.stop()
})

it('a server of a route is probed by a name of the route, and left out if it is a loop', () => {
  const world = new World(
    'nameserver 192.0.2.53\n',
    'routes: [{ domains: [corp.example], servers: [192.0.2.60, 192.0.2.61] }]',
  )
  world.forwarding.add(1)
  world.pass(12)
  const labels = world.settings.engine.servers.map(({ label }) => label)
  expect(world.settings.looping.size).toBe(1)
  const [loop] = world.settings.looping
  expect(labels.indexOf(loop!)).toBe(1)
  for (let n = 0; n < 20; n++) expect(world.ask(`n${n}.corp.example`).rcode).toBe(0)
  expect(world.ask('www.example').rcode).toBe(0)
  world.settings.stop()
})
