/**
 * cluster.env and sidecar.env, as a shell reads them: `KEY='value'`, one assignment a line. Istio's own program quotes every value;
 * people who edit the files add comments, `export` and double quotes.
 */

/** Variables in their order; with problems, none of them are to be used. */
export interface ClusterEnv {
  variables: Record<string, string>
  /** One line each: `cluster.env:3: …`. */
  problems: string[]
}

const MOST_PROBLEMS = 10
const ASSIGNMENT = /^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=/

/** Reads `text`; `file` is what problems call it. */
export function readClusterEnv(text: string, file: string): ClusterEnv {
  const variables = new Map<string, string>()
  const problems: string[] = []
  const report = (at: number, message: string): void => {
    if (problems.length < MOST_PROBLEMS) problems.push(`${file}:${lineAt(text, at)}: ${message}`)
  }
  let at = text.startsWith('\ufeff') ? 1 : 0
  while (at < text.length) {
    const lineEnd = endOfLine(text, at)
    const line = text.slice(at, lineEnd)
    if (/^[ \t\r]*(?:#.*)?$/.test(line)) {
      at = lineEnd + 1
      continue
    }
    const [whole, name] = ASSIGNMENT.exec(line) ?? []
    if (whole === undefined || name === undefined) {
      report(at, `is no assignment; write NAME='value'`)
      at = lineEnd + 1
      continue
    }
    const value = readValue(text, at + whole.length)
    if ('problem' in value) {
      report(at, `${name}: ${value.problem}`)
      at = endOfLine(text, Math.max(at, value.end)) + 1
      continue
    }
    variables.set(name, value.text)
    at = value.end + 1
  }
  return { variables: problems.length > 0 ? {} : Object.fromEntries(variables), problems }
}

/** Quotes a value so that a shell reads it as it is: every value, as Istio's program does. */
export function quoteShell(value: string): string {
  return `'${value.replaceAll("'", `'"'"'`)}'`
}

type Value = { text: string; end: number } | { problem: string; end: number }

/** A word of a shell from `start` to the end of its line: quoted and bare parts joined. Quotes may span lines. */
function readValue(text: string, start: number): Value {
  let value = ''
  let at = start
  while (at < text.length) {
    const char = text[at]!
    if (char === '\n') break
    if (char === "'") {
      const close = text.indexOf("'", at + 1)
      if (close < 0) return { problem: "the quote ' is never closed", end: at }
      value += text.slice(at + 1, close)
      at = close + 1
    } else if (char === '"') {
      const part = readDoubleQuoted(text, at)
      if ('problem' in part) return part
      value += part.text
      at = part.end
    } else if (char === '\\') {
      value += text[at + 1] === '\n' ? '' : (text[at + 1] ?? '')
      at += 2
    } else if (char === ' ' || char === '\t' || char === '\r') {
      const rest = text.slice(at, endOfLine(text, at))
      if (/^[ \t\r]*(?:[ \t]#.*)?$/.test(rest)) return { text: value, end: endOfLine(text, at) }
      return { problem: `more follows after the value; put a value with spaces into single quotes`, end: at }
    } else if (char === '$' || char === '`') {
      return {
        problem: `${char} would be replaced by a shell, which byname is not; put the value into single quotes`,
        end: at,
      }
    } else if (/[;&|<>()]/.test(char)) {
      return { problem: `${char} has a meaning in a shell; put the value into single quotes`, end: at }
    } else {
      value += char
      at++
    }
  }
  return { text: value, end: at }
}

function readDoubleQuoted(text: string, start: number): Value {
  let value = ''
  for (let at = start + 1; at < text.length; at++) {
    const char = text[at]!
    if (char === '"') return { text: value, end: at + 1 }
    if (char === '$' || char === '`') {
      return {
        problem: `${char} within "…" would be replaced by a shell, which byname is not; use single quotes`,
        end: at,
      }
    }
    if (char !== '\\') {
      value += char
      continue
    }
    const next = text[++at]
    if (next === '\n') continue
    value += next !== undefined && '"\\$`'.includes(next) ? next : `\\${next ?? ''}`
  }
  return { problem: 'the quote " is never closed', end: start }
}

function endOfLine(text: string, from: number): number {
  const at = text.indexOf('\n', from)
  return at < 0 ? text.length : at
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length
}
