import { beforeEach, describe, expect, it } from 'vitest'
import { UpstreamHealth } from '../../src/daemon/upstream-health.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { settingsWith } from '../engine/engine-under-test.ts'

const ONE = '192.0.2.1:53'
const TWO = '192.0.2.2:53'
const THREE = '192.0.2.3:53'

let lines: string[]
let health: UpstreamHealth
let workers: WorkerCounters[]
let nowMs: number
beforeEach(() => {
  lines = []
  const say = (level: string) => (_: object, message: string) => void lines.push(`${level} ${message}`)
  health = new UpstreamHealth({ debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') })
  workers = [new WorkerCounters(), new WorkerCounters()]
  nowMs = 0
})

function settingsOf(...labels: string[]): EngineSettings {
  const servers = labels.map((label) => ({ label, transport: 'udp', address: label.split(':')[0]!, port: 53 }) as const)
  return settingsWith({
    servers,
    routes: [{ domains: [new Uint8Array(1)], servers: servers.map((_, k) => k), policy: 'random' }],
  })
}

function routeTo(...servers: number[]): EngineSettings['routes'][number] {
  return { domains: [new Uint8Array(1)], servers, policy: 'random' }
}

/** Lets a second pass, and looks. */
function look(settings: EngineSettings): void {
  nowMs += 1000
  health.look(settings, workers, nowMs)
}

/** What an engine writes when its server is asked, and turns. */
function turn(server: number, isHealthy: boolean, timeouts = 0, worker = 0): void {
  const counters = workers[worker]!
  counters.upstreamAdd(server, UpstreamField.requestsUdp, 1)
  counters.upstreamAdd(server, UpstreamField.failuresTimeout, timeouts)
  counters.upstreamSet(server, UpstreamField.healthy, isHealthy ? 1 : 0)
}

/** Two looks: nothing is said of servers that are new. */
function begin(settings: EngineSettings): void {
  for (let server = 0; server < settings.servers.length; server++) turn(server, true)
  look(settings)
  look(settings)
}

describe('an upstream server', () => {
  it('that goes bad and comes back is one line each: which, why, for how long, and what was done', () => {
    const settings = settingsOf(ONE, TWO)
    begin(settings)
    turn(0, false, 2)
    workers[1]!.upstreamAdd(0, UpstreamField.failuresNetwork, 1)
    for (let n = 0; n < 10; n++) look(settings)
    turn(0, true, 30)
    for (let n = 0; n < 10; n++) look(settings)
    expect(lines).toEqual([
      `warn upstream server ${ONE} fails: 2 timeouts, 1 network error; others are asked first until it answers again`,
      `info upstream server ${ONE} answers again after 10 s: 30 timeouts meanwhile; others were asked first`,
    ])
  })

  it('that comes back says how many queries others answered meanwhile: those of its own routes, of all workers', () => {
    const { servers } = settingsOf(ONE, TWO, THREE)
    // The two share two routes, and what the one answers counts once.
    const settings = settingsWith({ servers, routes: [routeTo(2), routeTo(0, 1), routeTo(1, 0)] })
    begin(settings)
    workers[0]!.upstreamDuration(1, 0.01)
    turn(0, false, 2)
    look(settings)
    // However long they took.
    for (let n = 0; n < 1200; n++) workers[n & 1]!.upstreamDuration(1, n)
    workers[0]!.upstreamDuration(2, 0.01)
    workers[0]!.upstreamDuration(0, 0.01)
    look(settings)
    turn(0, true)
    look(settings)
    expect(lines.at(-1)).toBe(
      `info upstream server ${ONE} answers again after 2 s: no further failure meanwhile; others were asked first, and answered 1,200 queries`,
    )
    turn(0, false, 1)
    look(settings)
    workers[0]!.upstreamDuration(1, 0.01)
    turn(0, true)
    look(settings)
    expect(lines.at(-1)).toContain('and answered one query')
  })

  it('that is the only one is asked all the same', () => {
    const settings = settingsOf(ONE)
    begin(settings)
    turn(0, false, 1)
    look(settings)
    expect(lines).toEqual([
      `warn upstream server ${ONE} fails: 1 timeout; there is no other for its names, so it is still asked`,
    ])
  })

  it('that is alone in one of its routes is still asked, whoever stands in the others', () => {
    const { servers } = settingsOf(ONE, TWO)
    const settings = settingsWith({ servers, routes: [routeTo(0), routeTo(0, 1)] })
    begin(settings)
    turn(0, false, 1)
    turn(1, false, 1)
    look(settings)
    expect(lines).toEqual([
      `warn upstream server ${ONE} fails: 1 timeout; there is no other for its names, so it is still asked`,
      `warn upstream server ${TWO} fails: 1 timeout; others are asked first until it answers again`,
    ])
  })

  it('that fails now and then without going bad says nothing, and that is no reason later', () => {
    const settings = settingsOf(ONE, TWO)
    begin(settings)
    turn(0, true, 7)
    look(settings)
    turn(0, false, 2)
    look(settings)
    expect(lines).toEqual([expect.stringContaining(`${ONE} fails: 2 timeouts;`)])
  })

  it('is bad when every worker that asks it says so, as the metric has it', () => {
    const settings = settingsOf(ONE, TWO)
    begin(settings)
    turn(0, true, 0, 1)
    turn(0, false, 2, 0)
    look(settings)
    expect(lines).toEqual([])
    turn(0, false, 2, 1)
    look(settings)
    expect(lines).toHaveLength(1)
  })

  it('that was bad before it was looked at is said as well', () => {
    const settings = settingsOf(ONE, TWO)
    turn(1, false, 3)
    look(settings)
    look(settings)
    expect(lines).toEqual([expect.stringContaining(`${TWO} fails: 3 timeouts;`)])
  })

  it('that flaps is a few lines a minute, with their number', () => {
    const settings = settingsOf(ONE, TWO)
    begin(settings)
    for (let n = 0; n < 59; n++) {
      turn(0, n % 2 === 1, 1)
      look(settings)
    }
    look(settings)
    expect(lines).toHaveLength(5)
    expect(lines[3]).toContain('it changes often: further changes of this minute are one line')
    expect(lines[4]).toMatch(
      /^warn upstream server 192\.0\.2\.1:53 began or ceased to fail 59 times in a minute; it (fails|answers) now$/,
    )
  })
})

describe('the lines of a minute', () => {
  it('are all there is to say where there were four changes, and four more are said in the next minute', () => {
    const settings = settingsOf(ONE, TWO)
    begin(settings)
    const flap = (): void => {
      for (let n = 0; n < 4; n++) {
        turn(0, n % 2 === 1, 1)
        look(settings)
      }
    }
    flap()
    expect(lines).toHaveLength(4)
    nowMs += 55_000
    look(settings)
    expect(lines).toHaveLength(4)
    flap()
    expect(lines).toHaveLength(8)
  })
})

describe('other servers', () => {
  it('are not judged by the counters of those before them', () => {
    begin(settingsOf(ONE))
    turn(0, false, 2)
    // The worker has not heard of the new settings yet.
    look(settingsOf(TWO))
    workers[0]!.upstreamClear(0)
    turn(0, true)
    look(settingsOf(TWO))
    expect(lines).toEqual([])
  })

  it('that are added make nobody say again what was said of those that stay', () => {
    begin(settingsOf(ONE, TWO))
    turn(0, false, 2)
    look(settingsOf(ONE, TWO))
    expect(lines).toHaveLength(1)
    turn(2, true)
    for (let n = 0; n < 3; n++) look(settingsOf(ONE, TWO, THREE))
    expect(lines).toHaveLength(1)
    turn(0, true)
    look(settingsOf(ONE, TWO, THREE))
    expect(lines[1]).toContain(`${ONE} answers again after 4 s`)
  })

  it('take nothing from what was known of one that was left out for a while', () => {
    begin(settingsOf(ONE, TWO))
    turn(1, false, 2)
    look(settingsOf(ONE, TWO))
    begin(settingsOf(ONE))
    workers[0]!.upstreamClear(1)
    begin(settingsOf(ONE, TWO))
    expect(lines).toHaveLength(1)
  })
})
