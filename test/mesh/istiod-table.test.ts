/**
 * The table that an unmodified istiod (ISTIO_DUAL_STACK=true) made of the resources in test/mesh/istiod, for an IPv4 and for
 * a dual-stack node in namespace shop, and ours of the same resources. They differ in this: istiod keeps the case of hosts,
 * repeats addresses, and numbers automatic addresses as its informers bring the entries.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { AutoVips, hostsToAllocate } from '../../src/mesh/auto-vip.ts'
import { MeshFiles } from '../../src/mesh/mesh-files.ts'
import { readMeshYaml } from '../../src/mesh/mesh-yaml.ts'
import { buildNameTable, familiesOf, indexMesh } from '../../src/mesh/name-table-builder.ts'
import { service, shopNode } from './mesh-of.ts'

const folder = new URL('istiod/', import.meta.url)
const tables = new URL('istiod-tables/', import.meta.url)

interface Info {
  ips: string[]
  registry: string
  shortname?: string
  namespace?: string
}

/** Addresses as a sorted set, automatic ones without their numbers. */
function comparable(table: Iterable<[host: string, info: Info]>): Record<string, unknown> {
  const hosts = [...table].map(([host, { ips, registry, shortname = '', namespace = '' }]): [string, unknown] => {
    const own = [...new Set(ips)].map((ip) =>
      ip.replace(/^240\.240\.[\d.]+$/, '240.240.a.b').replace(/^2001:2::.+$/, '2001:2::ab'),
    )
    return [host.toLowerCase(), { ips: own.toSorted(), registry, shortname, namespace }]
  })
  return Object.fromEntries(hosts.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

test.each([
  ['an IPv4 node', 'nds-real-v4.json', '10.0.0.9'],
  ['a dual-stack node', 'nds-real-dual.json', '10.0.0.9,fd00::9'],
])('%s is built the table that istiod builds it', async (_, file, instanceIps) => {
  const reading = await new MeshFiles(fileURLToPath(folder)).read()
  if ('failure' in reading) throw new Error(reading.failure)
  expect(reading.problems).toEqual([])
  const api = service({ name: 'kubernetes', namespace: 'default', spec: { clusterIP: '10.96.0.1' } })
  const resources = [...reading.resources, ...readMeshYaml(api, 'api.json').resources.map(({ resource }) => resource)]
  const mesh = indexMesh(resources)
  const vips = new AutoVips().assign(hostsToAllocate(mesh.serviceEntries))
  const node = { ...shopNode, families: familiesOf(instanceIps, '') }
  const ours = buildNameTable({ ...mesh, vips }, node)
  const theirs: Record<string, Info> = JSON.parse(readFileSync(new URL(file, tables), 'utf8'))
  expect(comparable(ours)).toEqual(comparable(Object.entries(theirs)))
  expect(ours.size).toBe(Object.keys(theirs).length)
})
