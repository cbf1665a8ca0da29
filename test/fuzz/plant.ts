/**
 * `node test/fuzz/plant.ts [--only TEXT]`: plants one bug after the other in a copy of the source and lets the fuzzer look
 * for it. Prints a table; exit status 1 if one is not found. It shows that the fuzzer can fail.
 */
import { spawnSync } from 'node:child_process'
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

/** A place in the source, which must be there exactly once, and what stands there with the bug. */
export interface PlantedBug {
  name: string
  file: string
  find: string
  replace: string
  target?: 'framing'
}

const ROOT: string = new URL('../..', import.meta.url).pathname
const MOST_PACKETS = 2_000_000

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'a question of 256 bytes is taken',
    file: 'dns/name.ts',
    find: 'to + length + 2 > MAX_NAME',
    replace: 'to + length + 1 > MAX_NAME',
  },
  {
    name: 'a label of a reserved kind is taken',
    file: 'dns/name.ts',
    find: 'if (length > MAX_LABEL || to + length + 2',
    replace: 'if (to + length + 2',
  },
  {
    name: 'a second OPT of a query is taken',
    file: 'dns/query.ts',
    find: 'if (query.hasEdns || packet[owner] !== 0) return Rcode.FORMERR',
    replace: 'if (packet[owner] !== 0) return Rcode.FORMERR',
  },
  {
    name: 'messages of other opcodes get no OPT back',
    file: 'dns/query.ts',
    find: '    seekOpt(query)\n    return Rcode.NOTIMP\n',
    replace: '    return Rcode.NOTIMP\n',
  },
  {
    name: 'a pointer may lead into the header',
    file: 'dns/record-check.ts',
    find: ' || target < start + HEADER_BYTES) return -1',
    replace: ') return -1',
  },
  {
    name: 'names may lead anywhere before them',
    file: 'dns/record-check.ts',
    find: 'bound = Math.min(lowest, fieldEnd(read, target))',
    replace: 'bound = lowest',
  },
  {
    name: 'an option may run past its OPT',
    file: 'dns/query.ts',
    find: 'if (i + length > end) return false',
    replace: '',
  },
  {
    name: 'the data of a record may run past the end',
    file: 'dns/query.ts',
    find: 'if (data + dataLength > end) return Rcode.FORMERR',
    replace: '',
  },
  {
    name: 'cookies of any length are taken',
    file: 'dns/query.ts',
    find: 'if (length !== 8 && (length < 16 || length > 40)) return false',
    replace: 'if (length > 40) return false',
  },
  {
    name: 'errors always have an OPT',
    file: 'engine/reply-opt.ts',
    find: 'if (!query.hasEdns) return at - outAt\n  setCounts(out, outAt, 0, 0, 1)',
    replace: 'setCounts(out, outAt, 0, 0, 1)',
  },
  {
    name: 'the opcode is not copied',
    file: 'dns/reply.ts',
    find: '(query.flags & (Flag.OPCODE | Flag.RD | Flag.CD))',
    replace: '(query.flags & (Flag.RD | Flag.CD))',
  },
  {
    name: 'an OPT among the answers of a server is passed on',
    file: 'dns/answer.ts',
    find: 'if (recordType === Type.OPT) return -1',
    replace: '',
  },
  {
    name: 'a record that is moved keeps the length of its data',
    file: 'dns/record-copy.ts',
    find: 'writeU16(out, lengthAt, to - dataAt)',
    replace: '',
  },
  {
    name: 'a cut answer may be a byte too long',
    file: 'engine/cache/stored-answer.ts',
    find: 'if (next - message > limit) {',
    replace: 'if (next - message > limit + 1) {',
  },
  {
    name: 'a frame that comes in parts may be shorter than a header',
    file: 'dns/frame.ts',
    find: 'if (isShort(length, this.#mayBeEmpty)) {\n      this.malformed = true\n      return -1\n    }',
    replace: '',
    target: 'framing',
  },
  {
    name: 'a frame that comes in parts takes a byte of the next one',
    file: 'dns/frame.ts',
    find: 'const stop = Math.min(chunk.length, used + missing)',
    replace: 'const stop = Math.min(chunk.length, used + missing + 1)',
    target: 'framing',
  },
  {
    name: 'a query that gets no reply is not settled',
    file: 'worker/stream-worker-link.ts',
    find: 'else if (!this.#wasHeld) this.#settled++',
    replace: '',
    target: 'framing',
  },
]

/** The file in which the bug is planted, with the bug. Throws if the source has changed so that it cannot be planted. */
export function withBug(bug: PlantedBug, root: string = ROOT): string {
  const source = readFileSync(join(root, 'src', bug.file), 'utf8')
  if (source.split(bug.find).length !== 2)
    throw new Error(`"${bug.name}": src/${bug.file} must have exactly once: ${bug.find}`)
  return source.replace(bug.find, () => bug.replace)
}

/** Plants a bug and fuzzes until it shows: after how many packets, and what it says; null if it does not show. */
function plant(bug: PlantedBug): { packets: number; fault: string } | null {
  const folder = mkdtempSync(join(tmpdir(), 'planted-'))
  try {
    for (const part of ['src', 'test']) cpSync(join(ROOT, part), join(folder, part), { recursive: true })
    cpSync(join(ROOT, 'package.json'), join(folder, 'package.json'))
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
    writeFileSync(join(folder, 'src', bug.file), withBug(bug, folder))
    const args = ['--no-coverage', '--no-shrink', '--seed', '1', '--packets', String(MOST_PACKETS)]
    const target = ['--target', bug.target ?? 'engine']
    const { stdout } = spawnSync(process.execPath, ['test/fuzz/main.ts', ...args, ...target], {
      cwd: folder,
      encoding: 'utf8',
    })
    const found = /^seed 1, packet (\d+): (.*)$/m.exec(stdout)
    return found === null ? null : { packets: Number(found[1]), fault: found[2]!.split(';')[0]!.slice(0, 80) }
  } finally {
    rmSync(folder, { recursive: true })
  }
}

function main(): number {
  const { values } = parseArgs({ options: { only: { type: 'string', default: '' } } })
  const bugs = PLANTED_BUGS.filter(({ name }) => name.includes(values.only))
  console.log('| bug | in | found after packets | by |\n| --- | --- | --- | --- |')
  let missed = 0
  for (const bug of bugs) {
    const found = plant(bug)
    if (found === null) missed++
    console.log(`| ${bug.name} | \`${bug.file}\` | ${found?.packets ?? '**not found**'} | ${found?.fault ?? ''} |`)
  }
  return missed > 0 ? 1 : 0
}

if (import.meta.main) process.exitCode = main()
