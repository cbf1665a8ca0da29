import { beforeEach, describe, expect, it } from 'vitest'
import { type NameTable } from '../../src/table/nds.ts'
import { decodeNameTable } from '../table/decode-name-table.ts'
import { TableFileOrigin } from '../../src/tables/table-file.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { MemoryFiles } from '../base/memory-files.ts'

const PATH = '/etc/byname/table.json'

let clock: FakeClock
let files: MemoryFiles
beforeEach(() => {
  clock = new FakeClock(5000)
  files = new MemoryFiles(clock)
})

function hosts(...names: string[]): string {
  return JSON.stringify({ table: Object.fromEntries(names.map((name) => [name, { ips: ['10.0.0.1'] }])) })
}

interface Rig {
  source: TableFileOrigin
  tables: { table: NameTable; version: string }[]
  logs: string[]
}

function rig(reason: string | null = null): Rig {
  const tables: Rig['tables'] = []
  const logs: string[] = []
  const log = (level: string) => (_: object, message: string) => {
    if (level !== 'debug') logs.push(`${level} ${message}`)
  }
  let last = ''
  const source = new TableFileOrigin({
    path: PATH,
    log: { debug: log('debug'), info: log('info'), warn: log('warn'), error: log('error') },
    clock,
    files,
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
  return { source, tables, logs }
}

/** Writes the file, and lets it rest. */
function change(text: string): void {
  files.write(PATH, text)
  clock.advance(1000)
}

describe('a name table file', () => {
  it('is read at the start and whenever it changes', () => {
    files.write(PATH, hosts('a.example'))
    const { source, tables } = rig()
    source.start()
    expect([...tables[0]!.table.keys()]).toEqual(['a.example'])
    expect(source.state()).toMatchObject({
      accepted: 1,
      unchanged: 0,
      rejected: 0,
      lastAcceptedAtMs: 5000,
      error: null,
    })
    change(hosts('a.example', 'b.example'))
    expect([...tables[1]!.table.keys()]).toEqual(['a.example', 'b.example'])
    expect(tables[1]!.version).not.toBe(tables[0]!.version)
    expect(source.state().version).toBe(tables[1]!.version)
    change(hosts('a.example', 'b.example'))
    expect(source.state()).toMatchObject({ accepted: 3, unchanged: 1 })
    source.stop()
  })

  it.each<[string, string | null, RegExp, number]>([
    ['that is no JSON', '{"table":\n{', /^not JSON: .*$/, 2],
    ['with a bad host', '{"table": {"a.example": {"ips": "10.0.0.1"}}}', /^host "a\.example": "ips" must be a list/, 2],
    ['that is gone', null, /^does not exist; name an existing file$/, 0],
  ])('%s is one error line with file and reason, and the last good one stays', (_, content, reason, rejected) => {
    files.write(PATH, hosts('a.example'))
    const { source, tables, logs } = rig()
    source.start()
    const { version } = source.state()
    for (let times = 0; times < 2; times++) {
      if (content === null) files.remove(PATH)
      else change(content)
      clock.advance(1000)
    }
    expect(tables).toHaveLength(1)
    expect(source.state()).toMatchObject({ version, accepted: 1, rejected, error: expect.stringMatching(reason) })
    expect(source.state().errorSinceMs).toBe(5550)
    const errors = logs.filter((line) => line.startsWith('error'))
    expect(errors).toHaveLength(1)
    expect(errors[0]).toContain(`name table file ${PATH}: `)
    expect(errors[0]).not.toContain('\n')
    change(hosts('c.example'))
    expect([...tables.at(-1)!.table.keys()]).toEqual(['c.example'])
    expect(source.state()).toMatchObject({ error: null, errorSinceMs: null })
    source.stop()
  })

  it('may appear after the start', () => {
    const { source, tables } = rig()
    source.start()
    expect(source.state()).toMatchObject({ error: expect.stringContaining('does not exist'), version: '' })
    change(hosts('a.example'))
    expect(tables).toHaveLength(1)
    source.stop()
  })

  it('that the table compiler refuses says why', () => {
    files.write(PATH, hosts('a.example'))
    const { source, logs } = rig('too big')
    source.start()
    expect(source.state()).toMatchObject({ rejected: 1, error: 'too big' })
    expect(logs[0]).toContain('too big; the name table in use stays')
    source.stop()
  })

  it('that is half written is not taken, though it is a table', () => {
    files.write(PATH, hosts('a.example'))
    const { source, tables } = rig()
    source.start()
    files.write(PATH, '{}')
    clock.advance(400)
    change(hosts('b.example'))
    expect(tables.map(({ table }) => [...table.keys()])).toEqual([['a.example'], ['b.example']])
    expect(source.state().rejected).toBe(0)
    source.stop()
  })

  it('is no longer watched or read once stopped', () => {
    files.write(PATH, hosts('a.example'))
    const { source, tables } = rig()
    source.start()
    source.stop()
    change(hosts('b.example'))
    expect([files.watched, tables.length]).toEqual([[], 1])
  })
})

it.each<[content: string | null, line: RegExp]>([
  ['{', /^error name table file \/etc\/byname\/table\.json: not JSON: .*; the name table in use stays$/],
  [
    null,
    /^error name table file \/etc\/byname\/table\.json: cannot be read: it does not exist; name an existing file; /,
  ],
])('%j is told with what is wrong: with the file itself, or with what it holds', (content, line) => {
  if (content !== null) files.write(PATH, content)
  const { source, logs } = rig()
  source.start()
  expect(logs).toEqual([expect.stringMatching(line)])
  source.stop()
})
