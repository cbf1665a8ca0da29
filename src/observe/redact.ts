/** What stands in the place of a secret. */
export const REDACTED = '[redacted]'

const SECRET_KEY =
  /token|passw|passphrase|secret|credential|authorization|cookie|(^|_|-)key$|(private|api|access)_?-?key/i

/** Whether a key's name says that its value is secret. */
export function isSecretKey(key: string): boolean {
  return SECRET_KEY.test(key)
}

/** The configuration names secrets by file, and which file it is tells nothing. */
const FILE_PATH = /^\.{0,2}(\/[\w.@:-]{1,64}){1,20}$/
const PRIVATE_KEY = /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g
const JSON_WEB_TOKEN = /\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*/g
const BEARER = /\b(bearer|basic)\s+[\w.~+/=-]+/gi
const URL_USER = /\b([a-z][a-z0-9+.-]*:\/\/)[^/@\s]*@/gi
const URL_SECRET = /([?&][^=&\s]*(?:token|key|secret|passw|sig)[^=&\s]*=)[^&#\s]+/gi

/**
 * A copy of plain data (as JSON knows it) with secrets replaced: what stands under a key that names one, unless it is
 * a file's path, and what looks like one anywhere (private keys, tokens, credentials in URLs). A Map becomes an object,
 * a Set an array; what is no data (functions) is left out.
 */
export function redact(value: unknown): unknown {
  return redactAt(false, value)
}

/** `secret`: the key above, or one above that, names a secret. */
function redactAt(secret: boolean, value: unknown): unknown {
  if (typeof value === 'string') return secret && value !== '' && !FILE_PATH.test(value) ? REDACTED : redactText(value)
  if (typeof value === 'bigint') return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value) || value instanceof Set) return [...value].map((item) => redactAt(secret, item))
  if (value instanceof Uint8Array) return secret ? REDACTED : `${value.length} bytes`
  const entries: [string, unknown][] = value instanceof Map ? [...value] : Object.entries(value)
  return Object.fromEntries(
    entries
      .filter(([, item]) => typeof item !== 'function')
      .map(([key, item]) => [key, redactAt(secret || isSecretKey(key), item)]),
  )
}

function redactText(text: string): string {
  return text
    .replace(PRIVATE_KEY, REDACTED)
    .replace(JSON_WEB_TOKEN, REDACTED)
    .replace(BEARER, `$1 ${REDACTED}`)
    .replace(URL_USER, `$1${REDACTED}@`)
    .replace(URL_SECRET, `$1${REDACTED}`)
}
