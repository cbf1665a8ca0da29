/**
 * YAML as plain values: texts, numbers, booleans, null, lists and maps, from any text whatever. Beside what the YAML
 * library refuses, these are problems: a key that is no text, an alias without an anchor, a value that contains itself,
 * more aliases than anybody writes, and aliases that would make a small text a large value. Tags make no other kinds of
 * values.
 */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isNode,
  isPair,
  isScalar,
  type LineCounter,
  parseAllDocuments,
} from 'yaml'

/** Each costs the library a walk through all of them. */
const MOST_ALIASES = 1000
/** Values of a document, those of aliases counted as often as they are named. */
const MOST_VALUES = 1_000_000
/** Some messages repeat a part of the text. */
const MOST_MESSAGE = 200

/** What is wrong with a document, in one line, and where: counted in characters from the start of the text. */
export interface YamlProblem {
  message: string
  offset: number
}

/** One document of a text. */
export interface YamlDocument {
  /** Null for an empty document, and for one with problems. */
  values: unknown
  problems: YamlProblem[]
  /** The tree that the values were made from, for the offsets of its nodes; null where there is none. */
  contents: unknown
}

/** Reads all documents of the text; `lines` notes where its lines begin. */
export function readYaml(text: string, lines?: LineCounter): YamlDocument[] {
  try {
    const documents = parseAllDocuments(text, {
      prettyErrors: false,
      // Nothing is printed from in there.
      logLevel: 'error',
      schema: 'core',
      resolveKnownTags: false,
      // Its way of looking for keys that come twice takes the square of their number.
      uniqueKeys: false,
      ...(lines === undefined ? {} : { lineCounter: lines }),
    })
    return 'empty' in documents ? [] : documents.map(readDocument)
  } catch (error) {
    // Brackets nested so deep that there is no stack left.
    return [{ values: null, problems: [{ message: lineOf(error), offset: 0 }], contents: null }]
  }
}

function readDocument(document: Document.Parsed): YamlDocument {
  const { contents } = document
  const problems = document.errors.map((error) => ({ message: lineOf(error), offset: error.pos[0] }))
  if (problems.length === 0) {
    const problem = new Inspection().problemOf(contents)
    if (problem !== null) problems.push(problem)
  }
  // -1: the library's own bound on aliases takes the square of their number, and ours holds already.
  const values: unknown = problems.length === 0 ? document.toJS({ maxAliasCount: -1 }) : null
  return { values: values ?? null, problems, contents }
}

/** A walk through one document, in its order. */
class Inspection {
  #problem: YamlProblem | null = null
  #aliases = 0
  /** The node that each anchor means here, and how many values it is; null while it is not complete. */
  readonly #anchors: Map<string, { values: number | null }> = new Map()

  problemOf(contents: unknown): YamlProblem | null {
    this.#valuesOf(contents)
    return this.#problem
  }

  /** Number of values that the node stands for. */
  #valuesOf(node: unknown): number {
    if (this.#problem !== null || !isNode(node)) return 0
    const offset = node.range?.[0] ?? 0
    if (isAlias(node)) return this.#valuesOfAlias(node.source, offset)
    const anchored: { values: number | null } = { values: null }
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, anchored)
    let values = 1
    if (isCollection(node)) {
      if (isMap(node)) this.#checkKeys(node.items)
      for (const item of node.items) {
        values += isPair(item) ? this.#valuesOf(item.key) + this.#valuesOf(item.value) : this.#valuesOf(item)
      }
    }
    if (values > MOST_VALUES) this.#report(`aliases make more than ${MOST_VALUES} values of it: write fewer`, offset)
    anchored.values = values
    return values
  }

  #valuesOfAlias(name: string, offset: number): number {
    const anchored = this.#anchors.get(name)
    if (anchored === undefined) this.#report(`alias *${name} has no anchor before it`, offset)
    else if (anchored.values === null) this.#report(`alias *${name} stands in the value that it means`, offset)
    else if (++this.#aliases > MOST_ALIASES)
      this.#report(`more than ${MOST_ALIASES} aliases: write the values out`, offset)
    return anchored?.values ?? 0
  }

  #checkKeys(pairs: readonly { key: unknown }[]): void {
    const known = new Set<unknown>()
    for (const { key } of pairs) {
      // The library writes such a key out as text, and those in it again: 400 in one another took it 15 seconds.
      if (isAlias(key) || isCollection(key)) this.#report('a key must be a text', key.range?.[0] ?? 0)
      if (!isScalar(key)) continue
      if (known.has(key.value)) this.#report('Map keys must be unique', key.range?.[0] ?? 0)
      known.add(key.value)
    }
  }

  #report(message: string, offset: number): void {
    this.#problem ??= { message: shortened(message), offset }
  }
}

/** The library says "Maximum call stack size exceeded" of brackets that are nested too deeply. */
function lineOf(error: unknown): string {
  const line = (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim()
  return shortened(line.includes('call stack') ? 'is nested too deeply' : line)
}

function shortened(line: string): string {
  return line.length > MOST_MESSAGE ? `${line.slice(0, MOST_MESSAGE - 1)}…` : line
}
