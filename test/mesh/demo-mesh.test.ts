import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { AutoVips, hostsToAllocate } from '../../src/mesh/auto-vip.ts'
import { MeshFiles } from '../../src/mesh/mesh-files.ts'
import { buildNameTable, indexMesh } from '../../src/mesh/name-table-builder.ts'
import { shopNode } from './mesh-of.ts'

test('the demo mesh is good and shows what its comments promise', async () => {
  const reading = await new MeshFiles(fileURLToPath(new URL('../../config/demo', import.meta.url))).read()
  if ('failure' in reading) throw new Error(reading.failure)
  expect(reading).toMatchObject({ problems: [], notes: [] })
  const mesh = indexMesh(reading.resources)
  const vips = new AutoVips().assign(hostsToAllocate(mesh.serviceEntries))
  const node = { ...shopNode, namespace: 'default' }
  const table = buildNameTable({ ...mesh, vips }, node)
  expect(Object.fromEntries([...table].map(([host, { ips }]) => [host, ips.join(' ')]))).toMatchInlineSnapshot(`
    {
      "*.apps.example.org": "198.51.100.40 2001:db8:40::1",
      "*.example.test": "198.51.100.40 2001:db8:40::1",
      "billing.vm.example.com": "192.0.2.11 192.0.2.12",
      "cart.shop.svc.cluster.local": "10.96.20.10",
      "db-0.db.default.svc.cluster.local": "10.244.1.10",
      "db-1.db.default.svc.cluster.local": "10.244.2.10",
      "db.default.svc.cluster.local": "10.244.1.10 10.244.2.10",
      "kafka-0.kafka.streaming.svc.cluster.local": "10.244.4.20 fd00:10:244:4::20",
      "kafka-1.kafka.streaming.svc.cluster.local": "10.244.5.20 fd00:10:244:5::20",
      "kafka.streaming.svc.cluster.local": "10.244.4.20 10.244.5.20 fd00:10:244:4::20 fd00:10:244:5::20",
      "payments.example.com": "240.240.0.1 2001:2::1",
      "productpage.default.svc.cluster.local": "10.96.14.10 fd00:10:96::e0a",
      "ratings.default.svc.cluster.local": "10.96.14.30",
      "reviews.default.svc.cluster.local": "10.96.14.20",
      "status.apps.example.org": "198.51.100.41",
    }
  `)
})
