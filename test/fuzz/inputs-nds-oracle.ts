/**
 * What a serialized name table says, by protobufjs's reflection decoder made from protos/nds.proto: nothing of ours reads
 * a byte of it. The strings are decoded as bytes and the map as the repeated entries that it is on the wire, so that
 * what is not UTF-8, and hosts that come twice, can be seen.
 *
 * The compiler differs from it in these ways, all of them on purpose:
 *
 * - Groups (wire types 3 and 4, out of use since proto2) are malformed, and varints of more than ten bytes, which
 *   protobuf forbids and protobufjs steps over.
 * - What is not UTF-8 is taken as it is: a name in DNS is bytes.
 * - Of an entry with two values the last counts; they are not merged, and the bytes of the others are not looked into.
 * - Of entries with the same host the last that is one counts: an entry without a valid address is none.
 */
import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import protobuf from 'protobufjs'

const PROTO = readFileSync(new URL('../../protos/nds.proto', import.meta.url), 'utf8')
const TABLE = 'istio.networking.nds.v1.NameTable'

/** As istiod's clients see it. */
const asItIs = protobuf.parse(PROTO).root.lookupType(TABLE)
const asBytes = protobuf
  .parse(
    PROTO.replace(
      'map<string, NameInfo> table = 1;',
      'message Entry { string key = 1; NameInfo value = 2; } repeated Entry table = 1;',
    )
      .replaceAll(/(?:repeated )?string (key|ips|registry|shortname|namespace|alt_hosts) =/g, 'repeated bytes $1 =')
      .replace('NameInfo value =', 'repeated NameInfo value ='),
  )
  .root.lookupType(TABLE)

/** One entry of the table, its strings still bytes. */
export interface OracleEntry {
  host: Uint8Array
  ips: Uint8Array[]
  registry: Uint8Array
  shortname: Uint8Array
  namespace: Uint8Array
  altHosts: Uint8Array[]
}

/** What the bytes say. */
export interface OracleTable {
  entries: OracleEntry[]
  /** Every string is UTF-8. */
  isText: boolean
}

/** Every field as often as it comes: of those that may come once the last counts. */
type RawInfo = Record<'ips' | 'registry' | 'shortname' | 'namespace' | 'altHosts', Uint8Array[]>
interface RawEntry {
  key: Uint8Array[]
  value: RawInfo[]
}

const NONE: Uint8Array = new Uint8Array(0)

/** Null if the bytes are no NameTable. */
export function decodeByReflection(bytes: Uint8Array): OracleTable | null {
  let raw: object
  try {
    raw = asBytes.decode(bytes)
  } catch {
    return null
  }
  const table: RawEntry[] = Reflect.get(raw, 'table')
  const isText = table.every(
    ({ key, value }) =>
      key.every(isUtf8) &&
      value.every(({ ips, registry, shortname, namespace, altHosts }) =>
        [ips, registry, shortname, namespace, altHosts].every((texts) => texts.every(isUtf8)),
      ),
  )
  const entries = table.map(({ key, value }): OracleEntry => {
    const info = value.at(-1)
    return {
      host: key.at(-1) ?? NONE,
      ips: info?.ips ?? [],
      registry: info?.registry.at(-1) ?? NONE,
      shortname: info?.shortname.at(-1) ?? NONE,
      namespace: info?.namespace.at(-1) ?? NONE,
      altHosts: info?.altHosts ?? [],
    }
  })
  return { entries, isText }
}

/** Whether the decoder of the schema as it is takes the bytes, and which hosts there are then. */
export function hostsBySchema(bytes: Uint8Array): string[] | null {
  try {
    return Object.keys(Reflect.get(asItIs.decode(bytes), 'table'))
  } catch {
    return null
  }
}

/** What explains that the decoders differ. */
export interface Oddities {
  /** A group, or a varint of more than ten bytes, stands where a decoder would walk: in the table, an entry or a NameInfo. */
  malformedToUs: boolean
  /** An entry has more than one value. */
  repeatedValues: boolean
}

/** Looks for oddities as far as the bytes make sense. */
export function odditiesOf(bytes: Uint8Array): Oddities {
  const found: Oddities = { malformedToUs: false, repeatedValues: false }
  walk(bytes, 0, bytes.length, 0, found)
  return found
}

function walk(bytes: Uint8Array, from: number, to: number, depth: number, found: Oddities): void {
  const reader = protobuf.Reader.create(bytes)
  reader.pos = from
  let values = 0
  try {
    while (reader.pos < to) {
      const tag = reader.uint32()
      const [field, type] = [tag >>> 3, tag & 7]
      const at = reader.pos
      if (type !== 2 && type !== 3 && type !== 4) reader.skipType(type)
      if (type === 3 || type === 4 || (type === 0 && reader.pos - at > 10)) {
        found.malformedToUs = true
        return
      }
      if (type !== 2) continue
      const end = reader.uint32() + reader.pos
      if (end > to) return
      if (depth === 1 && field === 2 && ++values === 2) found.repeatedValues = true
      if ((depth === 0 && field === 1) || (depth === 1 && field === 2)) walk(bytes, reader.pos, end, depth + 1, found)
      reader.pos = end
    }
  } catch {
    // As far as they make sense.
  }
}

/** Where the fields of the table itself are, as far as the bytes make sense. */
export function fieldsOf(bytes: Uint8Array): [from: number, to: number][] {
  const reader = protobuf.Reader.create(bytes)
  const fields: [number, number][] = []
  try {
    while (reader.pos < bytes.length) {
      const from = reader.pos
      reader.skipType(reader.uint32() & 7)
      fields.push([from, reader.pos])
    }
  } catch {
    // As far as they make sense.
  }
  return fields
}
