import { AutoVips, hostsToAllocate, usedAddresses } from '../../src/mesh/auto-vip.ts'
import { readMeshYaml } from '../../src/mesh/mesh-yaml.ts'
import { buildNameTable, indexMesh, type Mesh, type TableNode } from '../../src/mesh/name-table-builder.ts'
import type { NameInfo } from '../../src/table/nds.ts'

/** The mesh that good YAML describes, automatic addresses included. */
export function meshOf(yaml: string): Mesh {
  const { resources, problems } = readMeshYaml(yaml, 'test.yaml')
  if (problems.length > 0) throw new Error(problems.join('\n'))
  const mesh = indexMesh(resources.map(({ resource }) => resource))
  const vips = new AutoVips().assign(hostsToAllocate(mesh.serviceEntries), usedAddresses(mesh.serviceEntries))
  return { ...mesh, vips }
}

/** A node in namespace `shop` of which nothing else is known. */
export const shopNode: TableNode = {
  namespace: 'shop',
  servicesDomain: 'svc.cluster.local',
  cluster: '',
  network: '',
  families: { v4: true, v6: true },
  takesAutomaticVips: true,
}

/** The table of a node in namespace `shop`, or as `node` says otherwise. */
export function tableOf(yaml: string, node: Partial<TableNode> = {}): Record<string, NameInfo> {
  return Object.fromEntries(buildNameTable(meshOf(yaml), { ...shopNode, ...node }))
}

/** Host → addresses. */
export function ipsOf(yaml: string, node: Partial<TableNode> = {}): Record<string, string[]> {
  return Object.fromEntries(Object.entries(tableOf(yaml, node)).map(([host, { ips }]) => [host, ips]))
}

interface ServiceFields {
  name?: string
  namespace?: string
  spec?: object
  annotations?: Record<string, string>
}

/** YAML (as JSON, which it is) of one resource each; join them with `documents`. */
export function service({ name = 'web', namespace = 'shop', spec, annotations = {} }: ServiceFields = {}): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name, namespace, annotations },
    spec: { clusterIP: '10.0.0.1', ports: [{ port: 80 }], ...spec },
  })
}

export function slice(endpoints: object[], labels: Record<string, string> = {}, name = 'web-1'): string {
  return JSON.stringify({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace: 'shop', labels: { 'kubernetes.io/service-name': 'web', ...labels } },
    addressType: 'IPv4',
    endpoints,
  })
}

/** A Pod, and an endpoint of a slice that refers to it. */
export function pod(name: string, spec: object = { hostname: name, subdomain: 'web' }, namespace = 'shop'): string {
  return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata: { name, namespace }, spec })
}

export function endpoint(podName: string, address: string, fields: object = {}): object {
  return { addresses: [address], targetRef: { kind: 'Pod', name: podName, namespace: 'shop' }, ...fields }
}

export function serviceEntry(spec: object, metadata: object = {}, status?: object): string {
  return JSON.stringify({
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name: 'entry', namespace: 'shop', ...metadata },
    spec: { hosts: ['api.example.com'], resolution: 'STATIC', ports: [{ number: 443 }], ...spec },
    status,
  })
}

export function workload(name: string, spec: object, metadata: object = {}): string {
  return JSON.stringify({
    apiVersion: 'networking.istio.io/v1',
    kind: 'WorkloadEntry',
    metadata: { name, namespace: 'shop', ...metadata },
    spec,
  })
}

export function documents(...each: string[]): string {
  return each.join('\n---\n')
}
