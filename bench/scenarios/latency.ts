/** What one client waits at a rate far below the limit, and what an answer costs then. */
import { availableParallelism } from 'node:os'
import { writeHitFile } from '../load/names.ts'
import { probe } from '../load/probe.ts'
import { cpuSeconds, threadCpuSeconds } from '../load/process-usage.ts'
import { udpSocketDrops } from '../load/socket-drops.ts'
import type { Bench, Subject } from './bench.ts'
import type { Metric, Scenario, Values } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

const P50: Metric = { key: 'p50Us', title: 'p50', unit: 'µs', better: 'less' }
const P99: Metric = { key: 'p99Us', title: 'p99', unit: 'µs', better: 'less' }
const P999: Metric = { key: 'p999Us', title: 'p99.9', unit: 'µs', better: 'less' }
const AVERAGE: Metric = { key: 'averageUs', title: 'average', unit: 'µs', better: 'less' }
const WORST: Metric = { key: 'maxUs', title: 'worst', unit: 'µs', better: 'less' }

/** At 1,000 questions a second V8 has compiled what they run through after two. */
const WARM_UP_SECONDS = 3
/** Later byname gives memory back, which is part of a start. */
const COST_WARM_UP_SECONDS = 20

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

export const costRare: Scenario = cost('cost-100', 'An answer at 100 questions a second', 100)
export const costCalm: Scenario = cost('cost-1000', 'An answer at 1,000 questions a second', 1000)

/** At least: at 100 a second fewer would not tell. */
const COST_SECONDS = 10

function cost(id: string, title: string, queriesPerSecond: number): Scenario {
  return {
    id,
    title,
    about:
      'CPU time of all threads by the scheduler’s clock ÷ answers, mesh hits at a steady rate. What the server does besides is in it.',
    needs: ['mesh'],
    metrics: [{ key: 'cpuUs', title: 'CPU time an answer', unit: 'µs', better: 'less' }],
    run: (peer, bench) =>
      bench.withServer(peer, { hosts: HOSTS }, (subject) => costOf(subject, queriesPerSecond, bench)),
  }
}

async function costOf({ pid, port }: Subject, queriesPerSecond: number, bench: Bench): Promise<Values> {
  const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
  const options = { port, queries, queriesPerSecond, warmupSeconds: 0 }
  await probe(bench.native, { ...options, seconds: COST_WARM_UP_SECONDS }, bench.signal)
  const before = threadCpuSeconds(pid)
  const result = await probe(bench.native, { ...options, seconds: Math.max(bench.seconds, COST_SECONDS) }, bench.signal)
  const after = threadCpuSeconds(pid)
  requireAnswers(result, 'NOERROR')
  if (before === undefined || after === undefined) throw new Error('the kernel keeps no /proc/PID/schedstat')
  return { cpuUs: ((after - before) / result.received) * 1e6, p99Us: result.p99Us ?? Number.NaN }
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
