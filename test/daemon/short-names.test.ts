/** mesh.shortNames: none, for a byname that serves workloads of every namespace; auto, where a namespace is a top-level domain. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { services, Stage } from '../scenario/scenario.ts'
import { service } from '../table/compiled.ts'
import { addressesOf } from '../worker/dns-client.ts'
import { until } from '../until.ts'

const stage = new Stage()
const FULL = 'web.default.svc.cluster.local'
/** Every other form that a workload of namespace "default" may use. */
const SHORT = ['web', 'web.default', 'web.default.svc', 'web.default.default.svc.cluster.local']

test.each<[setting: string | undefined, isAnswered: boolean]>([
  [undefined, true],
  ['all', true],
  ['auto', true],
  ['none', false],
])('shortNames: %s: a full name is answered; short names from the mesh: %s', async (shortNames, isAnswered) => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-short-names-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const table = join(folder, 'table.json')
  writeFileSync(table, nameTableToJson(services({ web: '10.0.0.1' })))
  const daemon = await stage.daemon({
    config: {
      identity: { namespace: 'default' },
      mesh: { source: { table }, beforeSync: 'forward', ...(shortNames && { shortNames }) },
    },
    resolvConf: 'search default.svc.cluster.local svc.cluster.local\n',
  })
  const client = await stage.client()
  const addresses = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  await until(async () => expect(await addresses(FULL)).toEqual(['10.0.0.1']))
  for (const name of SHORT) expect([name, await addresses(name)]).toEqual([name, isAnswered ? ['10.0.0.1'] : []])
  expect(await daemon.metric('byname_mesh_hosts')).toBe(1)
})

test('shortNames: auto: a name that may be a real domain is asked of a server, and its namespace is warned of', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-short-names-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const table = join(folder, 'table.json')
  writeFileSync(table, nameTableToJson(new Map([service('pay', 'dev', ['10.0.0.1'])])))
  const upstream = await stage.resolver((query) => query.answer('192.0.2.1'))
  const daemon = await stage.daemon({
    config: { mesh: { source: { table }, shortNames: 'auto' }, upstream: { servers: [upstream.text] } },
    resolvConf: 'search default.svc.cluster.local svc.cluster.local\noptions ndots:5\n',
  })
  const client = await stage.client()
  const addresses = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  const name = 'pay.dev.default.svc.cluster.local'
  await until(async () => expect(await addresses(name)).toEqual(['10.0.0.1']))
  expect(await addresses('pay.dev.svc.cluster.local')).toEqual(['10.0.0.1'])
  expect(await addresses('pay.dev')).toEqual(['192.0.2.1'])
  const warning = expect.stringContaining(
    'namespace dev is a top-level domain: the absolute name pay.dev. is asked of servers',
  )
  expect((await daemon.status()).warnings).toContainEqual(warning)
  expect(daemon.lines).toContainEqual(expect.objectContaining({ level: 'warn', msg: warning }))
})
