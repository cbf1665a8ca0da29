/** resolv.conf changes while the daemon runs, or is not there. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { info } from '../table/compiled.ts'
import { addressesOf, rcodeOf } from '../worker/dns-client.ts'
import { services, Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()
const TABLE = nameTableToJson(new Map([...services({ web: '10.0.0.1' }), ['db.example', info({ ips: ['10.0.0.2'] })]]))

/** Writes beside and renames, as kubelet and NetworkManager do. */
function replace(file: string, text: string): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

test('other servers are asked from the next question on, other search domains count at once', async () => {
  // A nameserver's port in resolv.conf is always 53, so which ones are in use is seen in the status.
  const daemon = await stage.daemon({
    config: { mesh: { source: { table: tableFile() } } },
    resolvConf: 'search default.svc.cluster.local\n',
  })
  const client = await stage.client()
  const ask = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  await until(async () => expect(await ask('web')).toEqual(['10.0.0.1']))
  expect(await ask('db.example.default.svc.cluster.local')).toEqual(['10.0.0.2'])
  expect(await ask('web.corp.example')).toEqual([])

  replace(daemon.resolvConf, 'nameserver 127.0.0.53\nsearch corp.example\n')
  await until(async () => expect(await ask('web.corp.example')).toEqual(['10.0.0.1']))
  const { upstreams } = await daemon.status()
  expect(upstreams.map(({ label }) => label)).toEqual(['127.0.0.53:53'])

  rmSync(daemon.resolvConf)
  await daemon.line('resolv.conf is gone')
  expect((await daemon.status()).upstreams).toHaveLength(1)
  expect(await ask('web.corp.example')).toEqual(['10.0.0.1'])

  replace(daemon.resolvConf, 'nameserver 127.0.0.54\n')
  await until(async () =>
    expect((await daemon.status()).upstreams.map(({ label }) => label)).toEqual(['127.0.0.54:53']),
  )

  // As it is for a moment when somebody empties and then writes it.
  writeFileSync(daemon.resolvConf, 'search other.example\n')
  await daemon.line('resolv.conf names no server')
  await until(async () => expect(await ask('web.other.example')).toEqual(['10.0.0.1']))
  expect((await daemon.status()).upstreams.map(({ label }) => label)).toEqual(['127.0.0.54:53'])
  rmSync(daemon.resolvConf)
  daemon.child.kill('SIGHUP')
  await daemon.line('resolv.conf cannot be read: what it said last stays')
  expect((await daemon.status()).upstreams.map(({ label }) => label)).toEqual(['127.0.0.54:53'])
})

test('no resolv.conf at start: said in one line, mesh names are answered, and it is used once it is there', async () => {
  const daemon = await stage.daemon({ config: { mesh: { source: { table: tableFile() } } }, resolvConf: 'missing' })
  const warning = await daemon.line('resolv.conf cannot be read')
  expect(warning).toMatchObject({ level: 'warn', file: daemon.resolvConf, reason: 'ENOENT' })
  expect(warning.msg).toContain('upstream.servers')
  const client = await stage.client()
  await until(async () => expect(addressesOf((await client.ask(daemon.at(), 'web')).packet)).toEqual(['10.0.0.1']))
  expect(rcodeOf((await client.ask(daemon.at(), 'outside.example')).packet)).toBe('SERVFAIL')
  replace(daemon.resolvConf, 'nameserver 127.0.0.53\n')
  await until(async () => expect((await daemon.status()).upstreams).toHaveLength(1))
})

function tableFile(): string {
  const file = join(mkdtempSync(join(tmpdir(), 'byname-scenario-')), 'table.json')
  writeFileSync(file, TABLE)
  stage.closing(() => rmSync(dirname(file), { recursive: true }))
  return file
}
