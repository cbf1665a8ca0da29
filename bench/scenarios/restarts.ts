/** One process after the other takes over while questions keep coming: none may be lost. */
import { spawnSync } from 'node:child_process'
import { writeHitFile } from '../load/names.ts'
import { type RunningProbe, startProbe } from '../load/probe.ts'
import { isAlive } from '../load/process-usage.ts'
import { udpSocketDrops } from '../load/socket-drops.ts'
import type { Bench } from './bench.ts'
import { lossFigures, LOSS_METRICS } from './losses.ts'
import type { Scenario } from './scenario.ts'
import { HOSTS } from './throughput.ts'

/** In a round: 100 in the five rounds of a run. */
const RESTARTS = 20
const QUERIES_PER_SECOND = 20_000
/** Longest time for one handover. */
const HANDOVER_SECONDS = 30
/** Longest time for all of a round; the questions stop with the last handover. */
const LOAD_SECONDS = 120
const LOOK_SECONDS = 0.02

export const restarts: Scenario = {
  id: 'restarts',
  title: 'Restarts under 20,000 questions a second',
  about:
    'SIGUSR2 to one process after the other; each hands over to the next, and the questions go on until the last has taken over. Counts are those of all rounds together; lost is what got no answer with NOERROR within two seconds.',
  needs: ['table', 'push'],
  metrics: [
    { key: 'lost', title: 'lost', unit: '', better: 'less', isCount: true },
    { key: 'restarts', title: 'handovers', unit: '', better: 'more', isCount: true },
    { key: 'sent', title: 'questions asked', unit: '', better: 'more', isCount: true },
    { key: 'worstMs', title: 'worst answer', unit: 'ms', better: 'less' },
    { key: 'handoverMs', title: 'time of one handover', unit: 'ms', better: 'less' },
    ...LOSS_METRICS,
    { key: 'lateMs', title: 'a question left late by at most', unit: 'ms', better: 'less' },
  ],
  run: (peer, bench) =>
    bench.withServer(peer, { hosts: HOSTS }, async ({ pid: first, port }) => {
      const { probe } = bench.native
      // dnsperf cannot tell answers that it lost itself, and a lost question must have a culprit.
      if (probe === undefined) throw new Error('the load for this one is written in C: apt-get install gcc libc6-dev')
      const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
      const options = { port, queries, queriesPerSecond: QUERIES_PER_SECOND, seconds: LOAD_SECONDS, warmupSeconds: 0 }
      const load = startProbe(probe, options, bench.signal)
      // Should a handover fail first, nobody else is there to hear of the load's end.
      load.result.catch(() => undefined)
      let pid = first
      try {
        await bench.pause(1)
        const startedAt = performance.now()
        for (let n = 0; n < RESTARTS; n++) {
          pid = await replace(pid, bench)
          requireLoad(load, n + 1)
        }
        const handoverMs = (performance.now() - startedAt) / RESTARTS
        load.stop()
        const result = await load.result
        // The sockets are handed on from process to process: their counts are those of all of them.
        const losses = lossFigures(result, udpSocketDrops(port))
        const lateMs = (result.lateSendUs ?? Number.NaN) / 1000
        return { ...losses, restarts: RESTARTS, worstMs: result.maxUs / 1000, handoverMs, lateMs }
      } finally {
        load.stop()
        if (pid !== first && isAlive(pid)) process.kill(pid, 'SIGTERM')
      }
    }),
}

/** A handover that nobody asked questions meanwhile proves nothing. */
function requireLoad(load: RunningProbe, handovers: number): void {
  if (load.hasEnded) throw new Error(`the questions ended before handover ${handovers} of ${RESTARTS} did`)
}

/** Has the process `pid` hand over; resolves with the new one once the old one is gone. */
async function replace(pid: number, bench: Bench): Promise<number> {
  process.kill(pid, 'SIGUSR2')
  let next: number | null = null
  const deadline = performance.now() + HANDOVER_SECONDS * 1000
  try {
    for (;;) {
      next ??= childOf(pid)
      if (next !== null && !isAlive(pid)) return next
      if (performance.now() > deadline) throw new Error(`process ${pid} did not hand over within ${HANDOVER_SECONDS} s`)
      await bench.pause(LOOK_SECONDS)
    }
  } catch (error) {
    // It is in a process group of its own and would outlive the bench.
    next ??= childOf(pid)
    if (next !== null) process.kill(next, 'SIGKILL')
    throw error
  }
}

function childOf(pid: number): number | null {
  const child = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout.trim()
  return child === '' ? null : Number(child.split('\n')[0])
}
