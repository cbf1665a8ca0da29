/** Collects evidence: every part by itself, bounded in time and size, so that what hangs or fails costs only its own part. */

/** One part of the evidence. */
export interface Collector {
  /** Path in the archive. */
  file: string
  /** What it is, for people: a phrase. */
  about: string
  /** Returns the text; what it throws is why there is none, in one line. It may go on after its deadline, unheard. */
  collect(signal: AbortSignal): Promise<string> | string
}

/** What became of a collector: a text, or why there is none. */
export type Collected = { file: string; about: string } & ({ text: string } | { reason: string })

/** A text of evidence has no more. */
const MOST_CHARS: number = 16 * 1024 * 1024

/**
 * Runs all of them at once. Never rejects. `tell` hears of each as it ends.
 * `deadlineMs`: what has not ended by then is given up.
 */
export async function collectAll(
  collectors: readonly Collector[],
  deadlineMs: number,
  tell: (collected: Collected) => void,
): Promise<Collected[]> {
  return await Promise.all(
    collectors.map(async (collector) => {
      const collected = await collectOne(collector, deadlineMs)
      tell(collected)
      return collected
    }),
  )
}

async function collectOne(collector: Collector, deadlineMs: number): Promise<Collected> {
  const { file, about } = collector
  const deadline = new AbortController()
  const { promise: expired, reject } = Promise.withResolvers<string>()
  const timer = setTimeout(() => {
    deadline.abort()
    reject(new Error(`not there within ${deadlineMs / 1000} s`))
  }, deadlineMs)
  try {
    const text = await Promise.race([Promise.resolve().then(() => collector.collect(deadline.signal)), expired])
    return { file, about, text: bounded(text) }
  } catch (error) {
    return { file, about, reason: oneLine(error) }
  } finally {
    clearTimeout(timer)
  }
}

function bounded(text: string): string {
  if (text.length <= MOST_CHARS) return text
  return `${text.slice(0, MOST_CHARS)}\n… cut: ${text.length - MOST_CHARS} characters more\n`
}

function oneLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim()
}

/** Data as JSON for people. */
export function jsonText(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`
}
