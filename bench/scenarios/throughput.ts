/** As many questions as go: what an answer costs the server. */
import { load, measure, type LoadResult } from '../load/dnsperf.ts'
import { writeHitFile, writeMissFile, writeMixedFile } from '../load/names.ts'
import { cpuSeconds, memory } from '../load/process-usage.ts'
import type { Bench, Subject } from './bench.ts'
import { ANSWERS_PER_CPU_SECOND, type Metric, type Scenario, type Values } from './scenario.ts'

export const HOSTS = 10_000

/** More than any server here answers in a second: files of unique names must not run out. */
const MOST_PER_SECOND = 160_000
const WARM_UP_SECONDS = 1
/** Share of answers that may be lost or carry another rcode before a measurement is void. */
const TOLERATED_SHARE = 0.01
const CACHED_PATTERN = 'cached-{n}.z{ns}.example.net'
const ABSENT_PATTERN = 'absent-{n}.z{ns}.example.net'

const METRICS: readonly Metric[] = [
  ANSWERS_PER_CPU_SECOND,
  { key: 'answersPerSecond', title: 'answers per second', unit: '', better: 'more' },
  { key: 'anonymousMb', title: 'anonymous memory', unit: 'MB', better: 'less' },
]

/** What is asked, and what must come back. */
interface Traffic {
  measured: (bench: Bench) => string
  /** Asked once, in full, before: fills the cache. */
  filling?: (bench: Bench) => string
  /** Asked before for a second: other names than the measured ones where those must be new. */
  warming: (bench: Bench) => string
  /** Every name once. */
  once: boolean
  tcp: boolean
  rcode: string
}

const meshNames = (bench: Bench): string => bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
const cachedNames = (bench: Bench): string =>
  bench.queryFile('cached', (file) => writeHitFile(file, HOSTS, CACHED_PATTERN))
const absentNames = (bench: Bench): string =>
  bench.queryFile('absent', (file) => writeHitFile(file, HOSTS, ABSENT_PATTERN))
const newNames = (bench: Bench): string =>
  bench.queryFile('new', (file) => writeMissFile(file, Math.ceil(bench.seconds * MOST_PER_SECOND), 'm'))
const otherNewNames = (bench: Bench): string =>
  bench.queryFile('other-new', (file) => writeMissFile(file, WARM_UP_SECONDS * MOST_PER_SECOND, 'w'))
const mixedNames = (bench: Bench): string =>
  bench.queryFile('mixed', (file) => writeMixedFile(file, Math.ceil(bench.seconds * MOST_PER_SECOND), HOSTS, 'x'))

const HIT = { once: false, tcp: false, rcode: 'NOERROR' }

export const meshHit: Scenario = throughput(
  'mesh-hit',
  'Mesh hit',
  '10,000 names of the mesh, each in the server’s own table.',
  ['mesh'],
  { ...HIT, measured: meshNames, warming: meshNames },
)

export const cacheHit: Scenario = throughput(
  'cache-hit',
  'Cache hit',
  '10,000 names that the upstream has answered before.',
  ['cache'],
  { ...HIT, measured: cachedNames, warming: cachedNames, filling: cachedNames },
)

export const miss: Scenario = throughput('miss', 'Miss', 'Every name is new and goes upstream.', ['forward'], {
  measured: newNames,
  warming: otherNewNames,
  once: true,
  tcp: false,
  rcode: 'NOERROR',
})

export const mixed: Scenario = throughput(
  'mixed',
  'Mixed 90/10',
  'Nine mesh hits, then one new name that goes upstream.',
  ['table', 'forward'],
  { measured: mixedNames, warming: meshNames, once: true, tcp: false, rcode: 'NOERROR' },
)

export const tcpHit: Scenario = throughput(
  'tcp-hit',
  'TCP, pipelined',
  'Mesh hits over eight connections, up to 25 questions on their way on each.',
  ['table', 'tcp'],
  { ...HIT, measured: meshNames, warming: meshNames, tcp: true },
)

export const nxdomain: Scenario = throughput(
  'nxdomain',
  'NXDOMAIN, cached',
  '10,000 names that the upstream has denied before.',
  ['cache'],
  { ...HIT, measured: absentNames, warming: absentNames, filling: absentNames, rcode: 'NXDOMAIN' },
)

function throughput(id: string, title: string, about: string, needs: Scenario['needs'], traffic: Traffic): Scenario {
  return {
    id,
    title,
    about,
    needs,
    metrics: METRICS,
    run: (peer, bench) =>
      bench.withServer(peer, { hosts: HOSTS }, async (subject) => {
        await warmUp(subject, traffic, bench)
        return await measureTraffic(subject, traffic, bench)
      }),
  }
}

async function warmUp({ port }: Subject, traffic: Traffic, bench: Bench): Promise<void> {
  const { filling, warming, once, tcp } = traffic
  if (filling !== undefined) {
    // Twice, and not at full speed: a question lost the first time must not be a miss in the measurement.
    const fill = { port, queries: filling(bench), seconds: 20, once: true, outstanding: 50 }
    await load(fill, bench.signal)
    await load(fill, bench.signal)
  }
  await load({ port, queries: warming(bench), seconds: WARM_UP_SECONDS, once, tcp }, bench.signal)
}

async function measureTraffic({ pid, port }: Subject, traffic: Traffic, bench: Bench): Promise<Values> {
  const { measured, once, tcp, rcode } = traffic
  const upstreamBefore = cpuSeconds(bench.upstream.pid)
  const result = await measure(pid, { port, queries: measured(bench), seconds: bench.seconds, once, tcp }, bench.signal)
  const upstreamUsed = cpuSeconds(bench.upstream.pid) - upstreamBefore
  requireAnswers(result, rcode)
  return {
    answersPerCpuSecond: result.answersPerCpuSecond,
    answersPerSecond: result.answersPerSecond,
    anonymousMb: memory(pid).anonymousBytes / 2 ** 20,
    averageMs: result.latencyMs.average,
    cores: result.cpuSeconds / result.seconds,
    // Near 1 the upstream would be what is measured; above 0 on hits the cache would be no cache.
    upstreamCores: upstreamUsed / result.seconds,
    lost: result.lost,
  }
}

/** A server that loses or refuses is not fast. Throws if more than a hundredth of the answers is missing or wrong. */
export function requireAnswers(result: Pick<LoadResult, 'sent' | 'lost' | 'rcodes'>, rcode: string): void {
  const right = result.rcodes[rcode] ?? 0
  if (right > 0 && right >= result.sent * (1 - TOLERATED_SHARE)) return
  throw new Error(
    `of ${result.sent} questions ${right} got ${rcode}: ${JSON.stringify(result.rcodes)}, ${result.lost} lost`,
  )
}
