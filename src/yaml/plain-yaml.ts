/**
 * YAML as plain values: texts, numbers, booleans, null, lists and maps, from any text whatever, in bounded time and
 * memory. Beside what the YAML library refuses, these are problems: a key that is not a scalar, a key that occurs twice, an
 * alias without an anchor, a value that contains itself, and texts beyond the limits below. Tags make no other kinds of
 * values.
 */
import {
  Composer,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  Lexer,
  type LineCounter,
  Parser,
  type Scalar,
} from 'yaml'
import { readPlainScalar, type ScalarValue, type YamlDialect } from './scalar.ts'

/** Levels of lists and maps in one another. What people write has a tenth of it; without a limit the stack is one. */
const MOST_LEVELS = 200
/**
 * Words, signs, spaces and line ends of one document; a line `key: value` has seven. Such a document takes the library
 * about three seconds and 600 MB.
 */
const MOST_LEXEMES = 2_500_000
const MOST_ALIASES = 1000
/** Values of a document, those of aliases counted as often as they are named. */
const MOST_VALUES = 1_000_000
/** Per document; one mistake often leads to hundreds of others. */
const MOST_PROBLEMS = 10
/** Some messages repeat a part of the text. */
const MOST_MESSAGE = 200

/** What the library's lexer puts in front of a plain or block scalar. */
const SCALAR_MARK = '\x1f'

/** What is wrong with a document, in one line, and where: counted in characters from the start of the text. */
export interface YamlProblem {
  message: string
  offset: number
}

/** One document of a text. */
export interface YamlDocument {
  /** Null for an empty document, and for one with problems. An alias's value is the very object of its anchor. */
  values: unknown
  problems: YamlProblem[]
  /** The library's nodes that the values were made from, for their offsets; null where there are none. */
  contents: unknown
}

/**
 * Reads the documents of the text one after the other, so that a file of many small ones needs little memory. A document
 * that exceeds a limit is the last one. `lines` notes where lines begin, as far as the text was read.
 */
export function* readYaml(
  text: string,
  lines?: LineCounter,
  dialect: YamlDialect = 'core',
): Generator<YamlDocument, void, undefined> {
  lines?.addNewLine(0)
  const parser = new Parser(lines?.addNewLine)
  // Every scalar stays as it is written: which values they are is not for the library to say. Nor does it look for keys
  // that occur twice: its way takes the square of their number.
  const composer = new Composer({ schema: 'failsafe', resolveKnownTags: false, uniqueKeys: false, logLevel: 'error' })
  let lexemes = 0
  let offset = 0
  const read = (document: Document.Parsed): YamlDocument => readDocument(document, dialect)
  try {
    for (const lexeme of goLexemes(text)) {
      for (const token of parser.next(lexeme)) {
        if (token.type === 'document') lexemes = 0
        for (const document of composer.next(token)) yield read(document)
      }
      offset += lexeme === SCALAR_MARK ? 0 : lexeme.length
      const message = limitOf(++lexemes, parser.stack.length)
      if (message === null) continue
      // The document before it, if it has not come yet.
      for (const document of composer.end()) yield read(document)
      yield { values: null, problems: [{ message, offset }], contents: null }
      return
    }
    for (const token of parser.end()) for (const document of composer.next(token)) yield read(document)
    for (const document of composer.end()) yield read(document)
  } catch (error) {
    // A bug of the library: it must not be more than a bad file.
    yield { values: null, problems: [{ message: lineOf(error), offset }], contents: null }
  }
}

function limitOf(lexemes: number, levels: number): string | null {
  if (levels > MOST_LEVELS) return `is nested more than ${MOST_LEVELS} levels deep`
  return lexemes > MOST_LEXEMES ? 'is too large for one document: split it' : null
}

/**
 * The library's lexemes, but for two things, in which it takes go-yaml's place. In a flow list or map a `:` that touches the
 * next `,`, `]` or `}` belongs to the plain scalar before it: `[10.0.0.1, 2001:db8::]`. And the lines of such a list or map
 * may stand as far to the left as they like.
 */
function* goLexemes(text: string): Generator<string, void, undefined> {
  const lexer = new Lexer()
  let flowLevels = 0
  /** The lexer's own, kept while it is 0: how far lines must be indented. No part of its interface; a test notices. */
  let indentNext: unknown = 0
  /** A plain scalar in a flow collection, and what may follow it: `:`, then an empty scalar. */
  let held: string[] = []
  let isAfterMark = false
  for (const lexeme of lexer.lex(text)) {
    if (held.length > 0) {
      if (lexeme === [':', SCALAR_MARK, ''][held.length - 1]) {
        held.push(lexeme)
        continue
      }
      isAfterMark = held.length === 3
      if (!isAfterMark && held.length > 1 && /^[,\]}]/.test(lexeme)) yield `${held[0]}:`
      else yield* held
      held = []
    }
    if (isAfterMark) {
      isAfterMark = false
      if (flowLevels > 0) {
        held = [lexeme]
        continue
      }
    } else if (lexeme === SCALAR_MARK) isAfterMark = true
    else if (lexeme === '[' || lexeme === '{') {
      if (flowLevels++ === 0) {
        indentNext = Reflect.get(lexer, 'indentNext')
        Reflect.set(lexer, 'indentNext', 0)
      }
    } else if ((lexeme === ']' || lexeme === '}') && flowLevels > 0) {
      if (--flowLevels === 0) Reflect.set(lexer, 'indentNext', indentNext)
    }
    yield lexeme
  }
  yield* held
}

function readDocument(document: Document.Parsed, dialect: YamlDialect): YamlDocument {
  const { contents } = document
  const problems = document.errors
    .slice(0, MOST_PROBLEMS)
    .map((error) => ({ message: lineOf(error), offset: error.pos[0] }))
  if (problems.length > 0) return { values: null, problems, contents }
  const reading = new Reading(dialect)
  const { value } = reading.read(contents)
  const { problem } = reading
  return problem === null ? { values: value, problems, contents } : { values: null, problems: [problem], contents }
}

/** A value, and how many values it is made of, itself and keys included. */
interface Measured {
  value: unknown
  values: number
}

/** A walk through one document, in its order. What comes after the first problem is of no use. */
class Reading {
  problem: YamlProblem | null = null
  readonly #dialect: YamlDialect
  #aliases = 0
  /** What each anchor means here; null while its value is not complete. */
  readonly #anchors: Map<string, Measured | null> = new Map()

  constructor(dialect: YamlDialect) {
    this.#dialect = dialect
  }

  read(node: unknown): Measured {
    if (this.problem !== null || !isNode(node)) return { value: null, values: 1 }
    const offset = node.range?.[0] ?? 0
    if (isAlias(node)) return this.#readAlias(node.source, offset)
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, null)
    const read = isScalar(node)
      ? { value: this.#valueOf(node), values: 1 }
      : isMap(node)
        ? this.#readMap(node.items)
        : this.#readList(isSeq(node) ? node.items : [])
    if (read.values > MOST_VALUES)
      this.#report(
        this.#aliases > 0
          ? `aliases make more than ${MOST_VALUES} values of it: write fewer`
          : `holds more than ${MOST_VALUES} values: split it`,
        offset,
      )
    if (node.anchor !== undefined) this.#anchors.set(node.anchor, read)
    return read
  }

  #readList(items: readonly unknown[]): Measured {
    const list: unknown[] = []
    let values = 1
    for (const item of items) {
      const read = this.read(item)
      list.push(read.value)
      values += read.values
    }
    return { value: list, values }
  }

  #readMap(pairs: readonly { key: unknown; value: unknown }[]): Measured {
    const own = new Map<string, unknown>()
    let merged: Map<string, unknown> | null = null
    let values = 1
    for (const { key, value } of pairs) {
      const offset = isNode(key) ? (key.range?.[0] ?? 0) : 0
      const read = this.read(value)
      values += 1 + read.values
      if (this.#isMergeKey(key)) merged = this.#merge(merged ?? new Map(), read.value, offset)
      else if (!isScalar(key)) this.#report('a key must be a text', offset)
      else {
        const name = this.#keyOf(key, offset)
        if (own.has(name)) this.#report(`key ${JSON.stringify(name)} occurs twice in one mapping`, offset)
        own.set(name, read.value)
      }
    }
    // What the map says itself counts, wherever `<<` stands.
    return { value: Object.fromEntries(merged === null ? own : [...merged, ...own]), values }
  }

  #isMergeKey(key: unknown): boolean {
    return this.#dialect === 'kubernetes' && isScalar(key) && key.type === 'PLAIN' && key.source === '<<'
  }

  /** Adds what `merged` lacks: of several maps the first one counts. */
  #merge(merged: Map<string, unknown>, value: unknown, offset: number): Map<string, unknown> {
    for (const source of Array.isArray(value) ? value : [value]) {
      if (typeof source !== 'object' || source === null || Array.isArray(source)) {
        this.#report('"<<" merges a mapping, or a list of mappings', offset)
        break
      }
      for (const [name, inner] of Object.entries(source)) if (!merged.has(name)) merged.set(name, inner)
    }
    return merged
  }

  #readAlias(name: string, offset: number): Measured {
    const meant = this.#anchors.get(name)
    if (meant === undefined) this.#report(`alias *${name} has no anchor before it`, offset)
    else if (meant === null) this.#report(`alias *${name} stands in the value that it means`, offset)
    else if (++this.#aliases > MOST_ALIASES)
      this.#report(`more than ${MOST_ALIASES} aliases: write the values out`, offset)
    return meant ?? { value: null, values: 1 }
  }

  #keyOf(key: Scalar, offset: number): string {
    const value = this.#valueOf(key)
    if (value === null && this.#dialect === 'kubernetes') this.#report('a key must be a text, not null', offset)
    return value === null ? '' : String(value)
  }

  #valueOf(scalar: Scalar): ScalarValue {
    const text = typeof scalar.value === 'string' ? scalar.value : ''
    switch (scalar.tag) {
      case 'tag:yaml.org,2002:null':
      case 'tag:yaml.org,2002:bool':
      case 'tag:yaml.org,2002:int':
      case 'tag:yaml.org,2002:float':
        return readPlainScalar(text, this.#dialect)
      case undefined:
        return scalar.type === 'PLAIN' ? readPlainScalar(text, this.#dialect) : text
      default:
        return text
    }
  }

  #report(message: string, offset: number): void {
    this.problem ??= { message: shortened(message), offset }
  }
}

function lineOf(error: unknown): string {
  return shortened((error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim())
}

function shortened(line: string): string {
  return line.length > MOST_MESSAGE ? `${line.slice(0, MOST_MESSAGE - 1)}…` : line
}
