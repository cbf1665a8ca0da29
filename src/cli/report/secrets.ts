/**
 * Takes secrets out of evidence. What looks like one goes wherever it stands (observe/redact.ts); beyond that, whatever is
 * known to be one on this machine: values of settings and variables whose names say so, the contents of token files, and
 * paths of servers over HTTPS, which some resolvers use as passwords. A line of the log may quote any of them.
 */
import { isSecretKey, redact, REDACTED } from '../../observe/redact.ts'
import { readYaml } from '../../yaml/plain-yaml.ts'
import type { Host } from './host.ts'

/** Shorter ones cannot be told from words. */
const LEAST_CHARS = 5
const NO_SECRETS: ReadonlySet<string> = new Set(['false', 'SYSTEM', 'istiod', 'cluster', 'default', 'localhost'])
/** Contents of a token file are one line. */
const TOKEN = /^[\x21-\x7e]{5,8192}$/
const PATH = /^\.{0,2}\//
/** Paths of servers that say nothing: the usual one of RFC 8484, and byname's own endpoints. */
const PUBLIC_SEGMENTS: ReadonlySet<string> = new Set(
  [
    'dns-query',
    'debug',
    'metrics',
    'healthz',
    'readyz',
    'resolve',
    'status',
    'table',
    'ndsz',
    'cache',
    'upstreams',
  ].concat(['xds', 'history', 'config', 'log', 'explain', 'byname', 'events']),
)
const HTTPS_PATH = /(\bhttps?:\/\/(?:\[[^\]\s]*\](?::\d{1,5})?|[^\s/[\]"'<>\\]+))(\/[^\s"'#<>)\\]*)/gi
/** A password without its `@`, as in a text that was cut. */
const URL_PASSWORD = /(\b[a-z][a-z0-9+.-]*:\/\/[^\s/@"'[\]:]+:)(?!PORT\b|\d{1,5}(?:[/#"'\s,;)\\]|$))[^\s/"'\\]+/gi
/** The same without its scheme. */
const USER_AND_PASSWORD = /[^\s/@"'\\:]+:[^\s/@"'\\]+@(?=[\w[])/g
const ASSIGNED = /\b([\w.-]*(?:token|passw\w*|secret|api_?key|private_?key)[\w.-]*=)([^\s"',;&]+)/gi

/** What is known to be secret on this machine. */
export class Secrets {
  readonly #known: Set<string> = new Set()
  #pattern: RegExp | null = null

  /** Learns a secret; what is too short or a common word is none. */
  add(value: string): void {
    const secret = value.trim()
    if (secret.length < LEAST_CHARS || NO_SECRETS.has(secret) || /^\d{1,9}$/.test(secret)) return
    this.#pattern = null
    for (const form of [secret, encodeURIComponent(secret), JSON.stringify(secret).slice(1, -1)]) this.#known.add(form)
    for (const encoding of ['base64', 'base64url'] as const)
      this.#known.add(Buffer.from(secret).toString(encoding).replace(/=+$/, ''))
  }

  /** Learns the values in plain data under names that say secret; `host` reads the files that some of them name. */
  addFrom(data: unknown, host: Host, isSecret = false): void {
    if (typeof data === 'string') {
      if (isSecret) this.#addValue(data, host)
    } else if (Array.isArray(data)) for (const each of data) this.addFrom(each, host, isSecret)
    else if (typeof data === 'object' && data !== null) {
      const isKubernetesSecret = 'kind' in data && data.kind === 'Secret'
      for (const [key, value] of Object.entries(data)) {
        const isData = isKubernetesSecret && (key === 'data' || key === 'stringData')
        if (isData) this.#addData(value)
        this.addFrom(value, host, isSecret || isData || namesSecret(key))
      }
    }
  }

  /** Learns those of a YAML text; one that cannot be read has none. */
  addFromYaml(text: string, host: Host): void {
    for (const document of readYaml(text)) this.addFrom(document.values, host)
    // What is no YAML may still have lines of it.
    for (const [, key, value] of text.matchAll(
      /^[ \t-]*(?:export\s+)?["']?([\w.-]+)["']?[ \t]*[:=][ \t]*["']?([^\s"'#]+)/gm,
    ))
      if (namesSecret(key!)) this.#addValue(value!, host)
  }

  /** Learns paths of servers in a text. */
  addPaths(text: string): void {
    for (const [, , path] of text.matchAll(HTTPS_PATH)) {
      for (const segment of path!.split(/[/?&]/)) if (!PUBLIC_SEGMENTS.has(segment)) this.add(segment)
    }
  }

  /** The text without any. */
  clean(text: string): string {
    const bare = String(redact(text))
      .replace(USER_AND_PASSWORD, `${REDACTED}@`)
      .replace(URL_PASSWORD, `$1${REDACTED}`)
      .replace(HTTPS_PATH, (_, server: string, path: string) => server + publicPath(path))
      .replace(ASSIGNED, `$1${REDACTED}`)
    const pattern = this.#patternOf()
    return pattern === null ? bare : bare.replace(pattern, REDACTED)
  }

  /** Kubernetes' Secrets have their data in base64. */
  #addData(data: unknown): void {
    if (typeof data !== 'object' || data === null) return
    for (const value of Object.values(data))
      if (typeof value === 'string') this.add(Buffer.from(value, 'base64').toString('utf8'))
  }

  #addValue(value: string, host: Host): void {
    if (!PATH.test(value)) return this.add(value)
    const read = host.read(value)
    if ('text' in read && TOKEN.test(read.text.trim())) this.add(read.text)
  }

  #patternOf(): RegExp | null {
    if (this.#known.size === 0) return null
    this.#pattern ??= new RegExp(
      [...this.#known]
        .toSorted((a, b) => b.length - a.length)
        .map((each) => RegExp.escape(each))
        .join('|'),
      'g',
    )
    return this.#pattern
  }
}

/** A `key` by itself is one of a selector, and its value the name of a label, or names a file. */
function namesSecret(name: string): boolean {
  return name !== 'key' && isSecretKey(name)
}

function publicPath(path: string): string {
  const isPublic = path.split(/[/?]/).every((segment) => segment === '' || PUBLIC_SEGMENTS.has(segment))
  return isPublic || path.includes('{') ? path : `/${REDACTED}`
}

/**
 * A document of byname's with secrets replaced. `credentials` is the list of what they are and when they expire, no
 * secret, and a server's path may be one.
 */
export function redactDocument(document: unknown): unknown {
  if (typeof document !== 'object' || document === null || Array.isArray(document))
    return redact(withoutPaths(document))
  return Object.fromEntries(
    Object.entries(document).map(([key, value]): [string, unknown] => {
      const bare = withoutPaths(value)
      if (key === 'credentials' && Array.isArray(bare)) return [key, redact(bare)]
      return Object.entries(redact({ [key]: bare }) ?? {})[0] ?? [key, null]
    }),
  )
}

function withoutPaths(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutPaths)
  if (typeof value !== 'object' || value === null) return value
  const isServer = 'transport' in value && value.transport === 'https'
  return Object.fromEntries(
    Object.entries(value).map(([key, each]): [string, unknown] => [
      key,
      isServer && key === 'path' && typeof each === 'string' ? publicPath(each) : withoutPaths(each),
    ]),
  )
}
