/** One run over one target: inputs one after the other, and what came of them. The same seed gives the same inputs. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { hashText, mix, Random } from '../simulation/random.ts'
import { type FuzzTarget, judge } from './inputs-target.ts'

/** Inputs that showed something new and are mutated further. */
const MOST_POOLED = 400
const LONGEST_POOLED = 4096
/** Memory is looked at this often, and must not be more than at first by this much. */
const MEMORY_EVERY_MS = 10_000
const MEMORY_SLACK_BYTES = 48 << 20

/** What is to be done. */
export interface RunOptions {
  seed: number
  /** Inputs, or fewer if `untilMs` (performance.now) comes first. */
  inputs: number
  untilMs?: number
  /** Told of each input before it is checked: if it never comes back, that was it. */
  before?: (index: number, input: Uint8Array) => void
}

/** What came of it. */
export interface RunResult {
  inputs: number
  bytes: number
  seconds: number
  /** How often each outcome came. */
  outcomes: Map<string, number>
  slowestMs: number
  /** Bytes held after a collection of garbage, at first and at last; null if the run was too short to tell. */
  memory: { first: number; last: number } | null
  failure: { index: number; input: Uint8Array; error: Error } | null
}

/** Runs the target. Ends with the first failure. */
export function run(target: FuzzTarget, options: RunOptions): RunResult {
  const outcomes = new Map<string, number>()
  const pool: Uint8Array[] = []
  const result: RunResult = {
    inputs: 0,
    bytes: 0,
    seconds: 0,
    outcomes,
    slowestMs: 0,
    memory: null,
    failure: null,
  }
  const own = hashText(target.name)
  const startedAt = performance.now()
  let memoryAt = startedAt + MEMORY_EVERY_MS
  for (let index = 0; index < options.inputs; index++) {
    if (index % 16 === 0 && options.untilMs !== undefined && performance.now() >= options.untilMs) break
    const random = new Random(mix(options.seed, index, own))
    const input = target.next(random, pool)
    options.before?.(index, input)
    const { outcome, error, ms } = judge(target, input)
    result.inputs++
    result.bytes += input.length
    result.slowestMs = Math.max(result.slowestMs, ms)
    if (error !== null) {
      result.failure = { index, input, error }
      break
    }
    const count = outcomes.get(outcome) ?? 0
    outcomes.set(outcome, count + 1)
    if (count === 0 && input.length <= LONGEST_POOLED) {
      if (pool.length < MOST_POOLED) pool.push(Uint8Array.from(input))
      else pool[random.below(MOST_POOLED)] = Uint8Array.from(input)
    }
    if (performance.now() < memoryAt) continue
    memoryAt = performance.now() + MEMORY_EVERY_MS
    const error2 = lookAtMemory(result)
    if (error2 === null) continue
    result.failure = { index, input, error: error2 }
    break
  }
  result.seconds = (performance.now() - startedAt) / 1000
  return result
}

function lookAtMemory(result: RunResult): Error | null {
  const held = heldBytes()
  result.memory ??= { first: held, last: held }
  result.memory.last = held
  const { first } = result.memory
  if (held - first <= MEMORY_SLACK_BYTES) return null
  return new Error(`memory grows: ${first >> 20} MB were held at first, now ${held >> 20} MB`)
}

/** Bytes that this thread's heap, and what hangs on it, still has after a collection of garbage. */
function heldBytes(): number {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect === 'function') {
    collect()
    collect()
  }
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}
