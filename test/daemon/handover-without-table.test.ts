/** A handover while nobody sends the new process a table; in a file of its own, because it waits for that to be sure. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { services, Stage } from '../scenario/scenario.ts'
import { addressesOf } from '../worker/dns-client.ts'

const stage = new Stage()

test('a process that has a table does not give way to one that gets none', { timeout: 90_000 }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-handover-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'table.json')
  writeFileSync(file, nameTableToJson(services({ web: '10.0.0.1' })))
  const daemon = await stage.daemon({ config: { mesh: { source: { table: file } } } })
  await daemon.line('name table adopted')
  rmSync(file)
  daemon.child.kill('SIGUSR2')
  const { reason } = await daemon.line('the new process did not take over', 40_000)
  expect(reason).toBe('it ended with code 1 before it was ready')
  expect(daemon.otherLines).toEqual([
    'byname run: no name table has come within 15 s, and the process before this one has one: it goes on',
  ])
  const client = await stage.client()
  expect(addressesOf((await client.ask(daemon.at(), 'web')).packet)).toEqual(['10.0.0.1'])
})
