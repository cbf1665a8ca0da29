/** One process after the other takes over while questions keep coming: none may be lost. */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { load } from '../load/dnsperf.ts'
import { writeHitFile } from '../load/names.ts'
import type { Bench } from './bench.ts'
import type { Scenario } from './scenario.ts'
import { HOSTS } from './throughput.ts'

const RESTARTS = 20
const QUERIES_PER_SECOND = 20_000
/** Longest time for one handover. */
const HANDOVER_SECONDS = 30
/** The load goes on for this long at most, and is ended by the last handover. */
const LOAD_SECONDS = RESTARTS * 3
const LOOK_SECONDS = 0.02

export const restarts: Scenario = {
  id: 'restarts',
  title: `${RESTARTS} restarts under 20,000 questions a second`,
  about: 'SIGUSR2 to one process after the other; each hands over to the next.',
  needs: ['table', 'push'],
  metrics: [
    { key: 'lost', title: 'lost', unit: '', better: 'less' },
    { key: 'handoverMs', title: 'time of one handover', unit: 'ms', better: 'less' },
    { key: 'worstMs', title: 'worst answer', unit: 'ms', better: 'less' },
  ],
  run: (peer, bench) =>
    bench.withServer(peer, { hosts: HOSTS }, async ({ pid: first, port }) => {
      const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
      const options = { port, queries, seconds: LOAD_SECONDS, queriesPerSecond: QUERIES_PER_SECOND, outstanding: 2000 }
      const loaded = load(options, bench.signal)
      let pid = first
      const startedAt = performance.now()
      try {
        await bench.pause(1)
        for (let n = 0; n < RESTARTS; n++) pid = await replace(pid, bench)
        const handoverMs = (performance.now() - startedAt - 1000) / RESTARTS
        const { sent, lost, latencyMs } = await loaded
        return { lost, handoverMs, worstMs: latencyMs.max, sent, restarts: RESTARTS }
      } finally {
        await loaded.catch(() => undefined)
        if (pid !== first) process.kill(pid, 'SIGTERM')
      }
    }),
}

/** Has the process `pid` hand over; resolves with the new one once the old one is gone. */
async function replace(pid: number, bench: Bench): Promise<number> {
  process.kill(pid, 'SIGUSR2')
  let next: number | null = null
  const deadline = performance.now() + HANDOVER_SECONDS * 1000
  for (;;) {
    next ??= childOf(pid)
    if (next !== null && hasEnded(pid)) return next
    if (performance.now() > deadline) throw new Error(`process ${pid} did not hand over within ${HANDOVER_SECONDS} s`)
    await bench.pause(LOOK_SECONDS)
  }
}

function childOf(pid: number): number | null {
  const child = spawnSync('pgrep', ['-P', String(pid)], { encoding: 'utf8' }).stdout.trim()
  return child === '' ? null : Number(child.split('\n')[0])
}

function hasEnded(pid: number): boolean {
  try {
    // Ended, but not yet waited for by its parent.
    return / Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8').replace(/\(.*\)/, ''))
  } catch {
    return true
  }
}
