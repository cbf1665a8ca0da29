/**
 * The regression guard of CI: a short paired run against the C limit and unbound, whichever are here. A shared machine
 * is noisy, so it fails only on a gross loss, under half of the goal, and only if a second look finds the same.
 *
 *   node bench/guard.ts
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Servers } from './load/servers.ts'
import { bynameBatch } from './peers/byname.ts'
import { limitPeer } from './peers/limit.ts'
import { findProgram, type Peer } from './peers/peer.ts'
import { unbound } from './peers/unbound.ts'
import { Bench } from './scenarios/bench.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { cacheHit, meshHit, miss, tcpHit } from './scenarios/throughput.ts'

const SECONDS = 2
const ROUNDS = 3
/** A ratio below this share of its goal is a gross loss. */
const GROSS = 0.5

interface Pair {
  scenario: Scenario
  peer: Peer
  /** byname's answers per CPU second over the peer's: the goal, not what fails. */
  goal: number
}

type Verdict = 'ok' | 'void' | 'gross loss'

await main()

async function main(): Promise<void> {
  if (findProgram('dnsperf') === undefined) return skip('dnsperf is not installed (apt-get install dnsperf)')
  const servers = new Servers()
  const folder = mkdtempSync(join(tmpdir(), 'byname-guard-'))
  process.on('exit', () => {
    servers.killAll()
    rmSync(folder, { recursive: true, force: true })
  })
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort(new Error(signal)))

  const bench = await Bench.start(folder, SECONDS, servers, interrupted.signal)
  const limit = limitPeer(bench.native)
  const pairs = [
    { scenario: meshHit, peer: limit, goal: 0.85 },
    { scenario: meshHit, peer: unbound, goal: 1.2 },
    { scenario: cacheHit, peer: unbound, goal: 1.2 },
    { scenario: miss, peer: unbound, goal: 4 },
    { scenario: tcpHit, peer: unbound, goal: 4 },
  ].filter(({ peer }) => peer.version() !== undefined)
  if (pairs.length === 0) skip(`neither ${limit.install} nor ${unbound.install}: nothing to compare with`)
  const verdicts: Verdict[] = []
  for (const pair of pairs) verdicts.push(await judge(pair, bench))
  if (pairs.length > 0 && verdicts.every((verdict) => verdict === 'void')) skip('every pair was void')
  if (verdicts.includes('gross loss')) process.exitCode = 1
  process.exit()
}

/** Prints the ratio. A first bad one is measured again before it counts; what cannot be measured is no loss. */
async function judge(pair: Pair, bench: Bench): Promise<Verdict> {
  const { scenario, peer, goal } = pair
  for (const attempt of [1, 2]) {
    const ratio = await pairedRatio(pair, bench)
    if (typeof ratio === 'string') return ratio
    const isLow = ratio < goal * GROSS
    const verdict = isLow
      ? attempt === 1
        ? 'low, once more'
        : 'GROSS LOSS'
      : ratio < goal
        ? 'ok, below the goal'
        : 'ok'
    const line = `${scenario.title}: ${ratio.toFixed(2)} × ${peer.title} (goal ${goal}, fails below ${(goal * GROSS).toFixed(2)})`
    console.log(`${line}: ${verdict}`)
    if (!isLow) return 'ok'
  }
  return 'gross loss'
}

/** Median over the rounds of byname's answers per CPU second divided by the peer's, or why there is none. */
async function pairedRatio({ scenario, peer }: Pair, bench: Bench): Promise<number | 'void' | 'gross loss'> {
  const ratios: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const about = `${scenario.title}, round ${round + 1}`
    const first = await measureRound(scenario, peer, about, bench)
    const last = isComplete(first) ? first : await measureRound(scenario, peer, `${about} again`, bench)
    if (last.own !== undefined && last.theirs !== undefined) {
      ratios.push(last.own / last.theirs)
      continue
    }
    // The same machine in the same seconds was good enough for the peer, both times: this is not the machine's noise.
    if ([first, last].every(({ own, theirs }) => own === undefined && theirs !== undefined)) {
      console.log(`${about}: GROSS LOSS: byname failed twice, ${peer.title} did not`)
      return 'gross loss'
    }
    console.log(
      `::warning::SPEED GUARD: ${scenario.title} beside ${peer.title} LEFT OUT, not compared: a round was void twice`,
    )
    return 'void'
  }
  return ratios.toSorted((a, b) => a - b)[ROUNDS >> 1]!
}

/** Answers per CPU second, absent where the measurement failed: a server that lost answers was not measured. */
interface Round {
  own: number | undefined
  theirs: number | undefined
}

async function measureRound(scenario: Scenario, peer: Peer, about: string, bench: Bench): Promise<Round> {
  const own = await measureOnce(scenario, bynameBatch, about, bench)
  const theirs = await measureOnce(scenario, peer, about, bench)
  return { own, theirs }
}

async function measureOnce(scenario: Scenario, peer: Peer, about: string, bench: Bench): Promise<number | undefined> {
  try {
    const { answersPerCpuSecond } = await scenario.run(peer, bench)
    // Too little CPU time to count is NaN.
    return Number.isFinite(answersPerCpuSecond) ? answersPerCpuSecond : undefined
  } catch (error) {
    bench.signal.throwIfAborted()
    console.log(`${about}: void: ${peer.title}: ${error instanceof Error ? error.message : String(error)}`)
    return undefined
  }
}

function isComplete({ own, theirs }: Round): boolean {
  return own !== undefined && theirs !== undefined
}

function skip(reason: string): void {
  console.log(`::warning::SPEED GUARD SKIPPED, nothing was measured: ${reason}`)
}
