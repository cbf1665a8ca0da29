import { fromStruct, type Node } from '../proto/ads.ts'
import { familiesOf, servicesDomainOf, type TableNode, takesAutomaticVips } from './name-table-builder.ts'

/** A node that subscribed: who it says it is, and what of that its table depends on. */
export interface Subscriber extends TableNode {
  id: string
}

/**
 * Reads Istio's node: id `sidecar~IP~POD.NAMESPACE~NAMESPACE.svc.DOMAIN`, metadata NAMESPACE, CLUSTER_ID,
 * NETWORK, INSTANCE_IPS and DNS_CAPTURE. Metadata wins over the id. Where neither tells the namespace there is no table
 * for the node: `reason` says so.
 */
export function readSubscriber(node: Node): Subscriber | { reason: string } {
  const metadata = fromStruct(node.metadata)
  const text = (key: string): string => (typeof metadata[key] === 'string' ? metadata[key] : '')
  const [, ip = '', pod = '', domain = ''] = node.id.split('~')
  const namespace = text('NAMESPACE') || (/\.([^.]+)$/.exec(pod)?.[1] ?? '')
  if (namespace === '')
    return {
      reason: `node id ${JSON.stringify(node.id.slice(0, 255))}: expected TYPE~IP~POD.NAMESPACE~DOMAIN or metadata NAMESPACE`,
    }
  return {
    id: node.id,
    namespace,
    servicesDomain: servicesDomainOf(domain),
    cluster: text('CLUSTER_ID'),
    network: text('NETWORK'),
    families: familiesOf(text('INSTANCE_IPS'), ip),
    takesAutomaticVips: takesAutomaticVips(text('DNS_CAPTURE')),
  }
}
