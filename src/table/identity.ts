/** Who the workload is, as far as names depend on it. */
export interface TableIdentity {
  /** Kubernetes namespace: its services answer to their short names. */
  namespace: string
  /** Domain of the namespace, e.g. `shop.svc.cluster.local`; less its first label it is the cluster's (`svc.cluster.local`). */
  domain: string
  /** First search domain of resolv.conf, null if there is none: names are answered with it appended. */
  searchDomain: string | null
}

/**
 * Nobody's identity. An image made for it answers for every host's full name, for wildcards and for addresses, as those made
 * for workloads do, and has no short names and no search domain: it is the same for all workloads of a node.
 */
export const NO_IDENTITY: TableIdentity = { namespace: '', domain: '', searchDomain: null }
