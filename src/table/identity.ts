/** Who the workload is, as far as names depend on it. */
export interface TableIdentity {
  /** Kubernetes namespace: its services answer to their short names. */
  namespace: string
  /** Domain of the namespace, e.g. `shop.svc.cluster.local`; less its first label it is the cluster's (`svc.cluster.local`). */
  domain: string
  /** First search domain of resolv.conf, null if there is none: names are answered with it appended. */
  searchDomain: string | null
}
