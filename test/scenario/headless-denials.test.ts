/** A pod of a StatefulSet that is asked for before it is there, seen through the whole daemon. */
import { expect, test } from 'vitest'
import { encodeNameTable, type NameTable } from '../../src/table/nds.ts'
import { info, service } from '../table/compiled.ts'
import { addressesOf, rcodeOf } from '../worker/dns-client.ts'
import { ScriptedAdsServer } from '../xds/scripted-ads-server.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()
const pod = (index: number): string => `db-${index}.db.default.svc.cluster.local`

function tableOf(pods: number): Uint8Array[] {
  const ips = Array.from({ length: pods }, (_, index) => `10.0.0.${index + 1}`)
  const table: NameTable = new Map([
    service('db', 'default', ips),
    ...ips.map((ip, index): [string, ReturnType<typeof info>] => [
      pod(index),
      info({ ips: [ip], registry: 'Kubernetes', shortname: `db-${index}.db`, namespace: 'default' }),
    ]),
  ])
  return [encodeNameTable(table)]
}

test('a denied pod is answered with the push that brings it, and what the push does not bring is asked for again', async () => {
  const server = await ScriptedAdsServer.start()
  stage.closing(() => server.stop())
  const upstream = await stage.resolver((query) => {
    const soa = {
      mname: 'ns.cluster.local',
      rname: 'admin.cluster.local',
      serial: 1,
      refresh: 1,
      retry: 1,
      expire: 1,
      minimum: 30,
    }
    query.reply({ flags: 0x183, authorities: [{ type: 'SOA', name: 'cluster.local', ttl: 30, data: soa }] })
  })
  const mesh = { source: { xds: { address: server.address } }, headlessNegativeTtlSeconds: 20 }
  const daemon = await stage.daemon({ config: { mesh, upstream: { servers: [upstream.text] } } })
  const client = await stage.client()
  const ask = async (name: string): Promise<string> => {
    const { packet } = await client.ask(daemon.at(), name)
    return rcodeOf(packet) === 'NOERROR' ? addressesOf(packet).join() : rcodeOf(packet)
  }
  const stream = await server.streams.next()
  stream.push({ tables: tableOf(1) })
  await until(async () => expect(await ask(pod(0))).toBe('10.0.0.1'))

  for (let k = 0; k < 3; k++) expect([await ask(pod(1)), await ask(pod(2))]).toEqual(['NXDOMAIN', 'NXDOMAIN'])
  expect([upstream.asked(pod(1)), upstream.asked(pod(2))]).toEqual([1, 1])
  const { packet } = await client.ask(daemon.at(), pod(1))
  expect(packet.authorities).toMatchObject([{ type: 'SOA', data: { minimum: 20 } }])

  stream.push({ tables: tableOf(2) })
  await until(async () => expect(await ask(pod(1))).toBe('10.0.0.2'))
  expect(await ask(pod(2))).toBe('NXDOMAIN')
  expect([upstream.asked(pod(1)), upstream.asked(pod(2))]).toEqual([1, 2])
})
