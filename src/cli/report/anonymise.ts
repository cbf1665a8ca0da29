/**
 * Replaces names and addresses, the same one by the same in all of a report, by codes that are keyed with random bytes
 * which nobody keeps. Three passes: gather what names there are (those with dots, and words that stand where names stand),
 * undo encodings that would hide them, replace.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { isIPv4, isIPv6 } from 'node:net'
import type { Collected } from './collecting.ts'
import { KnownWords } from './known-words.ts'

/** Characters of a code: with 100,000 names two are alike once in 200 reports. */
const CODE_CHARS = 10
/** A shorter word is replaced only where it stands alone: inside others it is everywhere. */
const LEAST_INSIDE = 4
const CODE = /^(?:n|ip4|ip6|id)-[0-9a-f]{10}$/

const LABEL = '[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9_])?'
const DOTTED = new RegExp(
  String.raw`(?<![\w-])(?:\*\.)?(?:${LABEL}\.{1,2})+[A-Za-z][A-Za-z0-9-]*[A-Za-z0-9](?![\w-])`,
  'g',
)
const WORD = new RegExp(LABEL, 'g')
const IPV4 = /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?![\d]|\.\d)/g
const IPV4_DASHED = /(?<![A-Za-z\d])\d{1,3}(?:-\d{1,3}){3}(?!\d|-\d)/g
const IPV6 = /(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}(?:\d{1,3}(?:\.\d{1,3}){3}|[0-9a-f]{0,4})(?![\w:]|\.\d)/gi
const PTR4 = /(?<![\w.-])((?:\d{1,3}\.){1,4})in-addr\.arpa/gi
const PTR6 = /(?<![\w.-])((?:[0-9a-f]\.){2,32})ip6\.arpa/gi
const HARDWARE = /(?<![\w:])[0-9a-f]{2}(?::[0-9a-f]{2}){5}(?![\w:])/gi
const LONG_ID = /(?<![\w-])(?:[0-9a-f]{32,128}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?![\w-])/gi
const MAILBOX = /(?<![\w.+-])[\w.+-]+@(?=[\w-]+\.[\w.-])/g
const HOME = /(\/(?:home|Users)\/)([^/\s"']+)/g
const ENCODED = /(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{6,}={0,2}/g
/** Keys whose values are names, in JSON and in variables. */
const NAMED_BY =
  /^(?:namespace|shortname|pod|serviceAccount|cluster|clusterId|network|domain|trustDomain|host|hostName|hostname|group|subject|issuer|audience|names|workload|owner|app|service|search|NAME|NAMESPACE|CLUSTER_ID|MESH_ID|NETWORK|OWNER|WORKLOAD_NAME|SERVICE_ACCOUNT|NODE_NAME|POD_NAME|POD_NAMESPACE|TRUST_DOMAIN|AUTO_REGISTER_GROUP|HOSTNAME)$|^(?:ISTIO_META|POD|NODE)_/
/** Keys of maps in which all keys, or all values, are names. */
const NAMED_KEYS = /^(?:namespaces)$/
const NAMED_VALUES = /^(?:identity|metadata|labels|annotations)$/

/** Replaces names in one report. */
export class Anonymiser {
  readonly #key: Buffer = randomBytes(32)
  readonly #known: KnownWords = new KnownWords()
  /** Labels of names, lower case. */
  readonly #names: Set<string> = new Set()
  readonly #words: Map<string, string> = new Map()
  readonly #codes: Map<string, string> = new Map()
  #longest = 0

  /** The same evidence without names. */
  all(collected: readonly Collected[]): Collected[] {
    const texts = collected.map((each) => decoded('text' in each ? each.text : each.reason))
    collected.forEach(({ file }, index) => this.#gather(file, texts[index]!))
    for (const name of this.#names) if (this.#known.isPlain(name)) this.#names.delete(name)
    for (const name of this.#names) this.#longest = Math.max(this.#longest, name.length)
    return collected.map((each, index) => {
      const text = this.#replace(this.#withoutHost(texts[index]!))
      const about = this.#replace(decoded(each.about))
      return 'text' in each ? { file: each.file, about, text } : { file: each.file, about, reason: text }
    })
  }

  /** The machine's name goes even if it is a common word, which is kept elsewhere. */
  #withoutHost(text: string): string {
    return text.replace(/^( {2}"host": ")([^"]+)"/m, (_, key: string, host: string) => {
      return `${key}${this.#code('n', host.toLowerCase())}"`
    })
  }

  #gather(file: string, text: string): void {
    for (const [name] of text.matchAll(DOTTED)) this.#addDotted(name)
    const document = parse(text)
    if (document !== undefined) {
      this.#known.addKeys(document)
      this.#gatherFrom(document, false)
    }
    if (file.endsWith('resolv.conf'))
      for (const [, domains] of text.matchAll(/^\s*(?:search|domain)\s+(.+)$/gm)) this.#addWords(domains!)
    if (file === 'network/hosts')
      for (const [, names] of text.matchAll(/^[ \t]*[\da-f.:]+[ \t]+([^#\n]+)/gim)) this.#addWords(names!)
    for (const [, namespace, account] of text.matchAll(/\/ns\/([\w.-]+)\/sa\/([\w.-]+)|serviceaccounts?:([\w.-]+)/g))
      this.#addWords(`${namespace ?? ''} ${account ?? ''}`)
  }

  #gatherFrom(value: unknown, isName: boolean): void {
    if (typeof value === 'string') {
      if (isName) this.#addWords(value)
    } else if (Array.isArray(value)) for (const each of value) this.#gatherFrom(each, isName)
    else if (typeof value === 'object' && value !== null) {
      for (const [key, each] of Object.entries(value)) {
        if (NAMED_KEYS.test(key) && typeof each === 'object' && each !== null)
          for (const name of Object.keys(each)) this.#addWords(name)
        this.#gatherFrom(each, isName || NAMED_BY.test(key) || NAMED_VALUES.test(key))
      }
    }
  }

  #addDotted(written: string): void {
    const name = written.toLowerCase()
    if (this.#known.isNoName(name)) return
    const labels = name.split('.')
    labels.forEach((label, index) => {
      if (!this.#known.isPublicLabel(labels, index)) this.#add(label)
    })
  }

  #addWords(text: string): void {
    const rest = text.replace(DOTTED, (name) => {
      this.#addDotted(name)
      return ' '
    })
    for (const [word] of rest.matchAll(WORD)) this.#add(word.toLowerCase())
  }

  /** A label, and its parts: of `reviews-v1-7d4` a text may show `reviews` alone. */
  #add(label: string): void {
    for (const part of [label, ...label.split(/[-_]/)])
      if (part.length > 1 && !/^[\d_-]*$/.test(part) && !/^v\d+$|^true$|^false$/.test(part)) this.#names.add(part)
  }

  #replace(text: string): string {
    return text
      .replace(ENCODED, (token) => this.#withoutEncoded(token))
      .replace(LONG_ID, (id) => this.#code('id', id.toLowerCase()))
      .replace(HARDWARE, (address) =>
        /^(?:00:)+00$/.test(address) ? address : this.#code('id', address.toLowerCase()),
      )
      .replace(PTR6, (_, nibbles: string) => `${this.#code('ip6', nibbles.toLowerCase())}.ip6.arpa`)
      .replace(PTR4, (written, bytes: string) => this.#reversed(bytes) ?? written)
      .replace(IPV6, (address) => this.#ipv6(address))
      .replace(IPV4, (address) => this.#ipv4(address))
      .replace(IPV4_DASHED, (address) => this.#dashed(address))
      .replace(MAILBOX, (box) => `${this.#code('n', box.toLowerCase())}@`)
      .replace(HOME, (_, before: string, user: string) => before + this.#code('n', user.toLowerCase()))
      .replace(DOTTED, (name) => this.#dotted(name))
      .replace(WORD, (word) => this.#word(word))
  }

  #code(kind: 'n' | 'ip4' | 'ip6' | 'id', text: string): string {
    const what = `${kind} ${text}`
    let code = this.#codes.get(what)
    if (code === undefined) {
      code = `${kind}-${createHmac('sha256', this.#key).update(what).digest('hex').slice(0, CODE_CHARS)}`
      this.#codes.set(what, code)
    }
    return code
  }

  #ipv4(address: string): string {
    return !isIPv4(address) || /^(?:127|0)\.|^255\./.test(address) ? address : this.#code('ip4', address)
  }

  #dashed(written: string): string {
    const address = written.replaceAll('-', '.')
    return isIPv4(address) ? this.#ipv4(address) : written
  }

  /** Of `7.0.0.10.` the address is 10.0.0.7; fewer numbers are a network. */
  #reversed(bytes: string): string | null {
    const address = bytes.split('.').filter(Boolean).toReversed().join('.')
    return /^127\b/.test(address) ? null : `${this.#code('ip4', address)}.in-addr.arpa`
  }

  #ipv6(written: string): string {
    if (!isIPv6(written)) return written
    const address = URL.parse(`http://[${written}]`)?.hostname.slice(1, -1) ?? written.toLowerCase()
    if (address === '::1' || address === '::') return written
    const [, high, low] = /^::ffff:([\da-f]{1,4}):([\da-f]{1,4})$/.exec(address) ?? []
    if (high === undefined || low === undefined) return this.#code('ip6', address)
    const [a, b] = [Number.parseInt(high, 16), Number.parseInt(low, 16)]
    return this.#ipv4([a >> 8, a & 255, b >> 8, b & 255].join('.'))
  }

  #dotted(written: string): string {
    const name = written.toLowerCase()
    if (this.#known.isNoName(name)) return written
    const labels = name.split('.')
    return labels
      .map((label, index) =>
        this.#known.isPublicLabel(labels, index) || CODE.test(label) ? label : this.#label(label),
      )
      .join('.')
  }

  #label(label: string): string {
    return this.#code('n', label)
  }

  #word(written: string): string {
    if (/^\d+$/.test(written) || CODE.test(written)) return written
    let word = this.#words.get(written)
    if (word === undefined) {
      word = this.#withoutNames(written)
      this.#words.set(written, word)
    }
    return word
  }

  /** A word whose parts may be names, or hold some. */
  #withoutNames(written: string): string {
    const word = written.toLowerCase()
    if (this.#known.isPlain(word)) return written
    if (this.#names.has(word)) return this.#label(word)
    const parts = written.split(/([-_])/)
    if (parts.length > 1 && !/(?:^|[-_])(?:n|ip4|ip6|id)-[0-9a-f]{10}(?:[-_]|$)/.test(word))
      return parts.map((part) => (part.length > 1 ? this.#word(part) : part)).join('')
    return this.#holdsName(word) ? this.#label(word) : written
  }

  #holdsName(word: string): boolean {
    for (let from = 0; from + LEAST_INSIDE <= word.length; from++) {
      const most = Math.min(word.length, from + this.#longest)
      for (let to = from + LEAST_INSIDE; to <= most; to++) if (this.#names.has(word.slice(from, to))) return true
    }
    return false
  }

  /** Base64 and hex that hold names. */
  #withoutEncoded(token: string): string {
    const isHex = /^(?:[0-9a-f]{2})+$/i.test(token)
    for (const encoding of isHex ? (['hex', 'base64'] as const) : (['base64'] as const)) {
      const text = Buffer.from(token, encoding).toString('latin1')
      if (!/^[\t\n\r\x20-\x7e]{3,}$/.test(text)) continue
      if (this.#replace(text) !== text) return `[${encoding}, ${token.length} characters]`
    }
    return token
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** Without the encodings of URLs, JSON and DNS for characters that names are made of. */
function decoded(text: string): string {
  return text
    .replace(/%([0-9a-f]{2})/gi, (written, hex: string) => character(written, Number.parseInt(hex, 16)))
    .replace(/\\u00([0-9a-f]{2})/gi, (written, hex: string) => character(written, Number.parseInt(hex, 16)))
    .replace(/\\\\?(\d{3})(?!\d)/g, (written, digits: string) => character(written, Number(digits)))
}

function character(written: string, code: number): string {
  const meant = String.fromCharCode(code)
  return /[\w.:*-]/.test(meant) ? meant : written
}
