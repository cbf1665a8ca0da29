import { expect, it } from 'vitest'
import { CounterWatch } from '../../src/daemon/counter-watch.ts'
import { Source, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { settingsWith } from '../engine/engine-under-test.ts'

it('looks once a second while servers are asked: refused clients are told of at most once a look, servers that fail in a line; and no more once stopped', () => {
  const clock = new FakeClock()
  const workers = [new WorkerCounters(), new WorkerCounters()]
  const lines: string[] = []
  const say = (_: object, message: string): void => void lines.push(message)
  let told = 0
  let failing = 0
  const engine = settingsWith({
    servers: [{ label: '192.0.2.1:53', transport: 'udp', address: '192.0.2.1', port: 53 }],
  })
  const watch = new CounterWatch({
    settings: { engine, clientRefused: () => void told++, serverFails: () => void failing++ },
    counters: () => workers,
    clock,
    log: { debug: say, info: say, warn: say, error: say },
  })
  workers[0]!.upstreamSet(0, UpstreamField.healthy, 1)
  watch.start()
  clock.advance(3000)
  expect(told).toBe(0)
  // One query to the server a second, and none in the end.
  const ask = (seconds: number): void => {
    for (let n = 0; n < seconds; n++) {
      workers[0]!.upstreamAdd(0, UpstreamField.requestsUdp, 1)
      clock.advance(1000)
    }
  }
  // The look that follows a quiet one comes after five seconds, and those of busy ones after one.
  expect(clock.pending).toEqual([3000])
  ask(4)
  expect(clock.pending).toEqual([1000])
  for (const worker of workers) for (let n = 0; n < 50; n++) worker.response(Source.local, 5, 0, 12)
  // Refused by a server is none of ours.
  workers[0]!.response(Source.upstream, 5, 0, 12)
  clock.advance(5000)
  expect(told).toBe(1)
  workers[1]!.response(Source.local, 5, 0, 12)
  workers[0]!.upstreamAdd(0, UpstreamField.requestsUdp, 2)
  workers[0]!.upstreamAdd(0, UpstreamField.failuresTimeout, 2)
  workers[0]!.upstreamSet(0, UpstreamField.healthy, 0)
  ask(5)
  expect(told).toBe(2)
  ask(3)
  // Nobody was refused since.
  expect([told, failing]).toEqual([2, 1])
  expect(lines).toEqual([expect.stringMatching(/^upstream server 192\.0\.2\.1:53 fails: 2 timeouts;/)])
  clock.advance(1000)
  expect(clock.pending).toEqual([5000])
  // What byname answers by itself is no reason to look.
  for (let n = 0; n < 5; n++) {
    workers[0]!.request(0, 0, 1)
    workers[0]!.response(Source.mesh, 0, 0, 60)
    clock.advance(1000)
  }
  expect(clock.pending).toEqual([5000])
  watch.stop()
  expect(clock.pending).toEqual([])
})
