import { readFileSync } from 'node:fs'
import protobuf from 'protobufjs'
import type { NameInfo, NameTable } from '../../src/table/nds.ts'

const { root } = protobuf.parse(readFileSync(new URL('../../protos/nds.proto', import.meta.url), 'utf8'))
const NAME_TABLE = root.lookupType('istio.networking.nds.v1.NameTable')

/** The name table in `bytes` as objects, by protobufjs's reflection: nothing of ours reads them. Throws if they are none. */
export function decodeNameTable(bytes: Uint8Array): NameTable {
  const table: Record<string, Partial<NameInfo>> = Reflect.get(NAME_TABLE.decode(bytes), 'table')
  return new Map(
    Object.entries(table).map(([host, { ips = [], registry = '', shortname = '', namespace = '', altHosts = [] }]) => [
      host,
      { ips, registry, shortname, namespace, altHosts },
    ]),
  )
}

/** Bytes of the table as protobufjs writes it. */
export function protobufBytes(table: NameTable): number {
  return NAME_TABLE.encode({ table: Object.fromEntries(table) }).finish().length
}
