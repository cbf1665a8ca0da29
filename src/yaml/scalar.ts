/**
 * What a plain (unquoted) scalar of YAML means. There are two answers: `core` is YAML 1.2's own (its core schema), which
 * byname's configuration is read with. `kubernetes` is that of sigs.k8s.io/yaml (go-yaml v2, YAML 1.1), with which kubectl
 * and istiod read manifests: `yes` is true, `0123` is octal, `1_000` a thousand.
 */

/** Which rules a text is read by. `kubernetes` also knows merge keys (`<<`). */
export type YamlDialect = 'core' | 'kubernetes'

/** A scalar's value. */
export type ScalarValue = string | number | boolean | null

const NULLS = new Set(['', '~', 'null', 'Null', 'NULL'])
const TRUE = new Set(['true', 'True', 'TRUE'])
const FALSE = new Set(['false', 'False', 'FALSE'])
const GO_TRUE = TRUE.union(new Set(['y', 'Y', 'yes', 'Yes', 'YES', 'on', 'On', 'ON']))
const GO_FALSE = FALSE.union(new Set(['n', 'N', 'no', 'No', 'NO', 'off', 'Off', 'OFF']))
const NAN = new Set(['.nan', '.NaN', '.NAN'])
const INFINITE = /^[-+]?\.(?:inf|Inf|INF)$/

/** The value of the plain scalar `text`. Integers beyond 2^53 lose digits, as all numbers of JSON do in JavaScript. */
export function readPlainScalar(text: string, dialect: YamlDialect): ScalarValue {
  const isGo = dialect === 'kubernetes'
  if (NULLS.has(text)) return null
  if ((isGo ? GO_TRUE : TRUE).has(text)) return true
  if ((isGo ? GO_FALSE : FALSE).has(text)) return false
  // Whatever else is no text begins so.
  if (!/^[-+.0-9]/.test(text)) return text
  if (NAN.has(text)) return Number.NaN
  if (INFINITE.test(text)) return text.startsWith('-') ? -Infinity : Infinity
  return (isGo ? goNumber(text) : coreNumber(text)) ?? text
}

function coreNumber(text: string): number | null {
  if (/^[-+]?(?:[0-9]+|(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?)$/.test(text)) return Number(text)
  return /^0(?:o[0-7]+|x[0-9a-fA-F]+)$/.test(text) ? Number(text) : null
}

function goNumber(text: string): number | null {
  // A point in front: go-yaml takes the text as it is.
  const digits = text.startsWith('.') ? text : text.replaceAll('_', '')
  const integer = /^([-+]?)0(?:[xX]([0-9a-fA-F]+)|[bB]([01]+)|[oO]?([0-7]+))$/.exec(digits)
  if (integer !== null) {
    const [, sign, hex, binary, octal] = integer
    const value = hex ? Number.parseInt(hex, 16) : binary ? Number.parseInt(binary, 2) : Number.parseInt(octal!, 8)
    return sign === '-' ? -value : value
  }
  return /^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$/.test(digits) ? Number(digits) : null
}
