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
  for (const pair of pairs) {
    if (await isGrossLoss(pair, bench)) process.exitCode = 1
  }
  process.exit()
}

/** Prints the ratio. A first bad one is measured again before it counts. */
async function isGrossLoss(pair: Pair, bench: Bench): Promise<boolean> {
  const { scenario, peer, goal } = pair
  for (const attempt of [1, 2]) {
    const ratio = await pairedRatio(pair, bench)
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
    if (!isLow) return false
  }
  return true
}

/** Median over the rounds of byname's answers per CPU second divided by the peer's. */
async function pairedRatio({ scenario, peer }: Pair, bench: Bench): Promise<number> {
  const ratios: number[] = []
  for (let round = 0; round < ROUNDS; round++) {
    const own = await scenario.run(bynameBatch, bench)
    const theirs = await scenario.run(peer, bench)
    ratios.push(own['answersPerCpuSecond']! / theirs['answersPerCpuSecond']!)
  }
  return ratios.toSorted((a, b) => a - b)[ROUNDS >> 1]!
}

function skip(reason: string): void {
  console.log(`::warning::SPEED GUARD SKIPPED, nothing was measured: ${reason}`)
}
