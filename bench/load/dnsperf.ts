/** Runs dnsperf (https://www.dns-oarc.net/tools/dnsperf) and reads its report. */
import { spawn } from 'node:child_process'
import { cpuSeconds } from './process-usage.ts'

export interface LoadOptions {
  host?: string
  port: number
  /** Query file: a name and a type a line. */
  queries: string
  /** Longest run; shorter if `once` and the file ends. */
  seconds: number
  /** Stop at the end of the file instead of starting over: unique names stay unique. */
  once?: boolean
  tcp?: boolean
  clients?: number
  /** Queries on their way at most, over all clients. */
  outstanding?: number
  /** Steady rate instead of as fast as answers come. */
  queriesPerSecond?: number
}

export interface LoadResult {
  sent: number
  completed: number
  lost: number
  /** Answers by rcode, as dnsperf names them. */
  rcodes: Record<string, number>
  seconds: number
  answersPerSecond: number
  /** In milliseconds; dnsperf knows no percentiles. */
  latencyMs: { average: number; min: number; max: number; stddev: number }
}

export interface MeasuredLoad extends LoadResult {
  /** CPU seconds the server (process tree) used meanwhile. */
  cpuSeconds: number
  answersPerCpuSecond: number
}

/** Answers not waited for longer than this count as lost, in seconds. */
const ANSWER_TIMEOUT_SECONDS = 2

/** Loads the server and returns dnsperf's figures. Rejects if dnsperf is missing, fails, or outlives its time by 15 s. */
export async function load(options: LoadOptions, signal?: AbortSignal): Promise<LoadResult> {
  return parseReport(await runDnsperf(options, signal))
}

/** `load`, with the CPU time of the server process `pid` over the same window. */
export async function measure(pid: number, options: LoadOptions, signal?: AbortSignal): Promise<MeasuredLoad> {
  const before = cpuSeconds(pid)
  const result = await load(options, signal)
  const used = cpuSeconds(pid) - before
  return { ...result, cpuSeconds: used, answersPerCpuSecond: used > 0 ? result.completed / used : Number.NaN }
}

/** Reads the statistics at the end of dnsperf's output. Throws if there are none. */
function parseReport(output: string): LoadResult {
  const number = (label: string): number => {
    const match = new RegExp(`${label}:\\s+([\\d.]+)`).exec(output)
    if (match === null) throw new Error(`dnsperf printed no '${label}':\n${output.slice(-1000)}`)
    return Number(match[1])
  }
  const rcodes: Record<string, number> = {}
  const codes = /Response codes:(.*)/.exec(output)?.[1] ?? ''
  for (const match of codes.matchAll(/([A-Z]+\w*) (\d+) \(/g)) rcodes[match[1]!] = Number(match[2])
  const spread = /Average Latency \(s\):\s+([\d.]+) \(min ([\d.]+), max ([\d.]+)\)/.exec(output)
  const seconds = number('Run time \\(s\\)')
  const completed = number('Queries completed')
  return {
    sent: number('Queries sent'),
    completed,
    lost: number('Queries lost'),
    rcodes,
    seconds,
    answersPerSecond: completed / seconds,
    latencyMs: {
      average: Number(spread?.[1] ?? Number.NaN) * 1000,
      min: Number(spread?.[2] ?? Number.NaN) * 1000,
      max: Number(spread?.[3] ?? Number.NaN) * 1000,
      stddev: Number(/Latency StdDev \(s\):\s+([\d.]+)/.exec(output)?.[1] ?? Number.NaN) * 1000,
    },
  }
}

function runDnsperf(options: LoadOptions, signal?: AbortSignal): Promise<string> {
  const args = ['-s', options.host ?? '127.0.0.1', '-p', String(options.port), '-d', options.queries]
  args.push('-c', String(options.clients ?? 8), '-q', String(options.outstanding ?? 200))
  args.push('-l', String(options.seconds), '-t', String(ANSWER_TIMEOUT_SECONDS))
  args.push('-O', 'suppress=timeout,unexpected,sendfailed')
  if (options.once === true) args.push('-n', '1')
  if (options.tcp === true) args.push('-m', 'tcp')
  if (options.queriesPerSecond !== undefined) args.push('-Q', String(options.queriesPerSecond))
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  const deadline = AbortSignal.timeout((options.seconds + ANSWER_TIMEOUT_SECONDS + 15) * 1000)
  const child = spawn('dnsperf', args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    signal: signal === undefined ? deadline : AbortSignal.any([signal, deadline]),
    killSignal: 'SIGKILL',
  })
  let output = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors = (errors + text).slice(-2000)))
  child.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT') return reject(error)
    reject(new Error('dnsperf is not installed: apt-get install dnsperf'))
  })
  child.on('close', (code) => {
    if (code === 0) resolve(output)
    else reject(new Error(`dnsperf ${args.join(' ')} ended with ${code}: ${errors.trim()}`))
  })
  return promise
}
