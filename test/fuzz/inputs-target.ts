/** What a kind of input brings to be fuzzed: where its inputs come from, and what must hold of each. */
import type { Random } from '../simulation/random.ts'

/** One kind of input. */
export interface FuzzTarget {
  name: string
  /** The next input, from a few bytes to, now and then, some hundred thousand. `pool`: inputs that showed something new. */
  next(random: Random, pool: readonly Uint8Array[]): Uint8Array
  /**
   * Feeds the input to what reads such inputs and returns in a few words what became of it: inputs with words that were not
   * heard before are kept to be mutated further. Throws if something does not hold. Depends on the input alone.
   */
  check(input: Uint8Array): string
  /** What shrinking may leave out at once, where a byte alone would make the rest another thing. */
  pieces?(input: Uint8Array): [from: number, to: number][]
}

/** Something that must hold does not. The message's first line says what; inputs of the same first line are one finding. */
class Finding extends Error {
  constructor(what: string, details: string = '') {
    super(details === '' ? what : `${what}\n${details}`)
    this.name = 'Finding'
  }
}

/** Throws a Finding unless `holds`. */
export function must(holds: boolean, what: string, details?: unknown): asserts holds {
  if (!holds) throw new Finding(what, details === undefined ? '' : show(details))
}

/** Throws a Finding unless the two are alike as JSON. */
export function mustEqual(got: unknown, wanted: unknown, what: string): void {
  const [a, b] = [JSON.stringify(got), JSON.stringify(wanted)]
  if (a !== b) throw new Finding(what, `got    ${a}\nwanted ${b}`)
}

function show(details: unknown): string {
  const text = typeof details === 'string' ? details : (JSON.stringify(details) ?? String(details))
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text
}

/** Longest message that anybody is shown. */
const MOST_MESSAGE = 1000

/** What we say to people must be one line, of a length that can be read. */
export function mustBeOneLine(message: string, what: string): void {
  must(message.trim() !== '', `${what}: says nothing`)
  must(!/[\r\n]/.test(message), `${what}: is more than one line`, JSON.stringify(message))
  must(message.length <= MOST_MESSAGE, `${what}: is longer than ${MOST_MESSAGE} characters`, message.length)
}

/** A message without what the input put into it: what is left tells which of our messages it is. */
export function templateOf(message: string): string {
  return message
    .replace(/"(?:[^"\\]|\\.)*"?/g, '"…"')
    .replace(/\d+/g, '0')
    .slice(0, 120)
}

/** Whatever an input put into the prototype of all objects would be everywhere. */
export function mustBeUnpolluted(): void {
  const polluted: string[] = []
  for (const key in {}) polluted.push(key)
  must(polluted.length === 0, 'the prototype of objects was written to', polluted)
}

/** How long an input of this many bytes may take, ms: far more than any should need, far less than the square of it. */
function timeBoundMs(bytes: number): number {
  return 150 + bytes * 0.01
}

/** Runs `check` and returns what it throws first (null: nothing) and how much of the processor it took, in ms. */
function tryInput(target: FuzzTarget, input: Uint8Array): { outcome: string; error: Error | null; ms: number } {
  const before = process.threadCpuUsage()
  let outcome = ''
  let error: Error | null = null
  try {
    outcome = target.check(input)
  } catch (thrown) {
    error = thrown instanceof Error ? thrown : new Error(String(thrown))
  }
  const { user, system } = process.threadCpuUsage(before)
  return { outcome, error, ms: (user + system) / 1000 }
}

/** `tryInput`, and again if it took too long: a machine that does something else is no finding. */
export function judge(target: FuzzTarget, input: Uint8Array): { outcome: string; error: Error | null; ms: number } {
  const bound = timeBoundMs(input.length)
  const first = tryInput(target, input)
  let least = first.ms
  for (let again = 0; again < 3 && least > bound && first.error === null; again++) {
    least = Math.min(least, tryInput(target, input).ms)
  }
  if (first.error !== null || least <= bound) return first
  return { ...first, error: new Finding('takes too long', `${Math.round(least)} ms for ${input.length} bytes`) }
}

/** First line of what went wrong. */
export function kindOf(error: Error): string {
  return templateOf(`${error.name}: ${error.message.split('\n')[0]!}`)
}

function withoutPieces(target: FuzzTarget, input: Uint8Array, fails: (candidate: Uint8Array) => boolean): Uint8Array {
  let kept = input
  let place = 0
  for (let pieces = target.pieces?.(kept) ?? []; place < pieces.length; pieces = target.pieces!(kept)) {
    const [from, to] = pieces[place]!
    const without = Buffer.concat([kept.subarray(0, from), kept.subarray(to)])
    if (fails(without)) kept = without
    else place++
  }
  return kept
}

/** The shortest input found within `budgetMs` that fails in the same way: chunks are taken out, then bytes made plain. */
export function shrinkInput(target: FuzzTarget, input: Uint8Array, error: Error, budgetMs: number): Uint8Array {
  const kind = kindOf(error)
  const until = performance.now() + budgetMs
  const fails = (candidate: Uint8Array): boolean => {
    const again = judge(target, candidate).error
    return again !== null && kindOf(again) === kind
  }
  let kept = withoutPieces(target, input, fails)
  for (let size = Math.ceil(kept.length / 2); size > 0 && performance.now() < until; ) {
    let isShorter = false
    for (let at = 0; at < kept.length && performance.now() < until; ) {
      const without = Buffer.concat([kept.subarray(0, at), kept.subarray(at + size)])
      if (fails(without)) {
        kept = without
        isShorter = true
      } else at += size
    }
    if (size === 1 && !isShorter) break
    size = size === 1 ? 1 : Math.floor(size / 2)
  }
  for (let at = 0; at < kept.length && performance.now() < until; at++) {
    for (const plain of [0, 0x61, 0x30]) {
      if (kept[at] === plain) break
      const simpler = Uint8Array.from(kept)
      simpler[at] = plain
      if (!fails(simpler)) continue
      kept = simpler
      break
    }
  }
  return kept
}
