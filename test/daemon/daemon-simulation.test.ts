/**
 * Random edits, reloads, address changes and acknowledgements against the daemon's settings, its table file and its table
 * keeper, on a virtual clock and file system. A small oracle says what must be in use: always the last good content that
 * has rested or was asked for, never half of one; and what is said must be true.
 */
import { expect, test } from 'vitest'
import { SETTLE_MS } from '../../src/base/watched-file.ts'
import { TableFileOrigin } from '../../src/tables/table-file.ts'
import { TableKeeper } from '../../src/tables/table-keeper.ts'
import type { Image } from '../../src/table/image.ts'
import { find, newCompiler } from '../table/compiled.ts'
import { HOSTS, RESOLV_CONF, SettingsWorld } from './settings-world.ts'

const TABLE = '/etc/byname/table.json'
const SEEDS = 200
const STEPS = 60
/** Nothing rests for so long between two steps of a save. */
const BRIEF_MS = SETTLE_MS - 100
/** Everything is noticed, rested and read by then. */
const LONG_MS = 2 * SETTLE_MS + 200

/** What a file is about: its good contents name one number, bad ones none. */
interface Watched {
  path: string
  good: (n: number) => string
  /** What begins like a good content but is another one, or none. */
  half: (n: number) => string
  bad: readonly string[]
  /** The number in use now, null for none. */
  inUse: () => number | null
  /** How the log names it. */
  name: string
}

class Simulation {
  readonly world: SettingsWorld = new SettingsWorld()
  readonly keeper: TableKeeper
  readonly table: TableFileOrigin
  readonly files: readonly Watched[]
  /** By path: the number that must be in use, and what stands in the file. */
  readonly oracle: Map<string, { wanted: number | null; stands: number | 'bad'; editedMs: number }> = new Map()
  readonly #compiler: ReturnType<typeof newCompiler> = newCompiler()
  readonly #published: Image[] = []
  readonly #random: () => number
  #next = 1

  constructor(seed: number) {
    this.#random = randomNumbers(seed)
    const { files, clock } = this.world
    this.keeper = new TableKeeper({
      compiler: this.#compiler,
      publish: (image) => void this.#published.push(image),
      onUpdate: () => {},
      log: { debug: ignore, info: ignore, warn: ignore },
      file: '',
      now: () => clock.now(),
    })
    this.#compiler.pool.workerStarted(1)
    const say = (level: string) => (_: object, message: string) => {
      if (level !== 'debug') this.world.lines.push(`${level} ${message}`)
    }
    const log = { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
    this.table = new TableFileOrigin({ path: TABLE, sink: this.keeper, log, files, clock })
    this.files = [
      {
        path: RESOLV_CONF,
        good: (n) => `nameserver 10.1.${n >> 8}.${n & 255}\nsearch n${n}.example\n`,
        half: (n) => `nameserver 10.1.${n >> 8}.${(n & 255) >> 1}`,
        bad: ['', '# nothing\n', 'nameserver\n', 'nameserver 10.9.9.9\0\n'],
        inUse: () => numberIn(this.world.servers[0], /^10\.1\.(\d+)\.(\d+):53$/),
        name: 'resolv.conf',
      },
      {
        path: HOSTS,
        good: (n) => `10.2.0.1 n${n}.host\n10.2.0.2 other.host\n`,
        half: (n) => `10.2.0.1 n${n}`,
        bad: ['<html>\n', '\0\0\0', '10.2.0.1\nnothing\n'],
        inUse: () => numberIn(this.world.hosts[0], /^n(\d+)\.host$/),
        name: 'the hosts file',
      },
      {
        path: TABLE,
        good: (n) =>
          JSON.stringify({
            table: { 'a.example': { ips: [`10.3.${n >> 8}.${n & 255}`] }, 'b.example': { ips: ['10.4.0.1'] } },
          }),
        // A whole table, of another host.
        half: () => '{"table":{"half.example":{"ips":["10.3.9.9"]}}}',
        bad: ['', '{', '[]', '{"table":{"a.example":{"ips":"10.0.0.1"}}}'],
        inUse: () => {
          const { image } = this.keeper
          const hex = image === null ? undefined : find(image, 'a.example')?.v4[0]
          return hex === undefined ? null : Number.parseInt(hex.slice(4), 16)
        },
        name: 'name table file',
      },
    ]
    for (const file of this.files) {
      const n = this.#next++
      files.write(file.path, file.good(n))
      this.oracle.set(file.path, { wanted: n, stands: n, editedMs: clock.now() })
    }
  }

  /** Begins as the daemon does: settings first, with whatever happens before the rest is there. */
  begin(): void {
    this.world.open('policy: sequential')
    if (this.#random() < 0.5) this.#edit()
    this.table.start()
    // What it read is what stood there.
    const { stands } = this.oracle.get(TABLE)!
    this.oracle.get(TABLE)!.wanted = stands === 'bad' ? null : stands
    this.#rest()
  }

  step(): void {
    const choice = this.#random()
    if (choice < 0.6) this.#edit()
    else if (choice < 0.7) this.#reload()
    else if (choice < 0.8) this.#changeAddresses()
    else this.#acknowledge()
    if (this.#random() < 0.5) this.#rest()
    else this.#pause()
    this.check()
  }

  end(): void {
    this.world.settings.stop()
    this.table.stop()
    // The file system's own.
    this.world.clock.advance(LONG_MS)
    expect([this.world.files.watched, this.world.clock.pending]).toEqual([[], []])
  }

  /** What holds at every moment. */
  check(): void {
    const nowMs = this.world.clock.now()
    for (const { path, inUse } of this.files) {
      const state = this.oracle.get(path)!
      // It has rested while others were edited, and may have been read.
      if (inUse() === state.stands && nowMs - state.editedMs >= SETTLE_MS) this.#taken(path)
    }
    for (const { path, inUse } of this.files) expect([path, inUse()]).toEqual([path, this.oracle.get(path)!.wanted])
    expect(this.world.told.at(-1) ?? this.world.settings.engine).toBe(this.world.settings.engine)
  }

  /** Saves a file in one of the ways in which files are saved, good or bad. */
  #edit(): void {
    const file = this.files[this.#below(this.files.length)]!
    const { files } = this.world
    const state = this.oracle.get(file.path)!
    const n = this.#next++
    const isBad = this.#random() < 0.3
    const text = isBad ? file.bad[this.#below(file.bad.length)]! : file.good(n)
    const way = this.#below(5)
    if (way === 0) files.replace(file.path, text)
    else if (way === 1) {
      // A mounted ConfigMap: the link is swapped.
      files.write(`/data/${n}`, text)
      files.link(file.path, `/data/${n}`)
    } else if (way === 2) {
      // In place, in two parts.
      files.write(file.path, file.half(n))
      this.#pause()
      files.write(file.path, text)
    } else if (way === 3) {
      // An editor that deletes first.
      files.remove(file.path)
      this.#pause()
      files.replace(file.path, text)
    } else if (isBad && this.#random() < 0.5) files.special(file.path, 'is a FIFO; name a regular file')
    else files.write(file.path, text)
    state.stands = isBad ? 'bad' : n
    state.editedMs = this.world.clock.now()
  }

  /** SIGHUP takes the settings' files as they stand. */
  #reload(): void {
    const { settings } = this.world
    settings.reload(settings.config)
    for (const path of [RESOLV_CONF, HOSTS]) this.#taken(path)
    this.#expectAddresses()
  }

  #changeAddresses(): void {
    this.world.addresses = ['127.0.0.1', `10.5.0.${this.#below(200)}`]
    if (this.#random() < 0.5) return
    this.world.settings.clientRefused()
    this.#expectAddresses()
  }

  #acknowledge(): void {
    const latest = this.#published.at(-1)
    if (latest === undefined) return
    this.#compiler.pool.acknowledged(1, latest.generation)
    this.keeper.slotFreed()
  }

  /** Less than a file has to rest. */
  #pause(): void {
    this.world.clock.advance(this.#below(BRIEF_MS / 4))
  }

  /** Lets everything settle: what stands is in use if it is good, and said to be wrong if it is not. */
  #rest(): void {
    for (let times = 0; times < 3; times++) this.#acknowledge()
    this.world.clock.advance(LONG_MS)
    for (let times = 0; times < 3; times++) this.#acknowledge()
    for (const { path } of this.files) this.#taken(path)
    const wrong = this.files.filter(({ path }) => this.oracle.get(path)!.stands === 'bad').map(({ path }) => path)
    const shown = this.world.settings.problems.map(({ text }) => text)
    if (this.table.state().error !== null) shown.push(TABLE)
    expect(shown.length).toBe(wrong.length)
    for (const path of wrong) expect(shown.some((text) => text.includes(path))).toBe(true)
    for (const { path, name } of this.files) {
      const last = this.world.lines.findLast(
        (line) => / (?:stays?|is good again|changed$|read the name table)/.test(line) && line.includes(name),
      )
      if (last !== undefined) expect([name, / stays?/.test(last), last]).toEqual([name, wrong.includes(path), last])
    }
  }

  #taken(path: string): void {
    const state = this.oracle.get(path)!
    if (state.stands !== 'bad') state.wanted = state.stands
  }

  #expectAddresses(): void {
    const own = this.world.settings.engine.ownAddresses.map((bytes) => bytes.join('.'))
    expect(own).toEqual(this.world.addresses)
  }

  #below(limit: number): number {
    return Math.floor(this.#random() * limit)
  }
}

function ignore(): void {}

function numberIn(text: string | undefined, pattern: RegExp): number | null {
  const digits = pattern.exec(text ?? '')?.slice(1)
  return digits === undefined ? null : digits.reduce((sum, part) => sum * 256 + Number(part), 0)
}

/** mulberry32: numbers from 0 to below 1, the same for the same seed. */
function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

test('in use is always the last good state, what is said is true, and nothing is lost', () => {
  for (let seed = 1; seed <= SEEDS; seed++) {
    const simulation = new Simulation(seed)
    try {
      simulation.begin()
      for (let step = 0; step < STEPS; step++) simulation.step()
      simulation.end()
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error })
    }
  }
})
