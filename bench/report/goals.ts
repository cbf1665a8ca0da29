/** The figures that byname has set itself, held against a result file. */
import { format, formatCount, formatRatio, formatSummary } from './figures.ts'
import { failedRounds, pairedRatio, type Results, summarize, SUBJECT } from './results.ts'

export interface Verdict {
  goal: string
  reached: string
  /** The peer's figure in the same run. */
  peer: string
  /** Undefined if it was not measured. */
  met: boolean | undefined
}

/** Of the restarts it takes to say that they lose nothing. */
const MANY_RESTARTS = 100

interface Goal {
  title: string
  judge: (results: Results) => { reached: string; peer?: string; met: boolean | undefined } | undefined
}

const GOALS: readonly Goal[] = [
  faster('mesh-hit', 'Mesh hit', 0.85, 'limit'),
  faster('mesh-hit', 'Mesh hit', 0.9, 'limit-segment'),
  faster('mesh-hit', 'Mesh hit', 1.2, 'unbound'),
  faster('mesh-hit', 'Mesh hit', 1.6, 'dnsmasq'),
  faster('cache-hit', 'Cache hit', 1.2, 'unbound'),
  faster('cache-hit', 'Cache hit', 1.6, 'dnsdist'),
  faster('miss', 'Miss', 1.1, 'dnsdist'),
  faster('miss', 'Miss', 4, 'unbound'),
  faster('tcp-hit', 'TCP, pipelined', 4, 'unbound'),
  sooner('latency-1000', 'p50 at 1,000 q/s', 'p50Us', 1.1, 'unbound'),
  sooner('latency-20000', 'p99 at 20,000 q/s', 'p99Us', 1, 'unbound'),
  sooner('latency-crowded', 'p99 at 20,000 q/s, a busy neighbour on each core', 'p99Us', 2, 'unbound'),
  sooner('cost', 'CPU time an answer at 100 q/s', 'cpuUs100', 1, 'unbound'),
  sooner('cost', 'CPU time an answer at 1,000 q/s', 'cpuUs1000', 1, 'unbound'),
  sooner('cost', 'CPU time an answer at 1,000 q/s', 'cpuUs1000', 1, 'dnsmasq'),
  atMost('push-speed', 'Push of 100,000 hosts → first new answer', 'newAnswerMs', 300, 'ms'),
  noneLost('push-load', 'The same under 20,000 q/s: no question lost'),
  {
    title: 'The same under 20,000 q/s: worst answer ≤ 10 ms or ≤ 1.5 × the worst without pushes',
    judge: (results) => {
      const worst = summarize(results, 'push-load', SUBJECT, 'worstMs')
      const quiet = summarize(results, 'push-load', SUBJECT, 'quietWorstMs')
      if (worst === undefined || quiet === undefined) return undefined
      const reached = `${formatSummary(worst, 'ms')}, without ${formatSummary(quiet, 'ms')}`
      return { reached, met: worst.median <= Math.max(10, 1.5 * quiet.median) }
    },
  },
  {
    title: '20 pushes a second of 1,000 hosts: answers per CPU second left ≥ 95 %',
    judge: (results) => {
      const share = summarize(results, 'push-churn', SUBJECT, 'share')
      return share && { reached: formatSummary(share, '%'), met: share.median >= 95 }
    },
  },
  {
    title: `${MANY_RESTARTS} restarts under 20,000 q/s: no question lost`,
    judge: (results) => {
      const verdict = judgeLosses(results, 'restarts')
      const done = summarize(results, 'restarts', SUBJECT, 'restarts')?.total ?? 0
      if (verdict === undefined) return undefined
      const reached = `${verdict.reached}, restarts ${formatCount(done)}`
      // Too few that lose nothing prove nothing; a loss is one after however many.
      return { reached, met: verdict.met && done < MANY_RESTARTS ? undefined : verdict.met }
    },
  },
  atMost('rest', 'At rest: anonymous memory, 10,000 hosts', 'anonymousMb10k', 35, 'MB'),
  atMost('rest', 'At rest: resident memory, 10,000 hosts', 'residentMb10k', 80, 'MB'),
  atMost('rest', 'At rest: anonymous memory, 100,000 hosts', 'anonymousMb100k', 50, 'MB'),
  atMost('rest', 'At rest: anonymous memory, 100,000 hosts from a file', 'anonymousMbFile', 60, 'MB'),
  atMost('memory-10k', 'Anonymous memory at 10,000 hosts', 'anonymousMb', 60, 'MB'),
  atMost('memory-100k', 'Anonymous memory at 100,000 hosts', 'anonymousMb', 90, 'MB'),
  {
    title: 'Peak of anonymous memory during a push of 100,000 ≤ 2 × before',
    judge: (results) => {
      const rest = summarize(results, 'push-speed', SUBJECT, 'restAnonymousMb')
      const peak = summarize(results, 'push-speed', SUBJECT, 'peakAnonymousMb')
      if (rest === undefined || peak === undefined) return undefined
      return {
        reached: `${formatSummary(peak, 'MB')}, ${(peak.median / rest.median).toFixed(2)} ×`,
        met: peak.median <= 2 * rest.median,
      }
    },
  },
  atMost('start-up', 'Start → first mesh answer, 10,000 hosts, over Node alone', 'overNodeMs', 150, 'ms'),
  atMost('start-limited', 'The same with a CPU limit of 100m', 'firstAnswerMs', 2500, 'ms'),
  atMost('start-limited', 'The same: CPU time', 'cpuMs', 250, 'ms'),
  atMost('idle', 'Idle, of one core', 'cpuPercent', 0.2, '%'),
  {
    title: 'Two workers: answers per CPU second ≥ 0.9 × those of one',
    judge: (results) => {
      const efficiency = summarize(results, 'workers', SUBJECT, 'efficiency')
      return efficiency && { reached: formatRatio(efficiency), met: efficiency.median >= 0.9 }
    },
  },
]

/** Every goal with what was reached. Those of which nothing was measured say so. */
export function judgeGoals(results: Results): Verdict[] {
  return GOALS.map(({ title, judge }) => {
    const verdict = judge(results)
    if (verdict === undefined) return { goal: title, reached: 'not measured', peer: '', met: undefined }
    return { goal: title, peer: '', ...verdict }
  })
}

/** At least `factor` times the peer's answers per CPU second. */
function faster(scenario: string, title: string, factor: number, peer: string): Goal {
  const metric = 'answersPerCpuSecond'
  return {
    title: `${title} ≥ ${factor} × ${peer}`,
    judge: (results) => compare(results, scenario, metric, '', peer, (ratio) => ratio >= factor),
  }
}

/** At most `factor` times the peer's time. */
function sooner(scenario: string, title: string, metric: string, factor: number, peer: string): Goal {
  return {
    title: `${title} ≤ ${factor} × ${peer}`,
    judge: (results) => compare(results, scenario, metric, 'µs', peer, (ratio) => ratio <= factor),
  }
}

function atMost(scenario: string, title: string, metric: string, bound: number, unit: string): Goal {
  return {
    title: `${title} ≤ ${format(bound, unit)}`,
    judge: (results) => {
      const reached = summarize(results, scenario, SUBJECT, metric)
      return reached && { reached: formatSummary(reached, unit), met: reached.median <= bound }
    },
  }
}

/** Held in every single round: a median would hide two bad ones of five. */
function noneLost(scenario: string, title: string): Goal {
  return { title, judge: (results) => judgeLosses(results, scenario) }
}

/** A round that failed is no round without losses. */
function judgeLosses(results: Results, scenario: string): { reached: string; met: boolean } | undefined {
  const lost = summarize(results, scenario, SUBJECT, 'lost')
  const failed = failedRounds(results, scenario, SUBJECT)
  if (lost === undefined && failed === 0) return undefined
  const parts = failed === 0 ? [] : [`rounds failed: ${failed}`]
  if (lost !== undefined) {
    parts.unshift(`lost ${formatCount(lost.total)}`)
    if (lost.rounds > 1 && lost.max > 0) parts.push(`${formatCount(lost.max)} in the worst round`)
    if (lost.max > 0) parts.push(...whereLost(results, scenario))
  }
  return { reached: parts.join(', '), met: lost !== undefined && lost.max <= 0 && failed === 0 }
}

function whereLost(results: Results, scenario: string): string[] {
  const server = summarize(results, scenario, SUBJECT, 'serverDrops')
  const client = summarize(results, scenario, SUBJECT, 'clientDrops')
  if (server === undefined || client === undefined) return []
  return [`dropped at the server’s sockets ${formatCount(server.total)}, at the client’s ${formatCount(client.total)}`]
}

function compare(
  results: Results,
  scenario: string,
  metric: string,
  unit: string,
  peer: string,
  isMet: (ratio: number) => boolean,
): ReturnType<Goal['judge']> {
  const ratio = pairedRatio(results, scenario, metric, SUBJECT, peer)
  const own = summarize(results, scenario, SUBJECT, metric)
  const theirs = summarize(results, scenario, peer, metric)
  if (ratio === undefined || own === undefined || theirs === undefined) return undefined
  return {
    reached: `${formatRatio(ratio)}, ${format(own.median, unit)}`,
    peer: format(theirs.median, unit),
    met: isMet(ratio.median),
  }
}
