/** What was tried, and what came of it. */
interface Row {
  what: string
  isAsExpected: boolean
  result: string
}

/** The lines of the proof: printed when they are known, and as a Markdown table at the end. */
export class Report {
  readonly #rows: Row[] = []

  /** One line: `check` returns what it saw, and throws where that is not as it must be. */
  async proof(what: string, check: () => Promise<string>): Promise<void> {
    const began = Date.now()
    let row: Row
    try {
      row = { what, isAsExpected: true, result: await check() }
    } catch (error) {
      row = { what, isAsExpected: false, result: error instanceof Error ? error.message : String(error) }
    }
    this.#rows.push(row)
    const seconds = ((Date.now() - began) / 1000).toFixed(1)
    process.stdout.write(`${row.isAsExpected ? 'ok    ' : 'FAILED'} ${what}: ${row.result} (${seconds} s)\n`)
  }

  /** Prints the table. Returns whether everything was as expected. */
  end(): boolean {
    const failed = this.#rows.filter((row) => !row.isAsExpected)
    const lines = this.#rows.map(
      ({ what, isAsExpected, result }) =>
        `| ${what} | ${isAsExpected ? '' : '**failed**: '}${result.replace(/\n/g, ' ').replace(/\|/g, '\\|')} |\n`,
    )
    process.stdout.write(`\n| tried | result |\n| --- | --- |\n${lines.join('')}`)
    process.stdout.write(`\n${this.#rows.length - failed.length} as expected, ${failed.length} not\n`)
    return failed.length === 0 && this.#rows.length > 0
  }
}

/** @throws Error with the complaint unless it is true */
export function expect(isTrue: boolean, complaint: string): void {
  if (!isTrue) throw new Error(complaint)
}

export function median(numbers: readonly number[]): number {
  return numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN
}
