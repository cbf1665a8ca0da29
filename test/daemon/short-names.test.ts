/** mesh.shortNames: none, for a byname that serves workloads of every namespace. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { services, Stage, until } from '../scenario/scenario.ts'
import { addressesOf } from '../worker/dns-client.ts'

const stage = new Stage()
const FULL = 'web.default.svc.cluster.local'
/** Every other form that a workload of namespace "default" may use. */
const SHORT = ['web', 'web.default', 'web.default.svc', 'web.default.default.svc.cluster.local']

test.each<[setting: string | undefined, isAnswered: boolean]>([
  [undefined, true],
  ['all', true],
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
