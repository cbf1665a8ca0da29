import { mkdtempSync, rmSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { type NameTable } from '../../src/table/nds.ts'
import { decodeNameTable } from '../table/decode-name-table.ts'
import { TableFileSource } from '../../src/tables/table-file.ts'
import { FakeClock } from '../base/fake-clock.ts'

let folder = ''
let path = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-table-'))
  path = join(folder, 'table.json')
})
afterEach(() => rmSync(folder, { recursive: true }))

function hosts(...names: string[]): string {
  return JSON.stringify({ table: Object.fromEntries(names.map((name) => [name, { ips: ['10.0.0.1'] }])) })
}

interface Rig {
  source: TableFileSource
  tables: { table: NameTable; version: string }[]
  logs: string[]
  /** Tells the source that the file changed, and waits until it was read. */
  change: () => Promise<void>
  watches: { path: string; closed: boolean }[]
}

function rig(reason: string | null = null): Rig {
  const tables: Rig['tables'] = []
  const logs: string[] = []
  const watches: Rig['watches'] = []
  let onChange: (() => void) | null = null
  const log = (level: string) => (_: object, message: string) => {
    if (level !== 'debug') logs.push(`${level} ${message}`)
  }
  let last = ''
  const source = new TableFileSource({
    path,
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    clock: new FakeClock(5000),
    watch(watched, told) {
      onChange = told
      const watch = { path: watched, closed: false }
      watches.push(watch)
      return { close: () => (watch.closed = true) }
    },
    sink: {
      accept(bytes, version) {
        if (reason !== null) return { accepted: false, reason }
        tables.push({ table: decodeNameTable(bytes), version })
        const changed = version !== last
        last = version
        return { accepted: true, changed }
      },
    },
  })
  const change = async (): Promise<void> => {
    onChange?.()
    // Started already: this is the read under way.
    await source.start()
  }
  return { source, tables, logs, change, watches }
}

describe('a name table file', () => {
  it('is read at the start and whenever it changes', async () => {
    writeFileSync(path, hosts('a.example'))
    const { source, tables, change } = rig()
    await source.start()
    expect([...tables[0]!.table.keys()]).toEqual(['a.example'])
    expect(source.state()).toMatchObject({
      accepted: 1,
      unchanged: 0,
      rejected: 0,
      lastAcceptedAtMs: 5000,
      error: null,
    })
    writeFileSync(path, hosts('a.example', 'b.example'))
    await change()
    expect([...tables[1]!.table.keys()]).toEqual(['a.example', 'b.example'])
    expect(tables[1]!.version).not.toBe(tables[0]!.version)
    expect(source.state().version).toBe(tables[1]!.version)
    await change()
    expect(source.state()).toMatchObject({ accepted: 3, unchanged: 1 })
    await source.stop(1000)
  })

  it.each([
    ['that is no JSON', '{"table":\n{', /^not JSON: .*$/],
    ['with a bad host', '{"table": {"a.example": {"ips": "10.0.0.1"}}}', /^host "a\.example": "ips" must be a list/],
    ['that is gone', null, /^cannot be read: ENOENT: does not exist/],
  ])('%s is one error line with file and reason, and the last good one stays', async (_, content, reason) => {
    writeFileSync(path, hosts('a.example'))
    const { source, tables, logs, change } = rig()
    await source.start()
    const { version } = source.state()
    if (content === null) unlinkSync(path)
    else writeFileSync(path, content)
    await change()
    await change()
    expect(tables).toHaveLength(1)
    expect(source.state()).toMatchObject({ version, accepted: 1, rejected: 2, error: expect.stringMatching(reason) })
    const errors = logs.filter((line) => line.startsWith('error'))
    expect(errors).toHaveLength(1)
    expect(errors[0]).toContain(`name table file ${path}: `)
    expect(errors[0]).not.toContain('\n')
    writeFileSync(path, hosts('c.example'))
    await change()
    expect([...tables.at(-1)!.table.keys()]).toEqual(['c.example'])
    expect(source.state().error).toBeNull()
    await source.stop(1000)
  })

  it('may appear after the start', async () => {
    const { source, tables, change } = rig()
    await source.start()
    expect(source.state()).toMatchObject({ rejected: 1, version: '' })
    writeFileSync(path, hosts('a.example'))
    await change()
    expect(tables).toHaveLength(1)
    await source.stop(1000)
  })

  it('that the table compiler refuses says why', async () => {
    writeFileSync(path, hosts('a.example'))
    const { source, logs } = rig('too big')
    await source.start()
    expect(source.state()).toMatchObject({ rejected: 1, error: 'too big' })
    expect(logs[0]).toContain('too big; the name table in use stays')
    await source.stop(1000)
  })

  it('that changes while it is read is read again before it is taken', async () => {
    writeFileSync(path, hosts('a.example'))
    const { source, change, tables } = rig()
    const first = source.start()
    writeFileSync(path, hosts('b.example'))
    await Promise.all([change(), change(), first])
    expect(tables.map(({ table }) => [...table.keys()])).toEqual([['b.example']])
    expect(source.state().rejected).toBe(0)
    await source.stop(1000)
  })

  it('is no longer watched or read once stopped', async () => {
    writeFileSync(path, hosts('a.example'))
    const { source, tables, watches } = rig()
    const reading = source.start()
    await source.stop(1000)
    await reading
    expect(watches).toEqual([{ path, closed: true }])
    expect(tables).toHaveLength(0)
  })
})
