/** From the steps that led to a failure to the fewest and shortest that still fail in the same way. */
import { Violation } from '../simulation/violation.ts'
import { Harness } from './harness.ts'
import { Packet } from './packet.ts'
import type { Step } from './steps.ts'

/** A failure as an error of its own kind: what the engine throws breaks a rule like any other. */
export function asViolation(error: unknown): Violation {
  if (error instanceof Violation) return error
  const lines = error instanceof Error ? (error.stack ?? error.message).split('\n') : [String(error)]
  const where = lines.find((line) => line.includes('/src/'))?.replace(/^.*\/src\//, 'src/') ?? ''
  return new Violation(`threw ${lines[0]} at ${where}`)
}

/** Does the steps to a fresh engine; what went wrong, or null. */
export function replay(engineSeed: number, steps: readonly Step[], packet: Packet = new Packet()): Violation | null {
  const harness = new Harness(engineSeed)
  try {
    for (const step of steps) harness.replay(step, packet)
    return null
  } catch (error) {
    return asViolation(error)
  }
}

/** Stops after `budgetMs`. The violation is null if the steps do not fail when they are done again. */
export function shrink(
  engineSeed: number,
  steps: readonly Step[],
  kind: string,
  budgetMs: number,
): { steps: Step[]; violation: Violation | null } {
  const until = performance.now() + budgetMs
  const packet = new Packet()
  let violation: Violation | null = null
  const fails = (some: readonly Step[]): boolean => {
    const found = replay(engineSeed, some, packet)
    // Another fault that comes to light on the way is another story.
    if (found?.kind !== kind) return false
    violation = found
    return true
  }
  let kept = tail(steps, fails)
  if (kept === null) return { steps: [...steps], violation: null }
  for (let size = kept.length >> 1; size > 0 && performance.now() < until; size >>= 1) {
    for (let at = 0; at < kept.length && performance.now() < until; ) {
      const without: Step[] = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (without.length > 0 && fails(without)) kept = without
      else at += size
    }
  }
  const merged = mergeTimes(kept)
  if (fails(merged)) kept = merged
  for (let k = 0; k < kept.length; k++) kept = shrinkBytes(kept, k, fails, until)
  fails(kept)
  return { steps: kept, violation }
}

/** The last step, the last two, four, … until they fail as all did; null if not even all do. */
function tail(steps: readonly Step[], fails: (some: readonly Step[]) => boolean): Step[] | null {
  for (let count = 1; ; count *= 2) {
    const last = steps.slice(-count)
    if (fails(last)) return last
    if (count >= steps.length) return null
  }
}

/** Times that pass one after the other as one. */
function mergeTimes(steps: readonly Step[]): Step[] {
  const merged: Step[] = []
  for (const step of steps) {
    const last = merged.at(-1)
    if (step.kind === 't' && last?.kind === 't') merged[merged.length - 1] = { ...last, a: last.a + step.a }
    else merged.push(step)
  }
  return merged
}

/** Leaves out bytes of one step's packet, then makes them zero. */
function shrinkBytes(steps: Step[], k: number, fails: (some: readonly Step[]) => boolean, until: number): Step[] {
  let kept = steps
  const without = (bytes: Uint8Array): Step[] => kept.map((step, i) => (i === k ? { ...step, bytes } : step))
  for (let size = kept[k]!.bytes.length >> 1; size > 0; size >>= 1) {
    for (let at = 0; at < kept[k]!.bytes.length && performance.now() < until; ) {
      const { bytes } = kept[k]!
      const fewer = without(Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + size)]))
      if (fails(fewer)) kept = fewer
      else at += size
    }
  }
  for (let at = 0; at < kept[k]!.bytes.length && performance.now() < until; at++) {
    if (kept[k]!.bytes[at] === 0) continue
    const bytes = kept[k]!.bytes.slice()
    bytes[at] = 0
    const plainer = without(bytes)
    if (fails(plainer)) kept = plainer
  }
  return kept
}
