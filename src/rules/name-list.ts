/**
 * Files of names, in the formats that lists come in; each line says for itself which one it is:
 *
 * ```
 *  ads.example   .ads.example   *.ads.example      names, as in a rule's `name`
 *  0.0.0.0 ads.example track.example               hosts(5): the address means nothing
 *  ||ads.example^    @@||good.ads.example^         adblock: with all below; an exception
 *  ads.example CNAME .                             a response policy zone: the whole file is one (policy-zone.ts)
 * ```
 * Comments begin with `#` or `!`. Filters that are about parts of a page, or depend on it, are skipped and counted. A line that
 * makes no sense is a problem of the whole file: what it was to say is not known.
 */
import { Covers, EntryWriter, type NameList, Verdict } from './entries.ts'
import { afterLineEnd, lineEnd, type ListOptions, MOST_LIST_NAMES } from './list-text.ts'
import { isZone, readZone } from './policy-zone.ts'
import { addressOf, shown } from './record-text.ts'

/** Characters of a line at most. */
const MOST_LINE_CHARACTERS = 4096
/** `example.com##.banner`, `#@#`, `#?#`, `#$#`, `#%#`: cosmetic filters of adblock. */
const COSMETIC = /#[@?$%]{0,3}#/
const NAME_FORMS =
  'write a name, .NAME (with all below), *.NAME (only those below), a line of hosts(5), ||NAME^ or records of a response policy zone'

/** A file's names, and what is wrong with it, in one line with the line's number; null: nothing. */
export interface ListReading {
  list: NameList
  problem: string | null
}

/** Reads a file of names. With a problem, the list has what could be read. Never throws. */
export function readNameList(text: string, options: ListOptions): ListReading {
  const writer = new EntryWriter()
  const body = text.charCodeAt(0) === 0xfeff ? 1 : 0
  if (isZone(text, body)) return { problem: readZone(text, body, options, writer), list: writer.finish() }
  const mostNames = options.mostNames ?? MOST_LIST_NAMES
  let problem: string | null = null
  let line = 0
  for (let from = body; from < text.length; ) {
    line++
    const end = lineEnd(text, from)
    const fault = readLine(text, from, end, line, options, writer)
    if (fault !== null) problem ??= `line ${line}: ${fault}`
    if (writer.count > mostNames) {
      problem = `line ${line}: these are more than ${mostNames} names; split the list, or name the names above them`
      break
    }
    from = afterLineEnd(text, end)
  }
  return { problem, list: writer.finish() }
}

/** Null if the line is good, or says nothing. */
function readLine(
  text: string,
  lineFrom: number,
  lineTo: number,
  line: number,
  options: ListOptions,
  writer: EntryWriter,
): string | null {
  let from = lineFrom
  let to = lineTo
  while (from < to && isSpace(text.charCodeAt(from))) from++
  while (to > from && isSpace(text.charCodeAt(to - 1))) to--
  const first = text.charCodeAt(from)
  // "#", "!", and the head of an adblock list, "[Adblock Plus 2.0]".
  if (from === to || first === 0x23 || first === 0x21 || first === 0x5b) return null
  if (to - from > MOST_LINE_CHARACTERS)
    return `has more than ${MOST_LINE_CHARACTERS} characters; is it a list of names?`
  if (!options.hasAction)
    return 'a name alone says nothing of what becomes of it; give the rule an action, such as action: nxdomain'
  // Most lines of most lists: one name and nothing else.
  if (takeForm(text, from, to, line, options.withSubdomains, writer)) return null
  return readRareLine(text.slice(from, to), line, options, writer)
}

/** Adds `NAME`, `.NAME` or `*.NAME`; false if it is none of them. */
function takeForm(
  text: string,
  start: number,
  to: number,
  line: number,
  withSubdomains: boolean,
  writer: EntryWriter,
): boolean {
  let from = start
  let covers: number = withSubdomains ? Covers.SELF | Covers.BELOW : Covers.SELF
  if (text.charCodeAt(from) === 0x2e) {
    covers = Covers.SELF | Covers.BELOW
    from++
  } else if (text.charCodeAt(from) === 0x2a && text.charCodeAt(from + 1) === 0x2e) {
    covers = Covers.BELOW
    from += 2
  }
  if (!writer.takeName(text, from, to) || isDotted(text, from, to)) return false
  writer.add(covers, Verdict.RULE, line)
  return true
}

/** True for four numbers between dots: an address without a name. */
function isDotted(text: string, from: number, to: number): boolean {
  const last = text.charCodeAt(to - 1)
  return last >= 0x30 && last <= 0x39 && addressOf(text.slice(from, to)) !== null
}

function readRareLine(whole: string, number: number, options: ListOptions, writer: EntryWriter): string | null {
  // First of all: what a comment says must not make its line look like a filter of pages, which is skipped.
  const line = whole.replace(/[ \t\v\f]#.*/s, '').trimEnd()
  if (/^(?:@@)?\|\|/.test(line)) return readFilter(line, number, options, writer)
  if (isPageFilter(line)) {
    writer.skipped++
    return null
  }
  const words = line.split(/[ \t\v\f]+/)
  if (addressOf(words[0]!.replace(/%.*/s, '')) !== null) return readHostsLine(words, number, options, writer)
  const [word = ''] = words
  if (words.length === 1 && takeWord(word, number, options, writer)) return null
  return `${shown(line)} is no name; ${NAME_FORMS}`
}

function takeWord(word: string, number: number, options: ListOptions, writer: EntryWriter): boolean {
  const ascii = asciiOf(word, options)
  return takeForm(ascii, 0, ascii.length, number, options.withSubdomains, writer)
}

/** A name with other letters than those of ASCII as it is asked for (RFC 5891); its leading `.` or `*.` stays. */
function asciiOf(word: string, { toAscii }: ListOptions): string {
  if (!/[^\p{ASCII}]/u.test(word)) return word
  const lead = /^(?:\*?\.)?/.exec(word)![0]
  return `${lead}${toAscii(word.slice(lead.length))}`
}

/** The names of `ADDRESS NAME …`; addresses among them (`0.0.0.0 0.0.0.0`) are none. */
function readHostsLine(
  words: readonly string[],
  number: number,
  options: ListOptions,
  writer: EntryWriter,
): string | null {
  if (words.length === 1)
    return `${shown(words[0]!)} is an address without a name; write ADDRESS NAME, or the name alone`
  for (const word of words.slice(1)) {
    if (word === '' || addressOf(word) !== null) continue
    if (!takeWord(word, number, options, writer)) return `${shown(word)} is no name`
  }
  return null
}

/** `||NAME^`, with `@@` before it an exception; `$important` changes nothing here. */
function readFilter(line: string, number: number, options: ListOptions, writer: EntryWriter): string | null {
  const match = /^(@@)?\|\|(\*\.)?([^*^/:$|\s]+)\^?\|?(?:\$important)?$/.exec(line)
  const isWhole = match !== null && line.includes('^')
  if (!isWhole) {
    writer.skipped++
    return null
  }
  const [, exception, below, name] = match
  const ascii = asciiOf(name!, options)
  if (!writer.takeName(ascii, 0, ascii.length)) return `${shown(name!)} is no name; write ||NAME^`
  const covers = below === undefined ? Covers.SELF | Covers.BELOW : Covers.BELOW
  writer.add(exception === undefined ? covers : covers | Covers.EXCEPTION, Verdict.RULE, number)
  return null
}

/** True for filters of adblock that look at more than a name. */
function isPageFilter(line: string): boolean {
  return COSMETIC.test(line) || /^(?:@@)?(?:\||\/)/.test(line) || /[*^$]/.test(line.replace(/^\*\./, ''))
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === 0x0b || code === 0x0c
}
