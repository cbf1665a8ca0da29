/** Measures byname and whichever peers are installed, side by side in one run. See README.md for method and noise. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import type { Native } from './load/native.ts'
import { Servers } from './load/servers.ts'
import { bynameBatch, bynameDgram, otherByname } from './peers/byname.ts'
import { coredns } from './peers/coredns.ts'
import { dnsdist, dnsdistWithoutCache } from './peers/dnsdist.ts'
import { dnsmasq } from './peers/dnsmasq.ts'
import { istioAgent } from './peers/istio-agent.ts'
import { kresd } from './peers/kresd.ts'
import { limitPeer, segmentLimitPeer } from './peers/limit.ts'
import { findProgram, type Peer } from './peers/peer.ts'
import { unbound } from './peers/unbound.ts'
import { renderChart } from './report/chart.ts'
import { format } from './report/figures.ts'
import { describeMachine } from './report/machine.ts'
import { renderMarkdown } from './report/markdown.ts'
import { readResults, type Measurement, type Results, writeResults } from './report/results.ts'
import { Bench } from './scenarios/bench.ts'
import { idle, memoryLarge, memoryMedium, memorySmall, rest } from './scenarios/footprint.ts'
import { cost, latencyBusy, latencyCalm, latencyCrowded } from './scenarios/latency.ts'
import { pushChurn, pushSpeed, pushUnderLoad } from './scenarios/push.ts'
import { restarts } from './scenarios/restarts.ts'
import type { Scenario } from './scenarios/scenario.ts'
import { startLimited, startUp } from './scenarios/start.ts'
import { cacheHit, meshHit, miss, mixed, nxdomain, tcpHit } from './scenarios/throughput.ts'
import { workers } from './scenarios/workers.ts'

const RESULTS = join(import.meta.dirname, 'results')

const SCENARIOS: readonly Scenario[] = [
  meshHit,
  cacheHit,
  miss,
  mixed,
  tcpHit,
  nxdomain,
  latencyCalm,
  latencyBusy,
  latencyCrowded,
  cost,
  pushSpeed,
  pushUnderLoad,
  pushChurn,
  memorySmall,
  memoryMedium,
  memoryLarge,
  rest,
  startUp,
  startLimited,
  idle,
  workers,
  restarts,
]

/** Several scenarios under one name. */
const GROUPS: Readonly<Record<string, readonly Scenario[]>> = {
  footprint: [memorySmall, memoryMedium, memoryLarge, rest, startUp, startLimited, idle],
  latency: [latencyCalm, latencyBusy, latencyCrowded, cost],
  push: [pushSpeed, pushUnderLoad, pushChurn],
}

const SCENARIO_NAMES: string = [...Object.keys(GROUPS), ...SCENARIOS.map(({ id }) => id)].join(', ')

/** In the order measured. */
function peersWith(native: Native): readonly Peer[] {
  const limits = [limitPeer(native), segmentLimitPeer(native)]
  const others = [unbound, dnsmasq, dnsdist, dnsdistWithoutCache, kresd, coredns, istioAgent]
  return [bynameBatch, bynameDgram, ...limits, ...others]
}

const HELP = `npm run bench -- [options]

Measures byname and the DNS servers installed here, side by side, on loopback.
  --scenario LIST   only these: ${SCENARIO_NAMES}
  --only LIST       only these, by the start of their ids: byname,unbound
  --rounds N        alternating rounds a scenario, 5
  --seconds N       length of one measurement, 5
  --also DIR        byname of another checkout as one more peer: what a change has brought
  --quick           3 rounds of 2 seconds
  --name NAME       results/NAME.json, or a path without its extension; a scenario measured again replaces the one in
                    it. A full run is named after the day and becomes latest; anything less is named partial
  --render NAME     only writes results/NAME.md and .svg again from the JSON
It installs nothing. It needs dnsperf (apt-get install dnsperf) and is better with gcc.`

interface Options {
  scenarios: readonly Scenario[]
  only: string[]
  also: string | undefined
  rounds: number
  seconds: number
  name: string
  isFull: boolean
}

await main()

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scenario: { type: 'string', multiple: true },
      only: { type: 'string' },
      also: { type: 'string' },
      rounds: { type: 'string' },
      seconds: { type: 'string' },
      quick: { type: 'boolean', default: false },
      name: { type: 'string' },
      render: { type: 'string' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help) return console.log(HELP)
  if (values.render !== undefined) return render(readResults(fileOf(values.render, 'json')), [values.render])
  const asked = values.scenario?.flatMap((list) => list.split(','))
  const wanted = asked?.flatMap((id) => GROUPS[id]?.map((scenario) => scenario.id) ?? [id])
  const unknown = (wanted ?? []).find((id) => SCENARIOS.every((scenario) => scenario.id !== id))
  if (unknown !== undefined) return fail(`--scenario ${unknown}: use ${SCENARIO_NAMES}`)
  if (findProgram('dnsperf') === undefined) return fail('dnsperf is not installed: apt-get install dnsperf')
  const isFull = values.scenario === undefined && values.only === undefined && !values.quick
  await run({
    scenarios: SCENARIOS.filter(({ id }) => wanted === undefined || wanted.includes(id)),
    only: values.only?.split(',') ?? [''],
    also: values.also,
    rounds: Number(values.rounds ?? (values.quick ? 3 : 5)),
    seconds: Number(values.seconds ?? (values.quick ? 2 : 5)),
    name: values.name ?? (isFull ? new Date().toISOString().slice(0, 10) : 'partial'),
    isFull,
  })
}

async function run(options: Options): Promise<void> {
  const servers = new Servers()
  const folder = mkdtempSync(join(tmpdir(), 'byname-bench-'))
  const interrupted = new AbortController()
  // The last resort: whatever ends this process, no server and no file stays behind.
  process.on('exit', () => {
    servers.killAll()
    rmSync(folder, { recursive: true, force: true })
  })
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => interrupted.abort(new Error(signal)))

  const bench = await Bench.start(folder, options.seconds, servers, interrupted.signal)
  const results = await measureAll(bench, options)
  const names = options.isFull && !interrupted.signal.aborted ? [options.name, 'latest'] : [options.name]
  save(results, names)
  render(results, names)
  console.log(renderMarkdown(results, SCENARIOS, peersWith({})))
  process.exit(interrupted.signal.aborted ? 1 : 0)
}

async function measureAll(bench: Bench, options: Options): Promise<Results> {
  const all = peersWith(bench.native)
  const own = options.also === undefined ? [] : [otherByname(options.also)]
  const wanted = own.concat(all.filter((peer) => options.only.some((start) => peer.id.startsWith(start))))
  const versions = new Map(wanted.map((peer) => [peer.id, peer.version()]))
  const peers = wanted.filter((peer) => versions.get(peer.id) !== undefined)
  const missing = wanted.filter((peer) => versions.get(peer.id) === undefined)
  for (const peer of missing) note(`not here: ${peer.title} (${peer.install})`)

  const results = resultsToExtend(options)
  const known = new Set(peers.map((peer) => peer.id))
  results.peers = [
    ...peers.map(({ id, title }) => ({ id, title, version: versions.get(id)! })),
    ...results.peers.filter((peer) => !known.has(peer.id)),
  ]
  for (const scenario of options.scenarios) {
    if (bench.signal.aborted) break
    const able = peers.filter((peer) => scenario.needs.every((ability) => peer.abilities.includes(ability)))
    results.measurements = results.measurements.filter((one) => one.scenario !== scenario.id)
    results.runs[scenario.id] = {
      startedAt: new Date().toISOString(),
      rounds: roundsOf(scenario, options),
      seconds: options.seconds,
      about: scenario.about,
      versions: Object.fromEntries(able.map(({ id }) => [id, versions.get(id)!])),
      notInstalled: missing.map(({ id }) => id),
    }
    await measureScenario(scenario, able, bench, options, results.measurements)
    if (results.measurements.every((one) => one.scenario !== scenario.id)) delete results.runs[scenario.id]
    // An interrupted run keeps what it has.
    save(results, [options.name])
  }
  return results
}

/** The peers in turn, round after round: a slow minute of the machine hits all of them. */
async function measureScenario(
  scenario: Scenario,
  peers: Peer[],
  bench: Bench,
  options: Options,
  into: Measurement[],
): Promise<void> {
  const headline = scenario.metrics[0]!
  const rounds = roundsOf(scenario, options)
  for (let round = 0; round < rounds; round++) {
    for (const peer of peers) {
      if (bench.signal.aborted) return
      const about = `${scenario.id} ${round + 1}/${rounds} ${peer.id}`
      try {
        const values = await scenario.run(peer, bench)
        into.push({ scenario: scenario.id, peer: peer.id, round, values })
        note(`${about}: ${format(values[headline.key] ?? Number.NaN, headline.unit)} ${headline.title}`)
      } catch (error) {
        if (bench.signal.aborted) return
        into.push({ scenario: scenario.id, peer: peer.id, round, error: String(error) })
        note(`${about}: FAILED: ${String(error)}`)
      }
    }
  }
}

function roundsOf({ mostRounds = Number.POSITIVE_INFINITY }: Scenario, { rounds }: Options): number {
  return Math.min(rounds, mostRounds)
}

function resultsToExtend({ name, isFull }: Options): Results {
  const fresh: Results = { format: 1, machine: describeMachine(), runs: {}, peers: [], measurements: [] }
  if (isFull) return fresh
  try {
    return { ...readResults(fileOf(name, 'json')), machine: fresh.machine }
  } catch {
    return fresh
  }
}

function save(results: Results, names: string[]): void {
  for (const name of names) {
    mkdirSync(dirname(fileOf(name, 'json')), { recursive: true })
    writeResults(fileOf(name, 'json'), results)
  }
}

function render(results: Results, names: string[]): void {
  const chart = renderChart(results, SCENARIOS)
  for (const name of names) {
    writeFileSync(fileOf(name, 'md'), renderMarkdown(results, SCENARIOS, peersWith({})))
    if (chart !== '') writeFileSync(fileOf(name, 'svg'), chart)
  }
}

/** In the results folder, unless the name is a path of its own. */
function fileOf(name: string, extension: string): string {
  return resolve(RESULTS, `${name}.${extension}`)
}

function note(text: string): void {
  process.stderr.write(`${text}\n`)
}

function fail(text: string): void {
  note(text)
  process.exitCode = 2
}
