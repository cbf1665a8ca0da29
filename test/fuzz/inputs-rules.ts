/** Files of names: any text gives names that rules match, and what a line says depends on no other line. */
import { domainToASCII } from 'node:url'
import { scanName } from '../../src/dns/name.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { RuleMatcher } from '../../src/engine/rule-matcher.ts'
import { Covers, entryBytes, type NameList, Verdict } from '../../src/rules/entries.ts'
import { readNameList } from '../../src/rules/name-list.ts'
import { isZone } from '../../src/rules/policy-zone.ts'
import { compileRuleNames } from '../../src/rules/rule-image.ts'
import { Act, type Rule } from '../../src/rules/rule-set.ts'
import type { Random } from '../simulation/random.ts'
import { bytesOf, mutated, repeated, type Stock } from './inputs-mutator.ts'
import { type FuzzTarget, must, mustBeOneLine, mustBeUnpolluted, mustEqual, templateOf } from './inputs-target.ts'

const OPTIONS = { withSubdomains: false, hasAction: true, ttlSeconds: 60, toAscii: domainToASCII }
const MOST_ASKED = 60
const MAX_NAME = 255

const WORDS = [
  'a.example',
  '.b.example',
  '*.c.example',
  'Ads.Example.',
  '||d.example^',
  '@@||e.d.example^',
  '||*.f.example^',
  '||g.example/path',
  '0.0.0.0 ',
  '::1 ',
  'fe80::1%lo ',
  'localhost',
  'CNAME . ',
  ' CNAME .',
  ' CNAME *.',
  ' CNAME rpz-passthru.',
  ' CNAME rpz-drop.',
  ' IN A 192.0.2.1',
  ' 60 AAAA 2001:db8::1',
  ' TXT "a;b" c',
  ' SRV 1 2 3 h.example.',
  '@ SOA a. b. (1 2 3 4',
  ' 5)',
  '$ORIGIN rpz.example.',
  '$TTL 1h',
  '$INCLUDE x',
  '32.1.0.0.10.rpz-ip',
  'bücher.example',
  'xn--bcher-kva.example',
  '\\046x.example',
  '\\. ',
  '"',
  '(',
  ')',
  ';',
  '#',
  '!',
  '##',
  '^',
  '$',
  '*',
  '.',
  '..',
  '-',
  '_a',
  `${'a'.repeat(63)}.`,
  `${'a'.repeat(64)}.`,
  `${'a'.repeat(62)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`,
  ' ',
  '\t',
  '\n',
  '\r\n',
  '\r',
  '\0',
  '\uFEFF',
  '\u2028',
  '\uD800',
  '__proto__',
]

/** The target `rules`. */
export class RuleFileTarget implements FuzzTarget {
  readonly name = 'rules'
  readonly #stock: Stock

  constructor(seeds: readonly Uint8Array[]) {
    const list = '# names\nads.example\n0.0.0.0 track.example\n||d.example^\n@@||e.d.example^\n*.w.example\n'
    const zone = '$TTL 60\n@ SOA a. b. 1 2 3 4 5\nads.example CNAME .\n*.x.example CNAME *.\nl.example A 192.0.2.1\n'
    this.#stock = {
      seeds: [Buffer.from(list), Buffer.from(zone), ...seeds],
      tokens: bytesOf(WORDS),
      maxBytes: 4096,
    }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    const kind = random.fraction()
    if (kind < 0.0005) return repeated(random.pick(this.#stock.tokens), 20_000)
    if (kind > 0.6) return mutated(random, this.#stock, pool)
    const parts: Uint8Array[] = []
    for (let line = 1 + random.below(6); line > 0; line--) {
      for (let word = 1 + random.below(3); word > 0; word--) parts.push(random.pick(this.#stock.tokens))
      parts.push(Buffer.from('\n'))
    }
    return Buffer.concat(parts)
  }

  check(input: Uint8Array): string {
    const text = new TextDecoder().decode(input)
    const { list, problem } = readNameList(text, OPTIONS)
    const zone = readNameList(text, { ...OPTIONS, hasAction: false })
    mustBeUnpolluted()
    for (const each of [problem, zone.problem]) {
      if (each === null) continue
      mustBeOneLine(each, 'a problem')
      must(/^line \d+: /.test(each), 'a problem has no line', each)
    }
    const entries = entriesOf(list)
    must(entries.length === list.count, 'the number of names is another', [entries.length, list.count])
    if (!isZone(text, 0) && !text.startsWith('\uFEFF')) lineByLine(text, entries, problem)
    look(list, entries)
    const kind = isZone(text, 0) ? 'zone' : 'list'
    return `${kind}, ${Math.min(3, list.count)} names, ${problem === null ? 'good' : templateOf(problem)}`
  }
}

interface Entry {
  covers: number
  verdict: number
  line: number
  /** Wire format, with the root. */
  name: Uint8Array
}

function entriesOf({ data, entries }: NameList): Entry[] {
  const found: Entry[] = []
  let at = 0
  while (at < entries.length) {
    const verdict = entries[at + 1]!
    const nameAt = at + 6 + (verdict === Verdict.DATA ? 4 : 0) + 1
    const name = Uint8Array.from([...entries.subarray(nameAt, nameAt + entries[nameAt - 1]!), 0])
    must(name.length <= MAX_NAME, 'a name is too long', name.length)
    const line = new DataView(entries.buffer, entries.byteOffset).getUint32(at + 2, true)
    if (verdict === Verdict.DATA) {
      const setAt = new DataView(entries.buffer, entries.byteOffset).getUint32(at + 6, true)
      must(setAt < data.length && data[setAt]! > 0, 'an answer has no records', setAt)
    }
    found.push({ covers: entries[at]!, verdict, line, name })
    at += entryBytes(entries, at)
  }
  must(at === entries.length, 'the entries do not end where they should')
  return found
}

/** A list says what its lines say one by one. */
function lineByLine(text: string, entries: readonly Entry[], problem: string | null): void {
  const wanted: string[] = []
  let first: number | null = null
  text.split(/\r\n|\r|\n/).forEach((line, index) => {
    // A line that would be a zone by itself, or has a mark, is read in another way there.
    const { list, problem: fault } = readNameList(`#\n${line}`, OPTIONS)
    if (fault !== null) first ??= index + 1
    for (const entry of entriesOf(list)) wanted.push(shown({ ...entry, line: index + 1 }))
  })
  if (text.split(/\r\n|\r|\n/).some((line) => isZone(line, 0))) return
  mustEqual(entries.map(shown), wanted, 'its lines say something else one by one')
  mustEqual(problem === null ? null : Number(/^line (\d+)/.exec(problem)![1]), first, 'another line is bad')
}

function shown({ covers, line, name, verdict }: Entry): string {
  return `${line} ${covers} ${verdict} ${Buffer.from(name).toString('hex')}`
}

/** Each name is found by a rule that has the list, unless an exception takes it. */
function look(list: NameList, entries: readonly Entry[]): void {
  const matcher = new RuleMatcher({
    rules: [rule(list.hasExceptions)],
    image: compileRuleNames([{ rule: 0, list }], 7),
    answerClasses: [],
    egress: null,
  })
  const query = new ClientQuery()
  for (const { covers, name } of entries.slice(0, MOST_ASKED)) {
    const asked = (covers & Covers.SELF) !== 0 ? name : Uint8Array.from([1, 0x71, ...name])
    if (asked.length > MAX_NAME) continue
    scanName(asked, 0, asked.length, 1, query.name)
    const isFound = matcher.decide(query, false) && matcher.rule !== null
    if ((covers & Covers.EXCEPTION) !== 0) must(!isFound, 'an exception is matched', Buffer.from(name).toString('hex'))
    else must(isFound || list.hasExceptions, 'a name is not found', Buffer.from(name).toString('hex'))
  }
}

function rule(hasExceptions: boolean): Rule {
  const none = new Uint8Array(0)
  return {
    label: 'r',
    matches: '',
    file: '',
    counter: 0,
    act: Act.ZONE,
    isAudit: false,
    hasNames: true,
    hasExceptions,
    takesMesh: false,
    types: [],
    clients: [],
    ede: -1,
    note: none,
    ttlSeconds: 60,
    records: none,
    target: none,
    keepsLabels: false,
    answerClass: 0,
  }
}
