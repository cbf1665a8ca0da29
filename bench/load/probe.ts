/** Latency percentiles at a steady rate: probe.c, or dnsperf's averages where it could not be compiled. */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { load } from './dnsperf.ts'
import type { Native } from './native.ts'

export interface ProbeOptions {
  port: number
  /** Query file: a name and a type a line. */
  queries: string
  queriesPerSecond: number
  seconds: number
  /** Asked before at the same rate and not counted. */
  warmupSeconds: number
}

export interface ProbeResult {
  sent: number
  received: number
  lost: number
  /** Microseconds, as all that follow. */
  averageUs: number
  /** Percentiles are absent without probe.c. */
  p50Us?: number
  p90Us?: number
  p99Us?: number
  p999Us?: number
  maxUs: number
  /** The most a question left after its time, in microseconds: the machine was crowded. Absent without probe.c. */
  lateSendUs?: number
}

/** Rejects if the probe fails or outlives its time by 15 s. */
export async function probe(native: Native, options: ProbeOptions, signal?: AbortSignal): Promise<ProbeResult> {
  const { port, queries, queriesPerSecond, seconds, warmupSeconds } = options
  if (native.probe === undefined) {
    const result = await load({ port, queries, seconds, queriesPerSecond }, signal)
    const { sent, completed: received, lost, latencyMs } = result
    return { sent, received, lost, averageUs: latencyMs.average * 1000, maxUs: latencyMs.max * 1000 }
  }
  const args = ['127.0.0.1', String(port), queries, String(queriesPerSecond), String(seconds), String(warmupSeconds)]
  const timeout = (seconds + warmupSeconds + 15) * 1000
  const { stdout } = await promisify(execFile)(native.probe, args, {
    timeout,
    killSignal: 'SIGKILL',
    ...(signal && { signal }),
  })
  const result: ProbeResult = JSON.parse(stdout)
  return result
}
