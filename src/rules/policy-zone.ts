/**
 * Response policy zones (draft-vixie-dnsop-dns-rpz-00): a zone file (RFC 1035 §5) whose owner names are what is matched, and
 * whose records say what becomes of it. Read are triggers by the name that is asked for:
 *
 * ```
 *  ads.example       CNAME .               NXDOMAIN          bad.example    CNAME rpz-drop.        no reply
 *  *.ads.example     CNAME *.              NODATA            big.example    CNAME rpz-tcp-only.    over TCP
 *  good.example      CNAME rpz-passthru.   as without        www.example    A 192.0.2.1            these records
 * ```
 * A wildcard matches what is below its name, as in DNS. Triggers by addresses or name servers are skipped and counted.
 */
import { Type } from '../dns/constants.ts'
import { nameToText, nameToWire } from '../dns/name.ts'
import { Covers, type EntryWriter, Verdict } from './entries.ts'
import { afterLineEnd, lineEnd, type ListOptions, MOST_LIST_NAMES } from './list-text.ts'
import { encodeRecords, readData, type RecordData, recordsFault, shown, typeCode, wordsOf } from './record-text.ts'

const MOST_LINE_CHARACTERS = 65_536
/** Lines of one record between parentheses. */
const MOST_RECORD_LINES = 1000
const MAX_TTL = 0x7fff_ffff
const CLASS = /^(?:IN|CH|HS)$/i
/** Each number but the last has its unit, so that there is but one way to read it. */
const TTL = /^(?=\d)(?:\d+[smhdw])*\d*$/i
const TTL_SECONDS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 }
const POLICIES: Readonly<Record<string, number>> = {
  '.': Verdict.NXDOMAIN,
  '*.': Verdict.NODATA,
  'rpz-passthru.': Verdict.ALLOW,
  'rpz-drop.': Verdict.DROP,
  'rpz-tcp-only.': Verdict.TCP_ONLY,
}
/** Last labels of triggers by something else than the name asked for. */
const OTHER_TRIGGER = /(?:^|\.)rpz-(?:client-ip|ip|nsip|nsdname)$/
/** Types of the zone's own records, which DNSSEC may add to. */
const ZONE_TYPES = /^(?:SOA|NS|DNSKEY|RRSIG|NSEC|NSEC3|NSEC3PARAM|ZONEMD)$/i

/** True if a text is a zone file, as its first line that says something shows. `from`: where the text begins. */
export function isZone(text: string, from: number): boolean {
  for (let at = from; at < text.length; ) {
    const end = lineEnd(text, at)
    const line = text
      .slice(at, Math.min(end, at + MOST_LINE_CHARACTERS))
      .replace(/;.*/s, '')
      .trim()
    at = afterLineEnd(text, end)
    if (line === '') continue
    if (/^[#![|@]/.test(line) && !/^@\s/.test(line)) {
      // A comment of a list, which says nothing yet.
      if (/^[#!]/.test(line)) continue
      return false
    }
    return /^\$[A-Z]/i.test(line) || /^\S*\s+(?:\S+\s+){0,2}(?:SOA|CNAME|A|AAAA|TXT|NS|PTR|MX|SRV)\s+\S/i.test(line)
  }
  return false
}

/** Reads a zone into `writer`; returns the first problem with its line, null if there is none. */
export function readZone(text: string, from: number, options: ListOptions, writer: EntryWriter): string | null {
  const reader = new ZoneReader(options, writer)
  let problem: string | null = null
  let line = 0
  for (let at = from; at < text.length && problem === null; ) {
    const begin = line + 1
    let open = 0
    let record = ''
    // A record in parentheses goes over several lines.
    do {
      const end = lineEnd(text, at)
      line++
      if (end - at > MOST_LINE_CHARACTERS || line - begin > MOST_RECORD_LINES)
        return `line ${line}: is too long for a record`
      const bare = withoutComment(text.slice(at, end))
      open += bare.depth
      record += record === '' ? bare.text : ` ${bare.text}`
      at = afterLineEnd(text, end)
    } while (open > 0 && at < text.length)
    const fault = open === 0 ? reader.take(record, begin) : 'has a parenthesis without its other one'
    if (fault !== null) problem = `line ${begin}: ${fault}`
    if (writer.count > (options.mostNames ?? MOST_LIST_NAMES)) problem = `line ${line}: these are too many names`
  }
  reader.finish()
  return problem
}

class ZoneReader {
  readonly #options: ListOptions
  readonly #writer: EntryWriter
  /** Lower case, no dot at the end; empty: the root. */
  #origin = ''
  /** The zone's own name, once it is known. */
  #apex: string | null = null
  #ttlSeconds: number | null = null
  #owner: string | null = null
  /** Records that are an answer, by trigger. */
  readonly #answers: Map<string, { line: number; records: RecordData[] }> = new Map()

  constructor(options: ListOptions, writer: EntryWriter) {
    this.#options = options
    this.#writer = writer
  }

  take(record: string, line: number): string | null {
    const words = wordsOf(record)
    if (words === null) return 'has a quotation mark without its other one'
    const [first = ''] = words
    if (words.length === 0) return null
    if (first.startsWith('$')) return this.#directive(first.toUpperCase(), words)
    // White space before a record means the owner of the one before it.
    if (!/^[ \t]/.test(record)) {
      this.#owner = this.#absolute(first)
      words.shift()
    }
    if (this.#owner === null)
      return 'begins with white space, and there is no record before it whose name it could have'
    return this.#record(this.#owner, words, line)
  }

  finish(): void {
    for (const [trigger, { line, records }] of this.#answers) {
      const set = encodeRecords(records, this.#ttlSeconds ?? this.#options.ttlSeconds)
      this.#add(trigger, Verdict.DATA, line, this.#writer.addData(set))
    }
  }

  #directive(name: string, words: readonly string[]): string | null {
    const value = words[1] ?? ''
    if (name === '$ORIGIN') {
      if (nameToWire(value) === null) return `$ORIGIN takes a name, not ${shown(value)}`
      this.#origin = this.#absolute(value)
      this.#apex ??= this.#origin
      return null
    }
    if (name === '$TTL') {
      const seconds = ttlOf(value)
      if (seconds === null) return `$TTL takes seconds, not ${shown(value)}`
      this.#ttlSeconds = seconds
      return null
    }
    return `${shown(name)} is not read here; there are $ORIGIN and $TTL`
  }

  #record(owner: string, words: string[], line: number): string | null {
    let ttlSeconds: number | null = null
    for (let k = 0; k < 2; k++) {
      const [word = ''] = words
      if (TTL.test(word)) {
        ttlSeconds = ttlOf(word)
        if (ttlSeconds === null) return `${shown(word)} is no TTL`
        words.shift()
      } else if (CLASS.test(word)) words.shift()
    }
    const [typeText = '', ...data] = words
    if (typeText === '') return 'has no record; write NAME CNAME . or another policy'
    if (/^SOA$/i.test(typeText)) {
      this.#apex = owner
      return null
    }
    const trigger = this.#triggerOf(owner)
    if (ZONE_TYPES.test(typeText)) return null
    if (trigger === null) return `${shown(owner)} is not in the zone ${shown(this.#apex ?? '')}`
    if (trigger === '' && this.#apex !== null) return null
    if (OTHER_TRIGGER.test(trigger)) {
      this.#writer.skipped++
      return null
    }
    const type = typeCode(typeText)
    if (type === null) return `${shown(typeText)} is no record type`
    return this.#policy(trigger, type, data, ttlSeconds, line)
  }

  #policy(trigger: string, type: number, data: string[], ttlSeconds: number | null, line: number): string | null {
    const [target = ''] = data
    if (type === Type.CNAME && data.length === 1) {
      const policy = POLICIES[target.toLowerCase()]
      // The name itself is an older way to write rpz-passthru.
      const verdict = policy ?? (this.#absolute(target) === trigger ? Verdict.ALLOW : null)
      if (verdict !== null) return this.#add(trigger, verdict, line)
    }
    const read = readData(type, data, this.#origin)
    if ('reason' in read) {
      if (!read.reason.includes('cannot be given')) return read.reason
      this.#writer.skipped++
      return null
    }
    const known = this.#answers.get(trigger) ?? { line, records: [] }
    const records = [...known.records, { type, ttlSeconds, data: read.value }]
    const fault = recordsFault(records)
    if (fault !== null) return `${shown(trigger)} ${fault}`
    this.#answers.set(trigger, { ...known, records })
    return null
  }

  #add(trigger: string, verdict: number, line: number, dataAt: number = 0): string | null {
    const writer = this.#writer
    const isWildcard = trigger === '*' || trigger.startsWith('*.')
    const name = isWildcard ? trigger.slice(2) : trigger
    if (!writer.takeName(name, 0, name.length)) {
      // The root, and names with characters that must be escaped.
      const wire = name === '' ? new Uint8Array(1) : name === '.' ? null : nameToWire(name)
      if (wire === null) return `${shown(trigger)} is no domain name`
      writer.name.set(wire.subarray(0, wire.length - 1))
      writer.nameBytes = wire.length - 1
    }
    const self = this.#options.withSubdomains ? Covers.SELF | Covers.BELOW : Covers.SELF
    writer.add(isWildcard ? Covers.BELOW : self, verdict, line, dataAt)
    return null
  }

  /** What is matched: the owner less the zone's name. Null if it is not in the zone. */
  #triggerOf(owner: string): string | null {
    const apex = this.#apex
    if (apex === null || apex === '') return owner
    if (owner === apex) return ''
    return owner.endsWith(`.${apex}`) ? owner.slice(0, -apex.length - 1) : null
  }

  /** Lower case, the origin appended where the name is relative, without a dot at the end. */
  #absolute(text: string): string {
    const name = text.toLowerCase()
    if (name === '@') return this.#origin
    const whole = name.endsWith('.') || this.#origin === '' ? name : `${name}.${this.#origin}`
    // Without escapes there is but one way to write it.
    if (!whole.includes('\\')) return whole.endsWith('.') ? whole.slice(0, -1) : whole
    const wire = nameToWire(whole)
    return (wire === null ? whole : nameToText(wire)).replace(/\.$/, '')
  }
}

/** Seconds of `3600` or `1h30m`, null if it is no TTL. */
function ttlOf(text: string): number | null {
  if (!TTL.test(text)) return null
  const seconds = [...text.matchAll(/(\d+)([smhdw]?)/gi)].reduce(
    (sum, [, count, unit]) => sum + Number(count) * TTL_SECONDS[unit!.toLowerCase() || 's']!,
    0,
  )
  return seconds > MAX_TTL ? null : seconds
}

/** A line without its comment and its parentheses; `depth`: how many more were opened than closed. */
function withoutComment(line: string): { text: string; depth: number } {
  // Most lines have neither.
  if (!/[;()"\\]/.test(line)) return { text: line, depth: 0 }
  let text = ''
  let depth = 0
  let isQuoted = false
  for (let i = 0; i < line.length; i++) {
    const character = line[i]!
    if (character === '\\') text += character + (line[++i] ?? '')
    else if (character === '"') {
      isQuoted = !isQuoted
      text += character
    } else if (isQuoted) text += character
    else if (character === ';') break
    else if (character === '(' || character === ')') {
      depth += character === '(' ? 1 : -1
      text += ' '
    } else text += character
  }
  return { text, depth }
}
