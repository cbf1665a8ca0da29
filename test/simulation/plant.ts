/**
 * `node test/simulation/plant.ts [--first N] [--only TEXT] [--sample K]`: plants one bug after the other in a copy of the
 * source and lets the simulation look for it. A seed counts only if the unchanged source passes it. Prints a table; exit
 * status 1 if a bug is not caught in its seeds, or if the unchanged source fails one of those that were looked at.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, globSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { EPISODE_QUERIES, makeEpisode } from './episode.ts'
import { PLANTED_BUGS } from './planted-bugs.ts'
import type { PlantedBug } from './planted-bugs/planted-bug.ts'
import { runEpisode } from './simulation.ts'

export interface Catch {
  bug: PlantedBug
  /** Below src. */
  file: string
  /** Seeds that it took, null if it was not caught. */
  seeds: number | null
  violation: string
  /** Seeds that the unchanged source fails as well: none, unless the simulation is at fault. */
  unsoundSeeds: number[]
  seconds: number
}

const ROOT: string = new URL('../..', import.meta.url).pathname
/** A bug may make the engine turn in a circle: an episode that lasts so long on any machine is a catch as well. */
const LONGEST_EPISODE_MS = 30_000
/** The whole run, which then is at fault itself. */
const LONGEST_MS = 1_800_000

/**
 * The file below src in which the bug is planted, and its text with the bug. It is found by what it says. Throws if the
 * source has changed so that the bug cannot be planted.
 */
export function withBug(bug: PlantedBug, root: string = ROOT): { file: string; text: string } {
  const src = join(root, 'src')
  const found = globSync('**/*.ts', { cwd: src })
    .map((file) => ({ file, source: readFileSync(join(src, file), 'utf8') }))
    .filter(({ source }) => source.includes(bug.find))
  const [only] = found
  if (only === undefined || found.length > 1 || only.source.split(bug.find).length > 2)
    throw new Error(
      `"${bug.name}": src must have exactly once, not in [${found.map(({ file }) => file).join(', ')}]: ${bug.find}`,
    )
  const text = only.source.replace(bug.find, () => bug.replace)
  if (text === only.source) throw new Error(`"${bug.name}" changes nothing`)
  return { file: only.file, text }
}

/** True if the unchanged source keeps all rules in the episode of a seed. */
function isSound(seed: number): boolean {
  return runEpisode(makeEpisode(seed, EPISODE_QUERIES)).violation === null
}

/**
 * Plants a bug and plays seeds from `first` on until it shows. `passesUnchanged`: tells whether the source without the bug
 * passes a seed; one that it fails shows nothing.
 */
export function plant(bug: PlantedBug, first: number, passesUnchanged: (seed: number) => boolean = isSound): Catch {
  const { file, text } = withBug(bug)
  const folder = mkdtempSync(join(tmpdir(), 'planted-'))
  const startedAt = performance.now()
  const unsoundSeeds: number[] = []
  const outcome = (seeds: number | null, violation: string): Catch => {
    const seconds = (performance.now() - startedAt) / 1000
    return { bug, file, seeds, violation, unsoundSeeds, seconds }
  }
  try {
    cpSync(join(ROOT, 'src'), join(folder, 'src'), { recursive: true })
    mkdirSync(join(folder, 'test'))
    for (const part of ['simulation', 'table'])
      cpSync(join(ROOT, 'test', part), join(folder, 'test', part), { recursive: true })
    cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'src', file), text)
    for (let seed = first; seed < first + bug.seeds; seed++) {
      const found = firstFailure(folder, seed, first + bug.seeds - seed)
      if (typeof found === 'string') return outcome(null, found)
      if (passesUnchanged(found.seed)) return outcome(found.seed - first + 1, found.violation)
      unsoundSeeds.push(found.seed)
      seed = found.seed
    }
    return outcome(null, 'not caught')
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** The first of so many seeds that the source in the folder fails; or why there is none. */
function firstFailure(folder: string, first: number, seeds: number): { seed: number; violation: string } | string {
  const args = ['--seed', first, '--seeds', seeds, '--jobs', 1, '--no-shrink', '--longest', LONGEST_EPISODE_MS]
  const { stdout, status, error } = spawnSync(process.execPath, ['test/simulation/main.ts', ...args.map(String)], {
    cwd: folder,
    encoding: 'utf8',
    timeout: LONGEST_MS,
  })
  if (error !== undefined) throw error
  const found = /^seed ([0-9]+), step [0-9]+: (.*)$/m.exec(stdout)
  if (found === null) return status === 0 ? 'not caught' : 'the simulation itself fails'
  return { seed: Number(found[1]), violation: found[2]!.split(';')[0]!.slice(0, 90) }
}

function main(): number {
  const { values } = parseArgs({
    options: {
      first: { type: 'string', default: '1' },
      skip: { type: 'string', default: '0' },
      only: { type: 'string', default: '' },
      sample: { type: 'string' },
    },
  })
  let bugs = PLANTED_BUGS.slice(Number(values.skip)).filter((bug) => bug.name.includes(values.only))
  const first = Number(values.first)
  if (values.sample !== undefined) {
    const step = Math.max(1, Math.floor(bugs.length / Number(values.sample)))
    bugs = bugs.filter((_, k) => (k + first) % step === 0).slice(0, Number(values.sample))
  }
  console.log('| bug | in | seeds allowed | caught in | by |\n| --- | --- | --- | --- | --- |')
  let missed = 0
  const unsound = new Set<number>()
  for (const bug of bugs) {
    const { file, seeds, unsoundSeeds, violation, seconds } = plant(bug, first)
    if (seeds === null) missed++
    for (const seed of unsoundSeeds) unsound.add(seed)
    console.log(
      `| ${bug.name} | \`${file}\` | ${bug.seeds} | ${seeds ?? '**missed**'} | ${violation.replaceAll('|', '\\|')} |`,
    )
    process.stderr.write(`${seconds.toFixed(1)} s\n`)
  }
  console.log(`\n${bugs.length - missed} of ${bugs.length} caught, seeds from ${first} on`)
  if (unsound.size > 0)
    console.log(`the unchanged source fails as well, and so these do not count: ${[...unsound].join(', ')}`)
  return missed === 0 && unsound.size === 0 ? 0 : 1
}

if (import.meta.main) process.exitCode = main()
