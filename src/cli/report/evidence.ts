/**
 * What was collected, as findings read it. A daemon of another version may say anything: what is not of the shape expected
 * is not there.
 */

/** The files of a report by their paths. */
export type EvidenceFiles = ReadonlyMap<string, string>

/** A file that could not be had. */
export interface Missing {
  file: string
  about: string
  /** In one line. */
  reason: string
}

/** Reads evidence. JSON is parsed once. */
export class Evidence {
  readonly missing: readonly Missing[]
  readonly #files: EvidenceFiles
  readonly #parsed: Map<string, unknown> = new Map()

  constructor(files: EvidenceFiles, missing: readonly Missing[]) {
    this.#files = files
    this.missing = missing
  }

  has(file: string): boolean {
    return this.#files.has(file)
  }

  /** '' where there is none. */
  text(file: string): string {
    return this.#files.get(file) ?? ''
  }

  /** Why the file is not there; null if it is. */
  reason(file: string): string | null {
    return this.missing.find((each) => each.file === file)?.reason ?? null
  }

  /** What stands at a path of a file with JSON; undefined where there is nothing. */
  at(file: string, ...path: readonly string[]): unknown {
    return at(this.#json(file), ...path)
  }

  number(file: string, ...path: readonly string[]): number | null {
    return numberOf(this.at(file, ...path))
  }

  string(file: string, ...path: readonly string[]): string | null {
    return textOf(this.at(file, ...path))
  }

  list(file: string, ...path: readonly string[]): readonly unknown[] {
    return listOf(this.at(file, ...path))
  }

  #json(file: string): unknown {
    if (!this.#parsed.has(file)) this.#parsed.set(file, parse(this.text(file)))
    return this.#parsed.get(file)
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** What stands at a path of plain data. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let found = value
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined
    found = new Map(Object.entries(found)).get(key)
  }
  return found
}

/** A finite number, else null. */
export function numberOf(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null
}

/** A text, else null. */
export function textOf(value: unknown): string | null {
  return typeof value === 'string' ? value : null
}

/** A list, else an empty one. */
export function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}

/** Keys and values of an object, else none. */
export function entriesOf(value: unknown): [string, unknown][] {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
}
