/** Names of a hosts file, which changes while the daemon runs. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { addressesOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

test('its names are answered, new ones once it has changed, and its last ones stay when it is gone', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-scenario-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const table = join(folder, 'table.json')
  writeFileSync(table, '{}')
  const hostsFile = join(folder, 'hosts')
  writeFileSync(hostsFile, '10.0.0.1 db.corp\n')
  const daemon = await stage.daemon({ config: { mesh: { source: { table } }, hostsFile }, resolvConf: '' })
  const client = await stage.client()
  const ask = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  expect(await ask('db.corp')).toEqual(['10.0.0.1'])

  writeFileSync(`${hostsFile}.new`, '10.0.0.2 db.corp cache.corp\n')
  renameSync(`${hostsFile}.new`, hostsFile)
  await until(async () => expect(await ask('cache.corp')).toEqual(['10.0.0.2']))
  expect(await ask('db.corp')).toEqual(['10.0.0.2'])

  rmSync(hostsFile)
  await daemon.line('the hosts file is gone')
  expect(await ask('db.corp')).toEqual(['10.0.0.2'])
})
