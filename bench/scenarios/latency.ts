/** What one client waits, at a rate far below the limit. */
import { writeHitFile } from '../load/names.ts'
import { probe } from '../load/probe.ts'
import { cpuSeconds } from '../load/process-usage.ts'
import { udpSocketDrops } from '../load/socket-drops.ts'
import type { Metric, Scenario } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

const P50: Metric = { key: 'p50Us', title: 'p50', unit: 'µs', better: 'less' }
const P99: Metric = { key: 'p99Us', title: 'p99', unit: 'µs', better: 'less' }
const P999: Metric = { key: 'p999Us', title: 'p99.9', unit: 'µs', better: 'less' }
const AVERAGE: Metric = { key: 'averageUs', title: 'average', unit: 'µs', better: 'less' }
const WORST: Metric = { key: 'maxUs', title: 'worst', unit: 'µs', better: 'less' }

/** At 1,000 questions a second V8 has compiled what they run through after two. */
const WARM_UP_SECONDS = 3

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
