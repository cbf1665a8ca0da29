import { NdsReader, TAG_1, TAG_2, TAG_3, TAG_4, TAG_5 } from './nds-reader.ts'
import type { NameInfo, NameTable } from './nds.ts'

/**
 * A serialized NameTable as objects, for commands that show or compare tables; the daemon compiles tables without any. Of
 * a host that stands there twice the later one counts, as protobuf has it. Null where the bytes are no NameTable.
 */
export function decodeNameTable(bytes: Uint8Array): NameTable | null {
  const text = new TextDecoder()
  const reader = new NdsReader()
  reader.reset(bytes)
  const table: NameTable = new Map()
  for (let tag = reader.field(bytes.length); tag !== 0; tag = reader.field(bytes.length)) {
    const end = reader.at + reader.length
    if (tag === TAG_1) {
      let host = ''
      let info = emptyInfo()
      for (let part = reader.field(end); part !== 0; part = reader.field(end)) {
        const partEnd = reader.at + reader.length
        if (part === TAG_1) host = text.decode(bytes.subarray(reader.at, partEnd))
        else if (part === TAG_2) info = readInfo(reader, partEnd, text)
        reader.at = partEnd
      }
      table.set(host, info)
    }
    if (reader.malformed) return null
    reader.at = end
  }
  return reader.malformed ? null : table
}

function readInfo(reader: NdsReader, end: number, text: TextDecoder): NameInfo {
  const info = emptyInfo()
  for (let tag = reader.field(end); tag !== 0; tag = reader.field(end)) {
    const value = text.decode(reader.bytes.subarray(reader.at, reader.at + reader.length))
    if (tag === TAG_1) info.ips.push(value)
    else if (tag === TAG_2) info.registry = value
    else if (tag === TAG_3) info.shortname = value
    else if (tag === TAG_4) info.namespace = value
    else if (tag === TAG_5) info.altHosts.push(value)
    reader.at += reader.length
  }
  return info
}

function emptyInfo(): NameInfo {
  return { ips: [], registry: '', shortname: '', namespace: '', altHosts: [] }
}
