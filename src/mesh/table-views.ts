import { createHash } from 'node:crypto'
import type { Any } from '../proto/ads.ts'
import { encodeNameTable, NAME_TABLE_TYPE } from '../table/nds.ts'
import { buildNameTable, type Mesh, type TableNode } from './name-table-builder.ts'

/** A name table ready to be sent. Shared by all nodes that see the mesh alike: never written to. */
export interface BuiltTable {
  /** Hash of the content: equal tables have equal versions, also after a restart. */
  version: string
  hosts: number
  bytes: Uint8Array
  resource: Any
}

/** Beyond, all are forgotten: nodes that invent namespaces must not fill the memory. */
const MOST_VIEWS = 1000

/** The tables of one state of the mesh, each built when it is first asked for. */
export class TableViews {
  readonly #mesh: Mesh
  readonly #built: Map<string, BuiltTable> = new Map()

  constructor(mesh: Mesh) {
    this.#mesh = mesh
  }

  tableFor(node: TableNode): BuiltTable {
    const { namespace, servicesDomain, cluster, network, families, takesAutomaticVips } = node
    const key = JSON.stringify([
      namespace,
      servicesDomain,
      cluster,
      network,
      families.v4,
      families.v6,
      takesAutomaticVips,
    ])
    let table = this.#built.get(key)
    if (table === undefined) {
      table = buildTable(this.#mesh, node)
      if (this.#built.size >= MOST_VIEWS) this.#built.clear()
      this.#built.set(key, table)
    }
    return table
  }
}

/** The table of one node, serialized. */
export function buildTable(mesh: Mesh, node: TableNode): BuiltTable {
  const table = buildNameTable(mesh, node)
  const bytes = encodeNameTable(table)
  const version = createHash('sha256').update(bytes).digest('hex').slice(0, 12)
  return { version, hosts: table.size, bytes, resource: { type_url: NAME_TABLE_TYPE, value: bytes } }
}
