/**
 * `node test/simulation/plant.ts [--first N] [--only TEXT] [--sample K]`: plants one bug after the other in a copy of the
 * source and lets the simulation look for it. Prints a table; exit status 1 if one is not caught in its seeds.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { PLANTED_BUGS, type PlantedBug } from './planted-bugs.ts'

export interface Catch {
  bug: PlantedBug
  /** Seeds that it took, null if it was not caught. */
  seeds: number | null
  violation: string
  seconds: number
}

const ROOT: string = new URL('../..', import.meta.url).pathname
/** A bug may make the engine turn in a circle: an episode that lasts so long on any machine is a catch as well. */
const LONGEST_EPISODE_MS = 30_000
/** The whole run, which then is at fault itself. */
const LONGEST_MS = 1_800_000

/** The file in which the bug is planted, with the bug. Throws if the source has changed so that it cannot be planted. */
export function withBug(bug: PlantedBug, root: string = ROOT): string {
  const source = readFileSync(join(root, 'src', bug.file), 'utf8')
  if (source.split(bug.find).length !== 2)
    throw new Error(`"${bug.name}": src/${bug.file} must have exactly once: ${bug.find}`)
  return source.replace(bug.find, () => bug.replace)
}

/** Plants a bug and plays seeds from `first` on until it shows. */
export function plant(bug: PlantedBug, first: number): Catch {
  const folder = mkdtempSync(join(tmpdir(), 'planted-'))
  try {
    cpSync(join(ROOT, 'src'), join(folder, 'src'), { recursive: true })
    mkdirSync(join(folder, 'test'))
    for (const part of ['simulation', 'table'])
      cpSync(join(ROOT, 'test', part), join(folder, 'test', part), { recursive: true })
    cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'src', bug.file), withBug(bug, folder))
    const startedAt = performance.now()
    const args = [
      'test/simulation/main.ts',
      '--seed',
      String(first),
      '--seeds',
      String(bug.seeds),
      '--jobs',
      '1',
      '--no-shrink',
      '--longest',
      String(LONGEST_EPISODE_MS),
    ]
    const { stdout, status, error } = spawnSync(process.execPath, args, {
      cwd: folder,
      encoding: 'utf8',
      timeout: LONGEST_MS,
    })
    const seconds = (performance.now() - startedAt) / 1000
    if (error !== undefined) throw error
    const found = /^seed ([0-9]+), step [0-9]+: (.*)$/m.exec(stdout)
    if (found === null)
      return { bug, seeds: null, violation: status === 0 ? 'not caught' : 'the simulation itself fails', seconds }
    return { bug, seeds: Number(found[1]) - first + 1, violation: found[2]!.split(';')[0]!.slice(0, 90), seconds }
  } finally {
    rmSync(folder, { recursive: true })
  }
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
  const sound = plant(
    {
      name: 'none',
      file: 'dns/constants.ts',
      find: 'export const CLASS_IN = 1',
      replace: 'export const CLASS_IN = 1',
      seeds: 60,
    },
    first,
  )
  if (sound.seeds !== null) {
    console.log(`without any bug: seed ${first + sound.seeds - 1}: ${sound.violation}`)
    return 1
  }
  console.log('| bug | in | seeds allowed | caught in | by |\n| --- | --- | --- | --- | --- |')
  let missed = 0
  for (const bug of bugs) {
    const { seeds, violation, seconds } = plant(bug, first)
    if (seeds === null) missed++
    console.log(
      `| ${bug.name} | \`${bug.file}\` | ${bug.seeds} | ${seeds ?? '**missed**'} | ${violation.replaceAll('|', '\\|')} |`,
    )
    process.stderr.write(`${seconds.toFixed(1)} s\n`)
  }
  console.log(`\n${bugs.length - missed} of ${bugs.length} caught, seeds from ${first} on`)
  return missed === 0 ? 0 : 1
}

if (import.meta.main) process.exitCode = main()
