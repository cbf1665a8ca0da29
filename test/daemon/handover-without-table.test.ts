/** Handovers while nobody sends the new process a table: side by side, because it waits for that to be sure. */
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { services, Stage } from '../scenario/scenario.ts'
import { addressesOf } from '../worker/dns-client.ts'
import type { DaemonProcess } from './daemon-process.ts'
import { until } from '../until.ts'

const stage = new Stage('all')

/** A folder for a table and the copy of the last one. */
class Tables {
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'byname-handover-'))
  readonly file: string = join(this.#folder, 'table.json')
  readonly lastKnownGood: string = join(this.#folder, 'last.image')

  constructor() {
    stage.closing(() => rmSync(this.#folder, { recursive: true }))
  }

  write(address: string): void {
    writeFileSync(this.file, nameTableToJson(services({ web: address })))
  }

  /** The next process that reads it gets none. */
  remove(): void {
    rmSync(this.file)
  }

  async daemon(mesh: object = {}): Promise<DaemonProcess> {
    return await stage.daemon({ config: { mesh: { source: { table: this.file }, ...mesh } } })
  }
}

async function addressOfWeb(daemon: DaemonProcess): Promise<string[]> {
  const client = await stage.client()
  return addressesOf((await client.ask(daemon.at(), 'web')).packet)
}

async function staysAfterSignal(daemon: DaemonProcess): Promise<void> {
  daemon.child.kill('SIGUSR2')
  const { reason } = await daemon.line('the new process did not take over')
  expect(reason).toBe('it ended with code 1 before it was ready')
  expect(daemon.otherLines).toEqual([
    'byname run: no name table has come within 15 s, and the process before this one has one: it goes on',
  ])
}

test.concurrent('a process that has a table does not give way to one that gets none', async () => {
  const tables = new Tables()
  tables.write('10.0.0.1')
  const daemon = await tables.daemon()
  await daemon.line('name table adopted')
  tables.remove()
  await staysAfterSignal(daemon)
  expect(await addressOfWeb(daemon)).toEqual(['10.0.0.1'])
})

test.concurrent('nor to one with an older table from disk', async () => {
  const tables = new Tables()
  const { lastKnownGood } = tables
  tables.write('10.0.0.1')
  const daemon = await tables.daemon({ lastKnownGood })
  await until(() => expect(existsSync(lastKnownGood)).toBe(true))
  const older = `${lastKnownGood}.older`
  copyFileSync(lastKnownGood, older)
  tables.write('10.0.0.2')
  await until(() => expect(readFileSync(lastKnownGood)).not.toEqual(readFileSync(older)))
  copyFileSync(older, lastKnownGood)
  tables.remove()
  await staysAfterSignal(daemon)
  expect(await addressOfWeb(daemon)).toEqual(['10.0.0.2'])
})

test.concurrent('but to one that has the same from disk', async () => {
  const tables = new Tables()
  const { lastKnownGood } = tables
  tables.write('10.0.0.1')
  const daemon = await tables.daemon({ lastKnownGood })
  await until(() => expect(existsSync(lastKnownGood)).toBe(true))
  tables.remove()
  daemon.child.kill('SIGUSR2')
  const { pid } = await daemon.line('handed over')
  stage.closing(() => process.kill(Number(pid), 'SIGTERM'))
  await daemon.line('byname has stopped')
  expect(await addressOfWeb(daemon)).toEqual(['10.0.0.1'])
})

test.concurrent('a new process that waits for its table ends at once when told to', async () => {
  const tables = new Tables()
  tables.write('10.0.0.1')
  const daemon = await tables.daemon()
  await daemon.line('name table adopted')
  tables.remove()
  const { pid: oldPid } = daemon.child
  const failures = daemon.lines.filter(({ msg }) => msg.startsWith('name table file')).length
  daemon.child.kill('SIGUSR2')
  const children = (): number[] =>
    readFileSync(`/proc/${oldPid}/task/${oldPid}/children`, 'utf8').trim().split(' ').map(Number)
  // Both say that there is no file any more, the new one having begun to wait then.
  await daemon.nthLine('name table file', failures + 2)
  process.kill(children()[0]!, 'SIGTERM')
  const { reason } = await daemon.line('the new process did not take over')
  expect(reason).toBe('it ended with code 0 before it was ready')
  expect(daemon.lines.filter(({ msg }) => msg === 'byname has stopped')).toHaveLength(1)
})
