import { networkInterfaces } from 'node:os'
import type { Config, MeshSourceConfig } from '../config/schema.ts'
import type { Node } from '../proto/ads.ts'
import { version } from '../version.ts'
import { buildNode } from '../xds/node.ts'

/** Who byname is towards the control plane, from the configuration and Istio's environment. */
export function nodeFor({ identity, istio }: Config, source: Extract<MeshSourceConfig, { kind: 'xds' }>): Node {
  const ownAddresses = Object.values(networkInterfaces()).flatMap((infos) =>
    (infos ?? [])
      .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
      .map(({ address }) => address),
  )
  return buildNode({ identity, metadata: nodeMetadata(istio.metadata, source.automaticVips), ownAddresses, version })
}

/** istiod leaves automatic VIPs out for a node whose DNS_CAPTURE is "false"; its booleans are texts. */
export function nodeMetadata(
  metadata: Record<string, unknown>,
  automaticVips: boolean | 'auto',
): Record<string, unknown> {
  return automaticVips === 'auto' ? metadata : { ...metadata, DNS_CAPTURE: String(automaticVips) }
}
