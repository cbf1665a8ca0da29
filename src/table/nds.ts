/**
 * Istio's name table (package istio.networking.nds.v1, see protos/nds.proto) as objects, and its two encodings. The
 * protobuf bytes are what every source hands on: xDS as received, files after encoding. Nothing between a source and
 * the compiled image uses the objects except where a table is built or shown.
 */
import { TAG_1, TAG_2, TAG_3, TAG_4, TAG_5 } from './nds-reader.ts'
import { NdsWriter } from './nds-writer.ts'

/** Type URL of the one resource that byname subscribes to. */
export const NAME_TABLE_TYPE = 'type.googleapis.com/istio.networking.nds.v1.NameTable'

/** One host of a name table. */
export interface NameInfo {
  ips: string[]
  /** `Kubernetes`, `External`, … */
  registry: string
  /** For a Kubernetes service `name`, for a pod of a headless one `pod.subdomain`. */
  shortname: string
  namespace: string
  /** Deprecated in Istio, still read. */
  altHosts: string[]
}

/** Host → info. Hosts are presentation format without a trailing dot. */
export type NameTable = Map<string, NameInfo>

/**
 * Takes name tables in: the keeper in the daemon, an array in a test.
 * `bytes` is a serialized NameTable, the caller's again when the call returns.
 * `version` is the source's word for it (xDS version_info, a file's hash), shown to people.
 * A table that is refused leaves the one in use as it is; `reason` is one line, fit for an xDS error_detail.
 */
export interface TableSink {
  accept(bytes: Uint8Array, version: string): TableVerdict
}

/** What became of a table; `reason` is one line. */
export type TableVerdict = { accepted: true; changed: boolean } | { accepted: false; reason: string }

/** A name table that cannot be read. The message names the host and field. */
class NameTableError extends Error {
  readonly code = 'ERR_NAME_TABLE'

  constructor(message: string, options?: ErrorOptions) {
    super(message, options)
    this.name = 'NameTableError'
  }
}

/** The serialized NameTable (protobuf) of `table`, hosts in its order. */
export function encodeNameTable(table: NameTable): Uint8Array {
  const writer = new NdsWriter()
  for (const [host, info] of table) {
    const entry = writer.begin(TAG_1)
    writer.text(TAG_1, host)
    const value = writer.begin(TAG_2)
    for (const ip of info.ips) writer.text(TAG_1, ip)
    if (info.registry !== '') writer.text(TAG_2, info.registry)
    if (info.shortname !== '') writer.text(TAG_3, info.shortname)
    if (info.namespace !== '') writer.text(TAG_4, info.namespace)
    for (const altHost of info.altHosts) writer.text(TAG_5, altHost)
    writer.end(value)
    writer.end(entry)
  }
  return writer.bytes()
}

const FIELDS = 'ips, registry, shortname, namespace, altHosts'

/**
 * Reads `{"table": {HOST: {"ips": […], "registry": …, "shortname": …, "namespace": …, "altHosts": […]}}}`, every field
 * optional, `alt_hosts` for `altHosts` allowed (proto3 JSON takes both). Throws NameTableError that names host and field.
 */
export function parseNameTableJson(text: string): NameTable {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new NameTableError(`not JSON: ${reason.replace(/\s+/g, ' ')}`, { cause })
  }
  if (!isObject(json)) throw new NameTableError('expected an object {"table": {HOST: …}}')
  for (const key of Object.keys(json)) {
    if (key !== 'table') throw new NameTableError(`unknown key ${quote(key)}: expected {"table": {HOST: …}}`)
  }
  const hosts = json['table'] ?? {}
  if (!isObject(hosts)) throw new NameTableError('"table": expected an object {HOST: …}')
  // Loops instead of entries and maps: a file of 10,000 hosts is read at start, before the first answer.
  const table: NameTable = new Map()
  for (const host of Object.keys(hosts)) table.set(host, parseInfo(host, hosts[host]))
  return table
}

function parseInfo(host: string, value: unknown): NameInfo {
  if (!isObject(value)) throw new NameTableError(`host ${quote(host)}: expected an object with ${FIELDS}`)
  const info: NameInfo = { ips: [], registry: '', shortname: '', namespace: '', altHosts: [] }
  for (const field in value) {
    const content = value[field]
    // In proto3 JSON null is the field's default.
    if (content === null) continue
    if (field === 'ips') info.ips = strings(host, field, content)
    else if (field === 'altHosts' || field === 'alt_hosts') info.altHosts = strings(host, field, content)
    else if (field === 'registry' || field === 'shortname' || field === 'namespace') {
      if (typeof content !== 'string') throw new NameTableError(`host ${quote(host)}: "${field}" must be a string`)
      info[field] = content
    } else throw new NameTableError(`host ${quote(host)}: unknown field ${quote(field)} (there are ${FIELDS})`)
  }
  return info
}

function strings(host: string, field: string, value: unknown): string[] {
  if (isStrings(value)) return value
  throw new NameTableError(`host ${quote(host)}: "${field}" must be a list of strings`)
}

/** On one line, cut when it is long. */
function quote(text: string): string {
  return JSON.stringify(text.length > 255 ? `${text.slice(0, 254)}…` : text)
}

function isStrings(value: unknown): value is string[] {
  if (!Array.isArray(value)) return false
  for (const item of value) if (typeof item !== 'string') return false
  return true
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** The table as indented proto3 JSON, hosts sorted, empty fields left out. `parseNameTableJson` reads it back. */
export function nameTableToJson(table: NameTable): string {
  const hosts = [...table].toSorted(([a], [b]) => (a < b ? -1 : 1))
  const json = hosts.map(([host, { ips, registry, shortname, namespace, altHosts }]): [string, Partial<NameInfo>] => [
    host,
    {
      ips,
      ...(registry !== '' && { registry }),
      ...(shortname !== '' && { shortname }),
      ...(namespace !== '' && { namespace }),
      ...(altHosts.length > 0 && { altHosts }),
    },
  ])
  return JSON.stringify({ table: Object.fromEntries(json) }, null, 2)
}
