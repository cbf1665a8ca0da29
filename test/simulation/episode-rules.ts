/** Rules of an episode: as the engine gets them, and beside them which names they are about, for the reference. */
import { EntryWriter, Covers, Verdict } from '../../src/rules/entries.ts'
import { encodeRecords, type RecordData } from '../../src/rules/record-text.ts'
import { compileRuleNames } from '../../src/rules/rule-image.ts'
import { Act, type EgressDenial, type Rule, type RuleSet } from '../../src/rules/rule-set.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { Names } from './names.ts'
import type { Random } from './random.ts'

/** A name of a rule, in wire format. */
export interface RuleName {
  name: string
  hasSelf: boolean
  hasBelow: boolean
  isException: boolean
  /** What a zone says of it. */
  verdict: number
}

/** Rules, and for each of them its names, null if it looks at none. */
export interface EpisodeRules {
  set: RuleSet
  names: (RuleName[] | null)[]
}

const NONE = -1
const EDES = [15, 16, 17] as const
/** Actions, as often as they are worth. Servers are asked in another way by none of them. */
const ACTS: readonly (readonly [number, number])[] = [
  [3, Act.LOG],
  [3, Act.ALLOW],
  [3, Act.NXDOMAIN],
  [2, Act.NODATA],
  [1, Act.REFUSE],
  [1, Act.DROP],
  [3, Act.ANSWER],
  [3, Act.ZONE],
]
const ZONE_VERDICTS = [Verdict.NXDOMAIN, Verdict.NODATA, Verdict.ALLOW, Verdict.DROP, Verdict.TCP_ONLY] as const
const CLIENTS = [
  { address: Uint8Array.of(127, 0, 0, 0), length: 8 },
  { address: Uint8Array.of(10, 0, 0, 0), length: 9 },
  { address: Uint8Array.from({ length: 16 }), length: 64 },
]

/** Gives most settings rules, those among them that change the question only if `mayRewrite`. Returns all of them. */
export function addRules(
  random: Random,
  settings: readonly EngineSettings[],
  names: Names,
  mayRewrite: boolean,
): EpisodeRules[] {
  return settings.flatMap((each) => {
    if (random.chance(0.3)) return []
    const rules = makeRules(random, names, mayRewrite)
    each.rules = rules.set
    return [rules]
  })
}

/** Rules about some of the names that are asked for. */
function makeRules(random: Random, names: Names, mayRewrite: boolean): EpisodeRules {
  const all = [...names.upstream, ...names.upstream, ...names.mesh.slice(0, 60), ...names.special].filter(
    (name) => name !== '\0',
  )
  const made = Array.from({ length: 1 + random.below(6) }, (_, place) => makeRule(random, all, place, mayRewrite))
  const isClosed = random.chance(0.15)
  const lists = made.flatMap(({ list }, rule) => (list === null ? [] : [{ rule, list: packed(list) }]))
  return {
    set: {
      rules: made.map(({ rule }) => rule),
      image: compileRuleNames(lists, random.next()),
      answerClasses: [],
      egress: isClosed ? makeEgress(random, made.length) : null,
    },
    names: made.map(({ list }) => list),
  }
}

function makeRule(
  random: Random,
  all: readonly string[],
  place: number,
  mayRewrite: boolean,
): { rule: Rule; list: RuleName[] | null } {
  const act = mayRewrite && random.chance(0.3) ? Act.REWRITE : random.weighted(ACTS)
  const target = Buffer.from(random.pick(all), 'latin1')
  const isZone = act === Act.ZONE
  const list = !isZone && random.chance(0.15) ? null : makeNames(random, all, isZone)
  const ttlSeconds = random.pick([1, 60, 3600])
  const isDenial = isZone || (act >= Act.NXDOMAIN && act <= Act.DROP)
  const rule: Rule = {
    label: `rules[${place}]`,
    matches: '',
    file: '',
    counter: place,
    act,
    isAudit: random.chance(0.15),
    hasNames: list !== null,
    hasExceptions: list?.some(({ isException }) => isException) === true,
    takesMesh: random.chance(0.4),
    // A rule without names takes everything, and others would have nothing to do.
    types: random.chance(list === null ? 0.9 : 0.3) ? random.pick([[1], [28], [1, 28], [15, 16], [65], [255]]) : [],
    clients: random.chance(0.2) ? [random.pick(CLIENTS)] : [],
    ede: isDenial ? random.pick(EDES) : NONE,
    note: Buffer.from(`rule rules[${place}]`),
    ttlSeconds,
    records: act === Act.ANSWER ? makeRecords(random, ttlSeconds, mayRewrite ? target : null) : new Uint8Array(0),
    target: act === Act.REWRITE ? target : new Uint8Array(0),
    keepsLabels: random.chance(0.3),
    answerClass: 0,
  }
  return { rule, list }
}

function makeNames(random: Random, all: readonly string[], isZone: boolean): RuleName[] {
  const found = new Map<string, RuleName>()
  for (let k = random.below(8); k >= 0; k--) {
    let name = random.pick(all)
    // One above it, at times.
    while (name.length > name.charCodeAt(0) + 2 && random.chance(0.2)) name = name.slice(name.charCodeAt(0) + 1)
    const [hasSelf, hasBelow] = random.pick([
      [true, false],
      [true, true],
      [false, true],
    ] as const)
    const isException = random.chance(0.25)
    found.set(name, {
      name,
      hasSelf,
      hasBelow,
      isException,
      verdict: isZone ? random.pick(ZONE_VERDICTS) : Verdict.RULE,
    })
  }
  return [...found.values()]
}

function packed(list: readonly RuleName[]): ReturnType<EntryWriter['finish']> {
  const writer = new EntryWriter()
  for (const { hasBelow, hasSelf, isException, name, verdict } of list) {
    writer.name.set(Buffer.from(name.slice(0, -1), 'latin1'))
    writer.nameBytes = name.length - 1
    const covers = (hasSelf ? Covers.SELF : 0) | (hasBelow ? Covers.BELOW : 0) | (isException ? Covers.EXCEPTION : 0)
    writer.add(covers, verdict, 1)
  }
  return writer.finish()
}

function v4(k: number): RecordData {
  return { type: 1, ttlSeconds: null, data: Uint8Array.of(192, 0, 2, k) }
}

function v6(k: number): RecordData {
  return { type: 28, ttlSeconds: null, data: Uint8Array.from({ length: 16 }, (_, i) => (i === 15 ? k : 0xfd)) }
}

/** A CNAME to `alias`, if that is given; few addresses of both families and a text, or many of one family. All have the same TTL. */
function makeRecords(random: Random, ttlSeconds: number, alias: Uint8Array | null): Uint8Array {
  if (alias !== null && random.chance(0.5))
    return encodeRecords([{ type: 5, ttlSeconds: null, data: alias }], ttlSeconds)
  const words: RecordData = { type: 16, ttlSeconds: null, data: Buffer.from('\u000fsome words more') }
  if (random.chance(0.2))
    return encodeRecords(
      Array.from({ length: 90 }, (_, k) => v4(k)),
      ttlSeconds,
    )
  const few = [v4(1), v4(2), v6(1), words].filter(() => random.chance(0.6))
  return encodeRecords(few.length > 0 ? few : [v4(3)], ttlSeconds)
}

function makeEgress(random: Random, counter: number): EgressDenial {
  return {
    isAudit: random.chance(0.5),
    isNodata: random.chance(0.5),
    takesMesh: random.chance(0.3),
    awaitsTable: random.chance(0.8),
    counter,
    ede: 15,
    note: Buffer.from('no rule allows it (egress.default)'),
    ttlSeconds: 60,
    searchDomains: [Buffer.from('\u0004shop\u0003svc\u0007cluster\u0005local\0', 'latin1')],
  }
}
