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
  /** Answers by rcode, as dnsperf names them. */
  rcodes: Record<string, number>
  /** Microseconds, as all that follow. */
  averageUs: number
  /** Percentiles are absent without probe.c, as is all that follows but `maxUs`. */
  p50Us?: number
  p90Us?: number
  p99Us?: number
  p999Us?: number
  maxUs: number
  /** The most a question left after its time, in microseconds: the machine was crowded. */
  lateSendUs?: number
  /** Questions that the kernel did not take; they count as sent and lost. */
  sendErrors?: number
  /** Answers that found no room in the probe's own sockets, warm-up included: lost, but not by the server. */
  clientDrops?: number
}

/** Questions at a steady rate that go on until told otherwise. */
export interface RunningProbe {
  /** True once it sends no more, whatever the reason. */
  readonly hasEnded: boolean
  /** Rejects if the probe fails or outlives its time by 15 s. */
  readonly result: Promise<ProbeResult>
  /** Sends no more; `result` follows within two seconds. */
  stop(): void
}

/** Rejects if the probe fails or outlives its time by 15 s. */
export async function probe(native: Native, options: ProbeOptions, signal?: AbortSignal): Promise<ProbeResult> {
  if (native.probe !== undefined) return await startProbe(native.probe, options, signal).result
  const { port, queries, queriesPerSecond, seconds } = options
  const result = await load({ port, queries, seconds, queriesPerSecond }, signal)
  const { sent, completed: received, lost, rcodes, latencyMs } = result
  return { sent, received, lost, rcodes, averageUs: latencyMs.average * 1000, maxUs: latencyMs.max * 1000 }
}

/** `probe`, compiled to `file`, for as long as the caller wants but no longer than `options.seconds`. */
export function startProbe(file: string, options: ProbeOptions, signal?: AbortSignal): RunningProbe {
  const { port, queries, queriesPerSecond, seconds, warmupSeconds } = options
  const args = ['127.0.0.1', String(port), queries, String(queriesPerSecond), String(seconds), String(warmupSeconds)]
  const timeout = (seconds + warmupSeconds + 15) * 1000
  const running = promisify(execFile)(file, args, { timeout, killSignal: 'SIGKILL', ...(signal && { signal }) })
  const endsAt = performance.now() + (seconds + warmupSeconds) * 1000
  const { child } = running
  return {
    get hasEnded() {
      return performance.now() >= endsAt || child.exitCode !== null || child.signalCode !== null
    },
    result: running.then(({ stdout }): ProbeResult => JSON.parse(stdout)),
    stop: () => child.kill('SIGTERM'),
  }
}
