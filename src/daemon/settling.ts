/**
 * Gives back to the system what the start and new tables leave behind. V8 and malloc would keep it for as long as nothing
 * else needs it, and beside a workload that is for ever: 52 MB of anonymous memory with 10,000 hosts become 40.
 */
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { Clock } from '../base/clock.ts'
import { collectGarbage } from '../base/garbage.ts'
import type { Syscalls } from '../os/syscalls.ts'
import { unwrittenMappings } from './program-pages.ts'

/** After the last thing that left garbage behind. */
const REST_MS = 10_000
/** Where tables come all the time, so often at most. */
const LEAST_INTERVAL_MS = 60_000
/** Between two steps: each takes a part of the CPU that a small limit allows, and answers come first. */
const STEP_MS = 1000
/** The same where memory is short: a start without compiled code leaves 12 MB, and load that comes at once is as much again. */
const HURRIED_REST_MS = 300
const HURRIED_STEP_MS = 100
/** Limits of memory (of a control group) below this are short. */
const SHORT_BYTES = 128 * 1024 * 1024

/** Whether this process may take so little memory that what the start leaves behind is wanted back at once. */
export function isMemoryShort(limitBytes: number = process.constrainedMemory()): boolean {
  return limitBytes > 0 && limitBytes < SHORT_BYTES
}

/** What is done, and by which clock. */
export interface SettlingOptions {
  clock: Clock
  /** The first time follows at once, and another one when all is at rest. */
  isHurried: boolean
  /** Done one after the other, with pauses, each time; none may throw. */
  steps: readonly (() => void)[]
}

/** Waits for rest, then does its steps. */
export class Settling {
  readonly #options: SettlingOptions
  #cancel: (() => void) | null = null
  #endedAt = Number.NEGATIVE_INFINITY
  #isHurried: boolean

  constructor(options: SettlingOptions) {
    this.#options = options
    this.#isHurried = options.isHurried
  }

  /** Something that leaves garbage behind has ended. */
  stir(): void {
    if (this.#cancel !== null) return
    const { clock } = this.#options
    const restMs = this.#isHurried
      ? HURRIED_REST_MS
      : Math.max(REST_MS, this.#endedAt + LEAST_INTERVAL_MS - clock.now())
    this.#cancel = clock.after(restMs, () => this.#step(0))
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #step(n: number): void {
    const { clock, steps } = this.#options
    steps[n]?.()
    if (n + 1 < steps.length) {
      this.#cancel = clock.after(this.#isHurried ? HURRIED_STEP_MS : STEP_MS, () => this.#step(n + 1))
      return
    }
    this.#cancel = null
    if (this.#isHurried) {
      this.#isHurried = false
      return this.stir()
    }
    this.#endedAt = clock.now()
  }
}

/**
 * What is done to settle. What a data worker allocates it allocates at its start, and most of the program's file is only
 * read then: later both would be held up for nothing.
 */
export function settlingSteps(sys: Syscalls | null, collectInWorkers: () => void): (() => void)[] {
  let isFirst = true
  return [
    collectGarbage,
    () => isFirst && collectInWorkers(),
    () => {
      if (isFirst && sys !== null) dropProgram(sys)
      isFirst = false
      // The first time functions that have not run since are only marked.
      collectGarbage()
    },
    () => sys?.trimHeap(),
  ]
}

/** The page cache keeps what the start has read of Node's file, 50 MB; what runs from now on is less than half of it. */
function dropProgram(sys: Syscalls): void {
  const read = readBoundedText('/proc/self/smaps', MAX_FILE_BYTES.kernelTable)
  if ('problem' in read) return
  for (const { address, bytes } of unwrittenMappings(read.text, process.execPath)) sys.dropPages(address, bytes)
}
