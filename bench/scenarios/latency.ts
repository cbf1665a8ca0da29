/** What one client waits at a rate far below the limit, and what an answer costs then. */
import { availableParallelism } from 'node:os'
import { writeHitFile } from '../load/names.ts'
import { probe } from '../load/probe.ts'
import { cpuSeconds, threadCpuSeconds } from '../load/process-usage.ts'
import { udpSocketDrops } from '../load/socket-drops.ts'
import type { Bench, Subject } from './bench.ts'
import type { Metric, Scenario } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

const P50: Metric = { key: 'p50Us', title: 'p50', unit: 'µs', better: 'less' }
const P99: Metric = { key: 'p99Us', title: 'p99', unit: 'µs', better: 'less' }
const P999: Metric = { key: 'p999Us', title: 'p99.9', unit: 'µs', better: 'less' }
const AVERAGE: Metric = { key: 'averageUs', title: 'average', unit: 'µs', better: 'less' }
const WORST: Metric = { key: 'maxUs', title: 'worst', unit: 'µs', better: 'less' }

/** At 1,000 questions a second V8 has compiled what they run through after two. */
const WARM_UP_SECONDS = 3
/** byname has given memory back by then, and V8 has looked once more: both belong to the start. */
const COST_WARM_UP_SECONDS = 40

export const latencyCalm: Scenario = latency('latency-1000', 'Latency at 1,000 questions a second', 1000, [
  P50,
  P99,
  WORST,
  AVERAGE,
])
export const latencyBusy: Scenario = latency('latency-20000', 'Latency at 20,000 questions a second', 20_000, [
  P99,
  P50,
  P999,
  WORST,
  AVERAGE,
])

/** A core that is free for nobody: what a busy workload beside it makes of the tail. */
export const latencyCrowded: Scenario = {
  ...latencyBusy,
  id: 'latency-crowded',
  title: 'The same with a busy neighbour on each core',
  run: (peer, bench) => bench.withNeighbours(availableParallelism(), () => latencyBusy.run(peer, bench)),
}

/** At least: at 100 a second fewer would not tell. */
const COST_SECONDS = 15

export const cost: Scenario = {
  id: 'cost',
  title: 'An answer where there is little to do',
  about:
    'CPU time of all threads by the scheduler’s clock ÷ answers, mesh hits at a steady rate. What the server does besides is in it.',
  needs: ['mesh', 'table'],
  mostRounds: 3,
  metrics: [
    { key: 'cpuUs100', title: 'at 100 questions a second', unit: 'µs', better: 'less' },
    { key: 'cpuUs1000', title: 'at 1,000', unit: 'µs', better: 'less' },
  ],
  run: (peer, bench) =>
    bench.withServer(peer, { hosts: HOSTS }, async (subject) => {
      await steadily(subject, 100, COST_WARM_UP_SECONDS, bench)
      return {
        cpuUs100: await costOf(subject, 100, bench),
        cpuUs1000: await costOf(subject, 1000, bench),
      }
    }),
}

/** Microseconds of CPU time an answer. */
async function costOf(subject: Subject, queriesPerSecond: number, bench: Bench): Promise<number> {
  const before = threadCpuSeconds(subject.pid)
  const received = await steadily(subject, queriesPerSecond, Math.max(bench.seconds, COST_SECONDS), bench)
  const after = threadCpuSeconds(subject.pid)
  if (before === undefined || after === undefined) throw new Error('the kernel keeps no /proc/PID/schedstat')
  return ((after - before) / received) * 1e6
}

/** Answers received. */
async function steadily({ port }: Subject, queriesPerSecond: number, seconds: number, bench: Bench): Promise<number> {
  const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
  const result = await probe(bench.native, { port, queries, queriesPerSecond, seconds, warmupSeconds: 0 }, bench.signal)
  requireAnswers(result, 'NOERROR')
  return result.received
}

function latency(id: string, title: string, queriesPerSecond: number, metrics: readonly Metric[]): Scenario {
  return {
    id,
    title,
    about: 'Mesh hits at a steady rate, sent whether or not earlier ones are answered.',
    needs: ['mesh'],
    metrics,
    run: (peer, bench) =>
      bench.withServer(peer, { hosts: HOSTS }, async ({ pid, port }) => {
        const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
        const before = cpuSeconds(pid)
        const result = await probe(
          bench.native,
          { port, queries, queriesPerSecond, seconds: bench.seconds, warmupSeconds: WARM_UP_SECONDS },
          bench.signal,
        )
        requireAnswers(result, 'NOERROR')
        const { rcodes: _, ...figures } = result
        return { ...figures, serverDrops: udpSocketDrops(port), cpuSeconds: cpuSeconds(pid) - before }
      }),
  }
}
