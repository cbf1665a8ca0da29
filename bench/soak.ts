/**
 * byname within a memory limit, for as long as you like: 20,000 questions a second, and a table a second in which every
 * address differs. Writes results/soak.json and soak.svg; the exit status says whether it lived and answered.
 *
 *   node bench/soak.ts                      an hour within 64 MiB
 *   node bench/soak.ts --minutes 5 --memory-mib 48 --hosts 10000 --rate 20000 --pushes-per-second 1 --name soak
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { encodePush } from './load/control-plane.ts'
import { addressAt, movedAddressAt, writeHitFile } from './load/names.ts'
import { probe, type ProbeResult } from './load/probe.ts'
import { isAlive, memory } from './load/process-usage.ts'
import { Servers } from './load/servers.ts'
import { bynameBatch } from './peers/byname.ts'
import { renderLines } from './report/line-chart.ts'
import { describeMachine } from './report/machine.ts'
import { Bench, type Subject } from './scenarios/bench.ts'
import { withControlPlane } from './scenarios/pushed-table.ts'

const MEBIBYTE = 2 ** 20
const SAMPLE_MS = 1000
/** The probe keeps every latency, so it is started anew each minute. */
const STRETCH_SECONDS = 60
/** Share of questions that may be lost; a crowded machine loses more by itself. */
const TOLERATED_SHARE = 0.001

interface Sample {
  seconds: number
  anonymousMb: number
  residentMb: number
  /** What the kernel counts against the limit. */
  chargedMb: number
}

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '60' },
    'memory-mib': { type: 'string', default: '64' },
    hosts: { type: 'string', default: '10000' },
    rate: { type: 'string', default: '20000' },
    'pushes-per-second': { type: 'string', default: '1' },
    name: { type: 'string', default: 'soak' },
  },
})
const seconds = Number(values.minutes) * 60
const limitBytes = Number(values['memory-mib']) * MEBIBYTE
const hosts = Number(values.hosts)
const queriesPerSecond = Number(values.rate)
const pushesPerSecond = Number(values['pushes-per-second'])

await main()

async function main(): Promise<void> {
  const servers = new Servers()
  const folder = mkdtempSync(join(tmpdir(), 'byname-soak-'))
  process.on('exit', () => {
    servers.killAll()
    rmSync(folder, { recursive: true, force: true })
  })
  const interrupted = new AbortController()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort(new Error(signal)))
  const bench = await Bench.start(folder, STRETCH_SECONDS, servers, interrupted.signal)
  const tables = [encodePush(hosts, 'a'), encodePush(hosts, 'b', movedAddressAt)] as const
  const samples: Sample[] = []
  const stretches: ProbeResult[] = []
  let pushes = 0
  let problem: string | null = null
  try {
    await withControlPlane(
      bynameBatch,
      bench,
      tables[0],
      addressAt(0),
      async (subject, plane) => {
        const startedAt = performance.now()
        const elapsed = (): number => (performance.now() - startedAt) / 1000
        const pusher = setInterval(() => plane.push(tables[++pushes % 2]!), 1000 / pushesPerSecond)
        const sampler = setInterval(() => samples.push(sampleOf(subject, elapsed())), SAMPLE_MS)
        try {
          while (elapsed() < seconds) {
            const result = await stretch(subject, Math.min(STRETCH_SECONDS, Math.ceil(seconds - elapsed())), bench)
            stretches.push(result)
            const last = samples.at(-1)!
            console.log(
              `${Math.round(elapsed())} s: ${last.anonymousMb.toFixed(1)} MB anonymous, ${last.residentMb.toFixed(1)} resident, ${last.chargedMb.toFixed(1)} charged; lost ${result.lost} of ${result.sent}, p99.9 ${result.p999Us} µs, worst ${result.maxUs} µs`,
            )
            if (!isAlive(subject.pid)) throw new Error(`byname has ended after ${Math.round(elapsed())} s`)
          }
        } finally {
          clearInterval(pusher)
          clearInterval(sampler)
        }
      },
      { memoryBytes: limitBytes },
    )
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error)
  }
  const lost = stretches.reduce((sum, each) => sum + each.lost, 0)
  const sent = stretches.reduce((sum, each) => sum + each.sent, 0)
  if (problem === null && lost > sent * TOLERATED_SHARE) problem = `lost ${lost} of ${sent} questions`
  save({ samples, stretches, pushes, problem })
  console.log(problem === null ? `lived: ${pushes} pushes, lost ${lost} of ${sent} questions` : `FAILED: ${problem}`)
  process.exit(problem === null ? 0 : 1)
}

function stretch({ port }: Subject, length: number, bench: Bench): Promise<ProbeResult> {
  const queries = bench.queryFile('mesh', (file) => writeHitFile(file, hosts))
  return probe(bench.native, { port, queries, queriesPerSecond, seconds: length, warmupSeconds: 0 }, bench.signal)
}

function sampleOf({ pid, group }: Subject, at: number): Sample {
  const { anonymousBytes, residentBytes } = memory(pid)
  return {
    seconds: at,
    anonymousMb: anonymousBytes / MEBIBYTE,
    residentMb: residentBytes / MEBIBYTE,
    chargedMb: group!.memoryBytes() / MEBIBYTE,
  }
}

function save(result: { samples: Sample[]; stretches: ProbeResult[]; pushes: number; problem: string | null }): void {
  const file = resolve(import.meta.dirname, 'results', values.name)
  mkdirSync(dirname(file), { recursive: true })
  const startedAt = new Date().toISOString()
  writeFileSync(
    `${file}.json`,
    JSON.stringify({ machine: describeMachine(), endedAt: startedAt, options: values, ...result }),
  )
  const line = (
    title: string,
    key: 'anonymousMb' | 'residentMb' | 'chargedMb',
  ): Parameters<typeof renderLines>[0]['lines'][0] => ({
    title,
    points: result.samples.map((sample) => [sample.seconds / 60, sample[key]]),
  })
  writeFileSync(
    `${file}.svg`,
    renderLines({
      title: `${hosts.toLocaleString('en')} hosts, ${queriesPerSecond.toLocaleString('en')} questions and ${pushesPerSecond} push a second, limit ${values['memory-mib']} MiB`,
      xTitle: 'minutes',
      yTitle: 'MiB',
      bound: limitBytes / MEBIBYTE,
      lines: [
        line('charged by the kernel', 'chargedMb'),
        line('resident', 'residentMb'),
        line('anonymous', 'anonymousMb'),
      ],
    }),
  )
}
