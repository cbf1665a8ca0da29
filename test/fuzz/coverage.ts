/**
 * Which code of src has run, by V8's own block coverage: the feedback that tells a fuzzer which packets are worth keeping.
 * Functions must be compiled after `start`, so it comes before src is imported. Reading what is new takes about a
 * millisecond and makes V8 begin anew; running with it makes the engine itself several times slower, which is little
 * beside what checking its replies takes.
 */
import { Session } from 'node:inspector'

interface Take {
  result: {
    scriptId: string
    url: string
    functions: { ranges: { startOffset: number; endOffset: number; count: number }[] }[]
  }[]
}

export class Coverage {
  readonly #session: Session = new Session()
  /** By script and function: whether each character of its source has been run. */
  readonly #seen: Map<string, Uint8Array> = new Map()
  #taken: Take['result'] = []
  /** Characters of functions that have run. */
  covered = 0

  start(): void {
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: false, detailed: true })
  }

  stop(): void {
    this.#session.post('Profiler.stopPreciseCoverage')
    this.#session.disconnect()
  }

  /** Takes what has run since the last time; true if any of it never ran before. */
  take(): boolean {
    this.#session.post('Profiler.takePreciseCoverage', (error, taken) => {
      if (error !== null) throw error
      this.#taken = taken.result
    })
    const before = this.covered
    for (const { scriptId, url, functions } of this.#taken) {
      if (!url.includes('/src/')) continue
      for (const { ranges } of functions) this.#paint(scriptId, ranges)
    }
    return this.covered > before
  }

  /** Ranges lie one within another, the outer ones first: the innermost says whether a character has run. */
  #paint(script: string, ranges: Take['result'][number]['functions'][number]['ranges']): void {
    const whole = ranges[0]!
    // A script as a whole is a function as well, within which all others lie.
    if (whole.count === 0 || whole.startOffset === 0) return
    const { startOffset: start, endOffset } = whole
    const ran = new Uint8Array(endOffset - start)
    for (const range of ranges) ran.fill(range.count > 0 ? 1 : 0, range.startOffset - start, range.endOffset - start)
    const key = `${script}:${start}`
    let seen = this.#seen.get(key)
    if (seen === undefined) this.#seen.set(key, (seen = new Uint8Array(ran.length)))
    for (let i = 0; i < ran.length; i++) {
      if (ran[i] === 0 || seen[i] !== 0) continue
      seen[i] = 1
      this.covered++
    }
  }
}
