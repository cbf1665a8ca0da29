/** `npm run simulate -- --seed N --queries N`: episodes one after the other, on all cores, until one breaks a rule. */
import { parseArgs } from 'node:util'
import { availableParallelism } from 'node:os'
import { Worker, isMainThread, parentPort, workerData } from 'node:worker_threads'
import { type Action, EPISODE_QUERIES, makeEpisode } from './episode.ts'
import { runEpisode } from './simulation.ts'
import { shrink } from './shrink.ts'
import { Violation } from './violation.ts'

/** An episode takes well under a second. */
const LONGEST_EPISODE_MS = 120_000

interface Report {
  seed: number
  queries: number
  virtualMs: number
  upstreamMessages: number
  violation: string | null
  actions: number
  sightings: [string, number][]
}

function play(seed: number, queries: number, kept: number[] | null): Report {
  const episode = makeEpisode(seed, queries)
  if (kept !== null) episode.actions = kept.map((k) => episode.actions[k]!)
  const { violation, ...result } = runEpisode(episode)
  return { seed, ...result, sightings: [...result.sightings], violation: violation?.message ?? null }
}

/** In a thread: plays the seeds that it is sent. */
function work(queries: number): void {
  parentPort!.on('message', (seed: number) => parentPort!.postMessage(play(seed, queries, null)))
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      queries: { type: 'string', default: '100000' },
      seeds: { type: 'string' },
      episode: { type: 'string', default: String(EPISODE_QUERIES) },
      jobs: { type: 'string', default: String(Math.min(8, availableParallelism())) },
      longest: { type: 'string', default: String(LONGEST_EPISODE_MS) },
      keep: { type: 'string' },
      'no-shrink': { type: 'boolean', default: false },
      'keep-going': { type: 'boolean', default: false },
    },
  })
  const seed = values.seed === undefined ? Date.now() % 1_000_000_000 : Number(values.seed)
  const perEpisode = Number(values.episode)
  if (values.keep !== undefined) {
    const report = play(seed, perEpisode, values.keep.split(',').map(Number))
    console.log(report.violation ?? 'no rule was broken')
    return report.violation === null ? 0 : 1
  }
  const startedAt = performance.now()
  const { failed, reports } = await playAll({
    first: seed,
    seeds: Number(values.seeds ?? Number.POSITIVE_INFINITY),
    queries: values.seeds === undefined ? Number(values.queries) : Number.POSITIVE_INFINITY,
    perEpisode,
    jobs: Number(values.jobs),
    longestMs: Number(values.longest),
    keepsGoing: values['keep-going'],
  })
  const seconds = (performance.now() - startedAt) / 1000
  summarize(seed, reports, seconds)
  if (failed === null) return 0
  if (values['keep-going']) return listFailures(reports)
  console.log(`\nseed ${failed.seed}, step ${failed.actions}: ${failed.violation}`)
  // What turns in a circle would do so here as well.
  if (!values['no-shrink'] && failed.actions > 0) explain(failed.seed, perEpisode)
  return 1
}

interface Run {
  first: number
  /** Most seeds, and queries after which no other seed is begun. */
  seeds: number
  queries: number
  perEpisode: number
  jobs: number
  longestMs: number
  keepsGoing: boolean
}

async function playAll(run: Run): Promise<{ failed: Report | null; reports: Report[] }> {
  const { first, seeds, queries, perEpisode, jobs, longestMs, keepsGoing } = run
  const reports: Report[] = []
  let next = first
  let played = 0
  const outcome: { failed: Report | null } = { failed: null }
  const playOn = async (): Promise<void> => {
    let worker = startWorker(perEpisode)
    try {
      while (played < queries && next < first + seeds) {
        if (!keepsGoing && outcome.failed !== null) break
        const seed = next++
        let report = await ask(worker, seed, longestMs)
        if (report === null) {
          report = endless(seed)
          await worker.terminate()
          worker = startWorker(perEpisode)
        }
        reports.push(report)
        played += report.queries
        if (report.violation !== null && (outcome.failed === null || report.seed < outcome.failed.seed))
          outcome.failed = report
      }
    } finally {
      await worker.terminate()
    }
  }
  await Promise.all(Array.from({ length: jobs }, playOn))
  return { failed: outcome.failed, reports }
}

/** Has a thread play a seed; null if that does not end. */
function startWorker(perEpisode: number): Worker {
  // Most of what an episode makes dies young: fewer collections.
  const resourceLimits = { maxYoungGenerationSizeMb: 128 }
  return new Worker(new URL(import.meta.url), { workerData: { perEpisode }, resourceLimits })
}

async function ask(worker: Worker, seed: number, longestMs: number): Promise<Report | null> {
  const { promise, resolve, reject } = Promise.withResolvers<Report | null>()
  const timer = setTimeout(() => resolve(null), longestMs)
  worker.once('message', resolve)
  worker.once('error', reject)
  try {
    worker.postMessage(seed)
    return await promise
  } finally {
    clearTimeout(timer)
    worker.removeAllListeners('error')
  }
}

function endless(seed: number): Report {
  return { seed, queries: 0, virtualMs: 0, upstreamMessages: 0, violation: 'does not end', actions: 0, sightings: [] }
}

function summarize(seed: number, reports: Report[], seconds: number): void {
  const sum = (pick: (report: Report) => number): number => reports.reduce((total, report) => total + pick(report), 0)
  const queries = sum((report) => report.queries)
  console.log(
    `seeds ${seed} … ${seed + reports.length - 1}: ${queries} queries, ${sum((report) => report.upstreamMessages)} to servers, ` +
      `${Math.round(sum((report) => report.virtualMs) / 1000)} s simulated in ${seconds.toFixed(1)} s (${Math.round(queries / seconds)} queries/s)`,
  )
  const sightings = new Map<string, number>()
  for (const report of reports)
    for (const [what, count] of report.sightings) sightings.set(what, (sightings.get(what) ?? 0) + count)
  console.log(
    [...sightings]
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([what, count]) => `${what} ${count}`)
      .join(', '),
  )
}

/** What went wrong how often, alike but for numbers and names. */
function listFailures(reports: Report[]): number {
  const kinds = new Map<string, { count: number; first: Report }>()
  for (const report of reports) {
    if (report.violation === null) continue
    const { kind } = new Violation(report.violation)
    const known = kinds.get(kind)
    if (known === undefined) kinds.set(kind, { count: 1, first: report })
    else known.count++
  }
  for (const { count, first } of [...kinds.values()].toSorted((a, b) => b.count - a.count)) {
    console.log(`${count} × seed ${first.seed}, step ${first.actions}: ${first.violation}`)
  }
  return 1
}

function explain(seed: number, perEpisode: number): void {
  const episode = makeEpisode(seed, perEpisode)
  const { kept, message } = shrink(episode, 20_000)
  console.log(`\nthe shortest trace that still fails: ${message}`)
  for (const k of kept) console.log(`  ${k}: ${describe(episode.actions[k]!)}`)
  console.log(`\nnpm run simulate -- --seed ${seed} --episode ${perEpisode} --keep ${kept.join(',')}`)
}

function describe(action: Action): string {
  const at = `${action.at.toFixed(1)} ms ${action.kind}`
  if (action.kind !== 'query')
    return `${at} ${JSON.stringify({ ...action, at: undefined, kind: undefined, packet: undefined, asked: undefined })}`
  const { asked } = action
  const edns = asked.edns === null ? '' : ` EDNS ${asked.edns.payload}${asked.edns.dnssecOk ? ' DO' : ''}`
  return `${at} ${asked.id} ${JSON.stringify(asked.question.slice(0, -4))} type ${asked.type} flags ${asked.flags.toString(16)}${edns}, client ${action.client}${action.isStream ? ' over a stream' : ''}`
}

if (isMainThread) process.exitCode = await main()
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- from `playAll`
else work((workerData as { perEpisode: number }).perEpisode)
