/** Rules that no query reaches, because an earlier one decides on all that they are about. */
import { ScannedName, scanName } from '../dns/name.ts'
import { Covers, ENTRY_HEAD, entryBytes, Verdict } from './entries.ts'
import { RuleImage, type RuleNames } from './rule-image.ts'
import { Act, type ClientPrefix, type Rule } from './rule-set.ts'

/** A rule that is never reached, and the earlier one that covers it: places of both. */
export interface Unreachable {
  rule: number
  by: number
}

/**
 * The rules that are wholly covered by one earlier rule: by its names, types and clients. `names`: those of all rules, of which
 * `image` is made; `meansMesh`: whether a rule, by its place, is meant for names of the mesh: one that does not take those
 * does not cover it. Of a rule with many names all are looked at only as long as some rule covers those so far.
 */
export function unreachableRules(
  rules: readonly Rule[],
  names: readonly RuleNames[],
  image: SharedArrayBuffer,
  meansMesh: (place: number) => boolean,
): Unreachable[] {
  const reader = new RuleImage(image)
  const scanned = new ScannedName()
  return rules.flatMap((rule, place): Unreachable[] => {
    let candidates = rules
      .slice(0, place)
      .map((_, earlier) => earlier)
      .filter((earlier) => mayCover(rules[earlier]!, rule) && (rules[earlier]!.takesMesh || !meansMesh(place)))
    if (candidates.length === 0) return []
    const lists = names.filter((each) => each.rule === place)
    // Without names it is about all: only another such rule covers it. Without names so far nothing is known.
    if (lists.length === 0) candidates = rule.hasNames ? [] : candidates.filter((earlier) => !rules[earlier]!.hasNames)
    for (const { list } of lists) {
      const { entries } = list
      for (let at = 0; at < entries.length && candidates.length > 0; at += entryBytes(entries, at)) {
        const covers = readEntry(entries, at, scanned)
        if ((covers & Covers.EXCEPTION) !== 0) continue
        reader.prepare(scanned)
        candidates = candidates.filter(
          (earlier) => !rules[earlier]!.hasNames || reader.covers(scanned, earlier, covers),
        )
      }
    }
    const [by] = candidates
    return by === undefined ? [] : [{ rule: place, by }]
  })
}

/** True if the earlier rule ends the search for all clients and types of the later one. */
function mayCover(earlier: Rule, later: Rule): boolean {
  if (earlier.act === Act.LOG || earlier.isAudit || earlier.hasExceptions) return false
  const hasTypes =
    earlier.types.length === 0 || (later.types.length > 0 && later.types.every((type) => earlier.types.includes(type)))
  const hasClients =
    earlier.clients.length === 0 ||
    (later.clients.length > 0 &&
      later.clients.every((client) => earlier.clients.some((each) => contains(each, client))))
  return hasTypes && hasClients
}

function contains(outer: ClientPrefix, inner: ClientPrefix): boolean {
  if (outer.address.length !== inner.address.length || outer.length > inner.length) return false
  for (let bit = 0; bit < outer.length; bit++) {
    const mask = 0x80 >> (bit & 7)
    if (((outer.address[bit >> 3]! ^ inner.address[bit >> 3]!) & mask) !== 0) return false
  }
  return true
}

/** Made once, and overwritten by each entry that is read. */
const wire = new Uint8Array(256)

/** Reads the entry's name into `into` and returns what it covers. */
function readEntry(entries: Uint8Array, at: number, into: ScannedName): number {
  const nameAt = at + ENTRY_HEAD + (entries[at + 1] === Verdict.DATA ? 4 : 0) + 1
  const length = entries[nameAt - 1]!
  wire.set(entries.subarray(nameAt, nameAt + length))
  wire[length] = 0
  scanName(wire, 0, length + 1, 0, into)
  return entries[at]!
}
