/**
 * Istio's name table (package istio.networking.nds.v1, see protos/nds.proto) as objects, and its two encodings. The
 * protobuf bytes are what every source hands on: xDS as received, files after encoding. Nothing between a source and
 * the compiled image uses the objects except where a table is built or shown.
 */

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
 * Whoever takes a name table in: the daemon's compiler behind it, an array in a test.
 * `bytes` is a serialized NameTable, the caller's again when the call returns.
 * `version` is the source's word for it (xDS version_info, a file's hash), shown to people.
 * A table that is refused leaves the one in use as it is; `reason` is one line, fit for an xDS error_detail.
 */
export interface TableSink {
  accept(bytes: Uint8Array, version: string): TableVerdict
}

export type TableVerdict = { accepted: true; changed: boolean } | { accepted: false; reason: string }
