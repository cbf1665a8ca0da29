/** Finds the lines that the source writes to the log: calls of `log.info`, `log.warn` and `log.error`, under any name of the log. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const SRC = fileURLToPath(new URL('../src', import.meta.url))
const CALL = /\b(?:#?log|logger|#?options\.log|host\.log)(?:\.(info|warn|error)|\[[^\]]+\])\(/g

/** A call that writes a line. */
export interface LogOccurrence {
  /** `daemon/daemon.ts:93`. */
  place: string
  /** Null where it is chosen when it is written. */
  level: string | null
  /** What it may say, `…` for what is put in; none where the text comes from elsewhere. */
  messages: string[]
  /** The argument as it is written. */
  written: string
}

/** All calls in src, in order. */
export function logOccurrences(): LogOccurrence[] {
  const files = readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.ts'))
  return files.toSorted().flatMap((path) => occurrencesIn(path, readFileSync(join(SRC, path), 'utf8')))
}

function occurrencesIn(path: string, text: string): LogOccurrence[] {
  return [...text.matchAll(CALL)].flatMap((call) => {
    const [, , message] = argumentsAt(text, call.index + call[0].length - 1) ?? []
    const written = argumentsAt(text, call.index + call[0].length - 1)?.[1]?.trim()
    if (written === undefined || written === '' || message !== undefined) return []
    const line = text.slice(0, call.index).split('\n').length
    return [{ place: `${path}:${line}`, level: call[1] ?? null, messages: literalsIn(written), written }]
  })
}

/** Arguments of the call whose parenthesis opens at `open`; null for what is no call. */
function argumentsAt(text: string, open: number): string[] | null {
  const found: string[] = []
  let level = 0
  let from = open + 1
  for (let at = open; at < text.length; at++) {
    const character = text[at]!
    if (character === "'" || character === '"' || character === '`') at = endOfLiteral(text, at)
    else if ('([{'.includes(character)) level++
    else if (')]}'.includes(character)) {
      if (--level > 0) continue
      if (text.slice(from, at).trim() !== '') found.push(text.slice(from, at))
      return found
    } else if (character === ',' && level === 1) {
      found.push(text.slice(from, at))
      from = at + 1
    }
  }
  return null
}

/** Where the literal that begins at `at` ends. */
function endOfLiteral(text: string, at: number): number {
  const quote = text[at]!
  for (let end = at + 1; end < text.length; end++) {
    if (text[end] === '\\') end++
    else if (text[end] === quote) return end
    else if (quote === '`' && text[end] === '$' && text[end + 1] === '{') end = endOfBraces(text, end + 1)
  }
  return text.length
}

function endOfBraces(text: string, open: number): number {
  let level = 0
  for (let at = open; at < text.length; at++) {
    const character = text[at]!
    if (character === "'" || character === '"' || character === '`') at = endOfLiteral(text, at)
    else if (character === '{') level++
    else if (character === '}' && --level === 0) return at
  }
  return text.length
}

/** Texts of the literals of an expression, those within others left out. */
function literalsIn(expression: string): string[] {
  const found: string[] = []
  for (let at = 0; at < expression.length; at++) {
    if (!`'"\``.includes(expression[at]!)) continue
    const end = endOfLiteral(expression, at)
    found.push(withoutInserts(expression.slice(at + 1, end)))
    at = end
  }
  return found.filter((text) => /[a-z]/i.test(text))
}

function withoutInserts(literal: string): string {
  let text = ''
  for (let at = 0; at < literal.length; at++) {
    if (literal[at] === '$' && literal[at + 1] === '{') {
      at = endOfBraces(literal, at + 1)
      text += '…'
    } else if (literal[at] === '\\') text += literal[++at] ?? ''
    else text += literal[at]
  }
  return text
}
