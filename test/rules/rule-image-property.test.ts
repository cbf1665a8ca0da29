/** The matcher beside a plain reference, over any rules: names of all forms, exceptions, types, clients, audit and the mesh. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { nameToWire, scanName } from '../../src/dns/name.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { RuleMatcher } from '../../src/engine/rule-matcher.ts'
import { Covers, EntryWriter, type NameList, Verdict } from '../../src/rules/entries.ts'
import { compileRuleNames, tooManyNames } from '../../src/rules/rule-image.ts'
import { Act, type Rule } from '../../src/rules/rule-set.ts'

interface Entry {
  labels: string[]
  covers: number
  verdict: number
}
interface RuleParts {
  entries: Entry[] | null
  types: number[]
  clients: number[]
  act: number
  isAudit: boolean
  takesMesh: boolean
}

const labels = (least: number): fc.Arbitrary<string[]> =>
  fc.array(fc.constantFrom('a', 'b', 'ab', 'example', 'x-'), { minLength: least, maxLength: 4 })
const entry: fc.Arbitrary<Entry> = fc.record({
  labels: labels(0),
  covers: fc.constantFrom(1, 1, 2, 3, 3, 5, 6, 7),
  verdict: fc.constantFrom(Verdict.RULE, Verdict.RULE, Verdict.NXDOMAIN, Verdict.ALLOW, Verdict.NODATA),
})
const rule: fc.Arbitrary<RuleParts> = fc.record({
  entries: fc.oneof(
    { weight: 6, arbitrary: fc.array(entry, { maxLength: 5 }) },
    { weight: 1, arbitrary: fc.constant(null) },
  ),
  types: fc.array(fc.constantFrom(1, 28), { maxLength: 1 }),
  clients: fc.array(fc.constantFrom(10, 11), { maxLength: 1 }),
  act: fc.constantFrom(Act.LOG, Act.NXDOMAIN, Act.NODATA, Act.ZONE, Act.ALLOW),
  isAudit: fc.integer({ min: 0, max: 5 }).map((one) => one === 0),
  takesMesh: fc.boolean(),
})
const question = fc.record({
  labels: labels(0),
  type: fc.constantFrom(1, 28),
  client: fc.constantFrom(10, 11),
  isMesh: fc.boolean(),
})

function listOf(entries: readonly Entry[]): NameList {
  const writer = new EntryWriter()
  entries.forEach(({ covers, labels: own, verdict }, k) => {
    const wire = own.length === 0 ? new Uint8Array(1) : nameToWire(own.join('.'))!
    writer.name.set(wire.subarray(0, -1))
    writer.nameBytes = wire.length - 1
    writer.add(covers, verdict, k + 1)
  })
  return writer.finish()
}

function ruleOf(parts: RuleParts, place: number): Rule {
  return {
    label: `r${place}`,
    matches: '',
    file: '',
    counter: place,
    act: parts.act,
    isAudit: parts.isAudit,
    hasNames: parts.entries !== null,
    hasExceptions: parts.entries?.some(({ covers }) => (covers & Covers.EXCEPTION) !== 0) === true,
    takesMesh: parts.takesMesh,
    types: parts.types,
    clients: parts.clients.map((first) => ({ address: Uint8Array.of(first, 0, 0, 0), length: 8 })),
    ede: -1,
    note: new Uint8Array(0),
    ttlSeconds: 60,
    records: new Uint8Array(0),
    target: new Uint8Array(0),
    keepsLabels: false,
    answerClass: 0,
  }
}

/** The entry of a rule that says most exactly what it is about, in the order of the list; an exception ends the rule's part. */
function entryFor(entries: readonly Entry[], asked: readonly string[]): Entry | null {
  const isAbout = ({ covers, labels: own }: Entry): boolean => {
    const isSuffix = own.length <= asked.length && own.every((each, k) => each === asked[asked.length - own.length + k])
    return isSuffix && (covers & (own.length === asked.length ? Covers.SELF : Covers.BELOW)) !== 0
  }
  const matched = entries.filter(isAbout)
  if (matched.some(({ covers }) => (covers & Covers.EXCEPTION) !== 0)) return null
  const longest = Math.max(...matched.map(({ labels: own }) => own.length))
  return matched.find(({ labels: own }) => own.length === longest) ?? null
}

test('the first rule that has the name, the type and the client decides, as the reference says', () => {
  fc.assert(
    fc.property(
      fc.array(rule, { maxLength: 8 }),
      fc.array(question, { minLength: 1, maxLength: 20 }),
      fc.integer(),
      (all, questions, seed) => {
        const rules = all.map(ruleOf)
        const names = all.flatMap(({ entries }, place) =>
          entries === null ? [] : [{ rule: place, list: listOf(entries) }],
        )
        const image = compileRuleNames(names, seed)
        const matcher = new RuleMatcher({ rules, image, answerClasses: [], egress: null })
        const query = new ClientQuery()
        for (const { client, isMesh, labels: asked, type } of questions) {
          const wire = asked.length === 0 ? new Uint8Array(1) : nameToWire(asked.join('.').toUpperCase())!
          scanName(wire, 0, wire.length, 1, query.name)
          query.type = type
          query.address = Uint8Array.of(client, 1, 2, 3)
          query.addressLength = 4
          const noted: number[] = []
          let decided: number | null = null
          let isVerdictSure = true
          let verdict: number = Verdict.RULE
          for (const [place, each] of all.entries()) {
            if (isMesh && !each.takesMesh) continue
            if (each.types.length > 0 && !each.types.includes(type)) continue
            if (each.clients.length > 0 && !each.clients.includes(client)) continue
            const found = each.entries === null ? null : entryFor(each.entries, asked)
            if (each.entries !== null && found === null) continue
            if (each.act === Act.LOG || each.isAudit) {
              noted.push(place)
              continue
            }
            decided = place
            verdict = found?.verdict ?? Verdict.RULE
            // Two entries of one name with different words: either may be taken.
            isVerdictSure =
              found === null ||
              each
                .entries!.filter((other) => other.labels.join('.') === found.labels.join('.'))
                .every((other) => other.verdict === verdict)
            break
          }
          matcher.decide(query, isMesh)
          expect(matcher.rule?.label ?? null).toBe(decided === null ? null : `r${decided}`)
          expect([...matcher.noted.subarray(0, matcher.notes)]).toEqual(noted)
          if (decided === null || !isVerdictSure) continue
          const own = all[decided]!.act
          const isZones = verdict === Verdict.ALLOW || (own === Act.ZONE && verdict !== Verdict.RULE)
          const words = {
            [Verdict.NXDOMAIN]: Act.NXDOMAIN,
            [Verdict.NODATA]: Act.NODATA,
            [Verdict.ALLOW]: Act.ALLOW,
          } as Record<number, number>
          expect(matcher.act).toBe(isZones ? words[verdict] : own)
        }
      },
    ),
    { numRuns: 2000 },
  )
})

test('names that fill the table, and names of the greatest length and number of labels, are all found', () => {
  const long = nameToWire(Array.from({ length: 127 }, () => 'a').join('.'))!
  const writer = new EntryWriter()
  const texts = Array.from({ length: 20_000 }, (_, k) => `n${k}.list.example`)
  for (const text of texts) {
    writer.takeName(text, 0, text.length)
    writer.add(Covers.SELF, Verdict.RULE, 1)
  }
  writer.name.set(long.subarray(0, -1))
  writer.nameBytes = long.length - 1
  writer.add(Covers.SELF | Covers.BELOW, Verdict.RULE, 2)
  const parts: RuleParts = { entries: [], types: [], clients: [], act: Act.NXDOMAIN, isAudit: false, takesMesh: false }
  const image = compileRuleNames([{ rule: 0, list: writer.finish() }], 5)
  const matcher = new RuleMatcher({ rules: [ruleOf(parts, 0)], image, answerClasses: [], egress: null })
  const query = new ClientQuery()
  const decide = (wire: Uint8Array): boolean => {
    scanName(wire, 0, wire.length, 1, query.name)
    return matcher.decide(query, false)
  }
  for (const text of texts) expect(decide(nameToWire(text)!)).toBe(true)
  expect(decide(nameToWire('n20000.list.example')!)).toBe(false)
  expect(decide(long)).toBe(true)
  expect(decide(long.subarray(2))).toBe(false)
  expect(matcher.names).toBe(20_001)
})

test('names that take too much are said to, and by how much', () => {
  const list = listOf([{ labels: ['a'], covers: 1, verdict: 0 }])
  expect(tooManyNames([{ rule: 0, list }])).toBeNull()
  expect(tooManyNames([{ rule: 0, list: { ...list, count: 10_000_001 } }])).toMatch(
    /^rules have 10000001 names that take \d+ MiB, and may have 10000000 and 1024 MiB; name the names above them$/,
  )
})
