/** What servers of zones say: the name is below a DNAME (RFC 6672), or another server's. */
import type { Random } from './random.ts'
import {
  addOpt,
  begin,
  delegation,
  FLAG_QR,
  records,
  serialName,
  type Served,
  soa,
  soaData,
  truncated,
  TTLS,
  writer,
} from './server-records.ts'

const LONGEST_NAME = 255
/** Such a reply; who is `perfect` refers to nobody. Null for a name that is below nothing. */
export function zoneAnswer(
  query: Served,
  isStream: boolean,
  fate: Random,
  serial: number,
  isPerfect: boolean,
): Buffer | null {
  const isReferral = !isPerfect && fate.chance(0.4)
  if (isReferral) refer(query, fate, serial)
  else if (!redirect(query, fate, serial, isPerfect)) return null
  addOpt(query, 0, fate)
  const room = query.opt === null ? 512 : Math.max(512, query.opt.payload)
  return !isStream && writer.length > room ? truncated(query, fate, serial) : writer.take()
}

/** A referral, without RA: to the servers of a zone above the name or above what an alias leads to, or to nobody. */
function refer(query: Served, fate: Random, serial: number): void {
  const name = query.question.slice(0, -4)
  writer.begin(query.id, FLAG_QR | (query.flags & 0x0110) | (fate.chance(0.3) ? 0x0400 : 0))
  writer.rawQuestion(query.question)
  const target = serialName('r', serial)
  const isAlias = query.type !== 5 && fate.chance(0.3)
  if (isAlias) writer.record(1, name, 5, 1, 60, true, () => writer.name(target, true))
  const last = isAlias ? target : name
  const zone = last === '\0' || fate.chance(0.3) ? last : last.slice(last.charCodeAt(0) + 1)
  const kind = fate.below(6)
  if (kind === 0) return
  if (kind === 1) writer.record(2, zone, 6, 1, 60, true, () => soaData(serial, 60))
  const elsewhere = kind === 2 ? '\u0005other\u0004zone\0' : zone
  writer.record(2, elsewhere, 2, 1, 300, true, () => writer.name(serialName('glue', serial), true))
  if (fate.chance(0.5)) writer.record(3, serialName('glue', serial), 1, 1, 300, true, () => writer.u32(serial))
}

/** An answer for a name below a DNAME (RFC 6672), with or without the CNAME that follows from it; false for a name that is below nothing. */
function redirect(query: Served, fate: Random, serial: number, isPerfect: boolean): boolean {
  const name = query.question.slice(0, -4)
  let at = 0
  do at += name.charCodeAt(at) + 1
  while (at < name.length - 1 && fate.chance(0.4))
  if (name === '\0' || at >= name.length - 1) return false
  const [prefix, zone] = [name.slice(0, at), name.slice(at)]
  // Below itself, a DNAME never ends.
  const isInCircle = !isPerfect && fate.chance(0.1)
  const target = isInCircle ? fate.pick([zone, `\u0001x${zone}`]) : redirectTarget('d', fate, serial)
  const ttl = fate.weighted(TTLS)
  const links: [owner: string, type: number, ttl: number, target: string][] = [[zone, 39, ttl, target]]
  let last = prefix + target
  const isWritten = fate.chance(0.6) && last.length <= LONGEST_NAME
  if (isWritten) links.push([name, 5, fate.pick([ttl, 0, fate.weighted(TTLS)]), last])
  // The name that a DNAME leads to may be below another one.
  if (!isInCircle && fate.chance(0.2)) {
    const next = redirectTarget('e', fate, serial)
    links.push([target, 39, fate.weighted(TTLS), next])
    last = prefix + next
  }
  begin(query, 0, fate)
  const hasEnd = query.type !== 5 && last.length <= LONGEST_NAME && fate.chance(0.85)
  const isInOrder = serial % 3 !== 0
  const end = (): void => {
    if (hasEnd) records(query.type, last, true, fate.weighted(TTLS), serial, fate.pick([1, 2, 8]), fate)
  }
  if (!isInOrder) end()
  const isCompressed = fate.chance(0.3)
  for (const [above, type, linkTtl, to] of isInOrder ? links : links.toReversed())
    writer.record(1, above, type, 1, linkTtl, true, () => writer.name(to, type === 5 || isCompressed))
  if (isInOrder) end()
  if (!hasEnd && fate.chance(0.3)) soa(query, 60, 60, serial)
  if (fate.chance(0.1)) delegation(query, fate, serial)
  return true
}

/** Some targets are so long that nothing, or little, finds place before them. */
function redirectTarget(letter: string, fate: Random, serial: number): string {
  const lengths = fate.chance(0.2) ? [61, 61, 61, 46 + fate.below(16)] : [10, 9]
  const labels = lengths.map(
    (length) => String.fromCharCode(length) + `${letter}${serial}`.padEnd(length, 'L').slice(0, length),
  )
  return `${labels.join('')}\0`
}
