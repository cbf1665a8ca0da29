import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, test, vi } from 'vitest'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { Image } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { encodeNameTable, parseNameTableJson } from '../../src/table/nds.ts'
import { TableKeeper } from '../../src/tables/table-keeper.ts'
import { find, newCompiler, service, SHOP } from '../table/compiled.ts'

const TABLE = encodeNameTable(new Map([service('a', 'shop', ['192.0.2.1'])]))
const folders: string[] = []

afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true })
})

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'byname-table-'))
  folders.push(path)
  return path
}

interface Started {
  keeper: TableKeeper
  /** A table with the address 192.0.2.n. */
  push: (n: number) => void
  /** The one worker is past all images but the last. */
  acknowledge: () => void
  published: Image[]
  /** Of each of these: whether its names are those of the one before it. */
  hadSameNames: boolean[]
  updates: string[]
  lines: [level: string, message: string][]
  /** What was logged beside each message. */
  fields: object[]
}

/** A keeper, and one worker that acknowledges when it is told to. */
function start({
  file = '',
  identity = SHOP,
  now = (): number => 5000,
}: {
  file?: string
  identity?: TableIdentity
  now?: () => number
} = {}): Started {
  const compiler = newCompiler({ identity })
  const published: Image[] = []
  const hadSameNames: boolean[] = []
  const updates: string[] = []
  const lines: Started['lines'] = []
  const fields: object[] = []
  const say = (level: string) => (about: object, message: string) => {
    lines.push([level, message])
    fields.push(about)
  }
  const keeper = new TableKeeper({
    compiler,
    publish: (image, hasSameNames) => {
      published.push(image)
      hadSameNames.push(hasSameNames)
    },
    onUpdate: (result) => void updates.push(result),
    log: { debug: say('debug'), info: say('info'), warn: say('warn') },
    file,
    now,
  })
  compiler.pool.workerStarted(1)
  return {
    keeper,
    published,
    hadSameNames,
    updates,
    lines,
    fields,
    push: (n) => void keeper.accept(encodeNameTable(new Map([service('a', 'shop', [`192.0.2.${n}`])])), String(n)),
    acknowledge: () => {
      compiler.pool.acknowledged(1, published.at(-1)!.generation)
      keeper.slotFreed()
    },
  }
}

test('while the worker reads every slot the latest table waits, and is compiled once one is free', () => {
  const { keeper, push, acknowledge, published } = start()
  for (let n = 1; n <= 6; n++) push(n)
  expect(published.length).toBe(3)
  acknowledge()
  expect(find(keeper.image!, 'a')?.v4).toEqual(['c0000206'])
  expect([published.length, keeper.image?.version]).toEqual([4, '6'])
  acknowledge()
  expect(published.length).toBe(4)
})

test('a table that waits is a copy: its message may be freed and written over meanwhile', () => {
  const { keeper, push, acknowledge } = start()
  for (let n = 1; n <= 3; n++) push(n)
  const message = encodeNameTable(new Map([service('a', 'shop', ['192.0.2.9'])]))
  expect(keeper.accept(message, '9')).toEqual({ accepted: true, changed: true })
  message.fill(0)
  acknowledge()
  expect(find(keeper.image!, 'a')?.v4).toEqual(['c0000209'])
})

test('a table that waits for a slot does not make the one in use look fresh', () => {
  let nowMs = 1000
  const { keeper, push, acknowledge } = start({ now: () => nowMs })
  for (let n = 1; n <= 3; n++) push(n)
  nowMs = 9000
  push(4)
  expect([keeper.image?.version, keeper.updatedAtMs]).toEqual(['3', 1000])
  acknowledge()
  expect([keeper.image?.version, keeper.updatedAtMs]).toEqual(['4', 9000])
})

test('a push that empties the table is said, and when it has hosts again; each once', () => {
  const { keeper, push, acknowledge, lines } = start()
  push(1)
  for (let times = 0; times < 2; times++) {
    acknowledge()
    keeper.accept(encodeNameTable(new Map()), `empty${times}`)
  }
  acknowledge()
  for (const n of [2, 3]) {
    push(n)
    acknowledge()
  }
  expect(lines.filter(([level]) => level !== 'debug').slice(1)).toEqual([
    ['warn', 'the name table is empty now: no mesh name is answered any more'],
    ['info', 'the name table has hosts again'],
  ])
})

test('an empty table that takes nobody anything is not worth a line', () => {
  const { keeper, push, lines } = start()
  keeper.accept(encodeNameTable(new Map()), '1')
  push(2)
  expect(lines.map(([, message]) => message)).toEqual(['name table adopted', 'name table adopted'])
})

test('an empty table that is made anew for another search domain stays one that was emptied', () => {
  const { keeper, push, acknowledge, lines } = start()
  push(1)
  keeper.accept(encodeNameTable(new Map()), 'empty')
  acknowledge()
  keeper.setIdentity({ ...SHOP, searchDomain: 'corp.example' })
  acknowledge()
  push(2)
  expect(lines.filter(([level]) => level !== 'debug').slice(1)).toEqual([
    ['warn', 'the name table is empty now: no mesh name is answered any more'],
    ['info', 'the name table has hosts again'],
  ])
})

test('a first push that takes away the hosts of the last run is said', async () => {
  const file = join(folder(), 'table.image')
  const before = start({ file })
  before.push(1)
  await before.keeper.stop()
  const { keeper, lines } = start({ file })
  keeper.loadLastKnownGood()
  keeper.accept(encodeNameTable(new Map()), 'empty')
  expect(lines).toContainEqual(['warn', 'the name table is empty now: no mesh name is answered any more'])
  await keeper.stop()
})

/** A table of two hosts, the first with these addresses. */
function tableOf(...ips: string[]): Uint8Array {
  return encodeNameTable(new Map([service('a', 'shop', ips), service('b', 'shop', ['192.0.2.9'])]))
}

test('a push that only puts addresses in another order is the same table: nothing is published, told or written', async () => {
  const file = join(folder(), 'table.image')
  const { keeper, updates, published, lines } = start({ file })
  keeper.accept(tableOf('192.0.2.1', '2001:db8::1', '192.0.2.2'), '1')
  await keeper.stop()
  const written = statSync(file, { bigint: true })
  for (const ips of [
    ['192.0.2.2', '192.0.2.1', '2001:db8::1'],
    ['2001:db8::1', '192.0.2.2', '192.0.2.1'],
  ]) {
    expect(keeper.accept(tableOf(...ips), 'other')).toEqual({ accepted: true, changed: false })
  }
  await keeper.stop()
  expect([updates, published.length, lines.length]).toEqual([['changed', 'unchanged', 'unchanged'], 1, 1])
  expect(statSync(file, { bigint: true })).toMatchObject({ ino: written.ino, mtimeNs: written.mtimeNs })
})

test('whoever takes an image is told whether it has the names of the one before', () => {
  const { acknowledge, hadSameNames, keeper, push } = start()
  push(1)
  acknowledge()
  push(2)
  acknowledge()
  keeper.accept(tableOf('192.0.2.2'), 'one host more')
  expect(hadSameNames).toEqual([false, true, false])
})

test('a new search domain waits for a free slot as well', () => {
  const { keeper, push, acknowledge, published } = start()
  for (let n = 1; n <= 3; n++) push(n)
  keeper.setIdentity({ ...SHOP, searchDomain: 'corp.example' })
  expect(find(keeper.image!, 'a.corp.example')).toBeNull()
  acknowledge()
  expect(find(keeper.image!, 'a.corp.example')?.v4).toEqual(['c0000203'])
  acknowledge()
  expect(published.length).toBe(4)
})

describe('of each table', () => {
  test('the source is told what became of it, and the log once what is new', () => {
    const { keeper, lines, updates, published } = start()
    expect([keeper.hasTable, keeper.updatedAtMs]).toEqual([false, null])
    expect(keeper.accept(TABLE, '1')).toEqual({ accepted: true, changed: true })
    expect(keeper.accept(TABLE, '2')).toEqual({ accepted: true, changed: false })
    expect(keeper.accept(Buffer.from('rubbish'), '3')).toEqual({
      accepted: false,
      reason: expect.stringMatching(/^not a NameTable: malformed/),
    })
    expect(updates).toEqual(['changed', 'unchanged', 'refused'])
    expect([keeper.hasTable, keeper.updatedAtMs, published.length, keeper.image?.version]).toEqual([true, 5000, 1, '1'])
    expect(lines).toEqual([
      ['info', 'name table adopted'],
      ['warn', 'a name table was refused; the one in use stays'],
    ])
  })

  test('adoptions after the first are told at debug only, and what was left out is a warning', () => {
    const { keeper, lines, push } = start()
    push(1)
    keeper.accept(encodeNameTable(new Map([service('a', 'shop', ['192.0.2.2', 'nonsense'])])), '2')
    expect(lines.slice(1)).toEqual([
      ['debug', 'name table adopted'],
      ['warn', 'parts of the name table were left out'],
    ])
  })

  test('a refused one does not take the place of one that waits', () => {
    const { keeper, push, acknowledge } = start()
    for (let n = 1; n <= 4; n++) push(n)
    expect(keeper.accept(Buffer.from('rubbish'), '5').accepted).toBe(false)
    acknowledge()
    expect(find(keeper.image!, 'a')?.v4).toEqual(['c0000204'])
  })
})

describe('who waits for the first table', () => {
  const never = new AbortController().signal

  test('is told when it comes, and at once if it is there', async () => {
    const { keeper, push } = start()
    let told = false
    const waiting = keeper.firstTable(60_000, never).then(() => (told = true))
    await Promise.resolve()
    expect(told).toBe(false)
    push(1)
    await waiting
    await keeper.firstTable(60_000, never)
    await keeper.firstFromOrigin(60_000, never)
  })

  test('is told after a while that there is none', async () => {
    const { keeper } = start()
    await keeper.firstTable(1, never)
    expect(keeper.image).toBeNull()
  })

  test('does not wait on once it is to end', async () => {
    const { keeper } = start()
    const ending = new AbortController()
    const waiting = keeper.firstTable(60_000, ending.signal)
    ending.abort()
    await waiting
    await keeper.firstFromOrigin(60_000, ending.signal)
    expect(keeper.image).toBeNull()
  })

  test('waits on for one of the source where there is one from disk', async () => {
    const file = join(folder(), 'table.image')
    const before = start({ file })
    before.push(1)
    await before.keeper.stop()
    const { keeper, push } = start({ file })
    keeper.loadLastKnownGood()
    await keeper.firstTable(60_000, never)
    await keeper.firstFromOrigin(1, never)
    expect([keeper.isFromLastKnownGood, keeper.image?.timeMs]).toEqual([true, before.keeper.image?.timeMs])
    let isThere = false
    const waiting = keeper.firstFromOrigin(60_000, never).then(() => (isThere = true))
    await new Promise(setImmediate)
    expect(isThere).toBe(false)
    push(1)
    await waiting
    expect(keeper.isFromLastKnownGood).toBe(false)
  })
})

describe('the last known good table', () => {
  test('is written once a table was adopted, a burst of them once, and answers after a restart', async () => {
    const file = join(folder(), 'table.image')
    const { keeper, push } = start({ file })
    for (let n = 1; n <= 3; n++) push(n)
    await keeper.stop()
    expect(readdirSync(dirname(file))).toEqual(['table.image'])
    expect(statSync(file).mode & 0o777).toBe(0o600)

    const again = start({ file })
    again.keeper.loadLastKnownGood()
    expect(find(again.keeper.image!, 'a')?.v4).toEqual(['c0000203'])
    expect([again.keeper.isFromLastKnownGood, again.keeper.hasTable, again.keeper.updatedAtMs]).toEqual([
      true,
      false,
      1000,
    ])
    expect(again.lines).toEqual([['info', 'answering from the last known good table']])
    expect(again.fields).toEqual([{ file, hosts: 1, ageSeconds: 4 }])
    again.push(7)
    expect([again.keeper.isFromLastKnownGood, again.keeper.hasTable]).toEqual([false, true])
    await again.keeper.stop()
  })

  test('is written by itself, too, a moment after the table came', async () => {
    const file = join(folder(), 'table.image')
    const { keeper, push } = start({ file })
    vi.useFakeTimers()
    push(1)
    vi.advanceTimersByTime(1000)
    vi.useRealTimers()
    await keeper.stop()
    expect(verifyImage(readFileSync(file))).toBeNull()
  })

  test.each<[what: string, contents: Uint8Array | null, line: RegExp | null]>([
    ['is no error where there is none', null, null],
    ['is of no use where it is damaged', Buffer.from('BYNT is all there is'), /is of no use/],
    ['is of no use where it is empty', Buffer.alloc(0), /is of no use/],
  ])('%s', (_, contents, line) => {
    const file = join(folder(), 'table.image')
    if (contents !== null) writeFileSync(file, contents)
    const { keeper, lines, published } = start({ file })
    keeper.loadLastKnownGood()
    expect([keeper.image, published.length, keeper.isFromLastKnownGood]).toEqual([null, 0, false])
    expect(lines).toEqual(line === null ? [] : [['warn', expect.stringMatching(line)]])
  })

  test('is of no use with any byte changed, nor for another workload', async () => {
    const file = join(folder(), 'table.image')
    const { keeper, push } = start({ file })
    push(1)
    await keeper.stop()
    const whole = readFileSync(file)
    for (let at = 0; at < whole.length; at += 37) {
      const damaged = Buffer.from(whole)
      damaged[at]! ^= 0x10
      writeFileSync(file, damaged)
      const { keeper: next } = start({ file })
      next.loadLastKnownGood()
      expect(next.image).toBeNull()
    }
    writeFileSync(file, whole)
    const other = start({ file, identity: { ...SHOP, namespace: 'ops' } })
    other.keeper.loadLastKnownGood()
    expect([other.keeper.image, other.lines]).toEqual([null, [['warn', 'the last known good table is of no use']]])
  })

  test('is written anew at the end, when its first writing kept another table waiting', async () => {
    const file = join(folder(), 'table.image')
    const { keeper, push, acknowledge } = start({ file })
    push(1)
    acknowledge()
    const stopped = keeper.stop()
    // The write has begun, and keeps a slot. Of the other two one is the newest, and the worker still reads the last.
    await Promise.resolve()
    push(2)
    push(3)
    acknowledge()
    push(4)
    push(5)
    expect(keeper.image?.version).toBe('4')
    await stopped
    expect(keeper.image?.version).toBe('5')
    const again = start({ file })
    again.keeper.loadLastKnownGood()
    expect(find(again.keeper.image!, 'a')?.v4).toEqual(['c0000205'])
  })

  test('that cannot be read or written is a warning, and names are answered all the same', async () => {
    const file = folder()
    const { keeper, push, lines } = start({ file })
    keeper.loadLastKnownGood()
    push(1)
    await keeper.stop()
    expect(lines.map(([, message]) => message)).toEqual([
      'the last known good table cannot be read',
      'name table adopted',
      'the last known good table cannot be written',
    ])
    expect(keeper.saveProblem).toEqual({ reason: expect.stringContaining('EISDIR'), sinceMs: 5000 })
    expect(find(keeper.image!, 'a')?.v4).toEqual(['c0000201'])
    expect(readdirSync(dirname(file)).filter((name) => name.endsWith('.tmp'))).toEqual([])
  })

  test('that cannot be written is a problem since the first time, until it is written', async () => {
    let nowMs = 5000
    const file = join(folder(), 'below', 'table.image')
    const { keeper, push, acknowledge } = start({ file, now: () => nowMs })
    const write = async (n: number): Promise<number | undefined> => {
      push(n)
      acknowledge()
      await keeper.stop()
      nowMs += 1000
      return keeper.saveProblem?.sinceMs
    }
    expect([await write(1), await write(2)]).toEqual([5000, 5000])
    mkdirSync(dirname(file))
    expect(await write(3)).toBeUndefined()
    rmSync(dirname(file), { recursive: true })
    expect(await write(4)).toBe(8000)
  })

  test('makes no folders: where there is none, that is a warning with the remedy', async () => {
    const file = join(folder(), 'below', 'table.image')
    const { keeper, push, fields } = start({ file })
    push(1)
    await keeper.stop()
    expect(fields.at(-1)).toMatchObject({ file, error: expect.stringContaining('ENOENT'), remedy: 'make its folder' })
    expect(existsSync(dirname(file))).toBe(false)
  })

  test('is written past links that lie in wait, and left-overs of a killed process go away', async () => {
    const file = join(folder(), 'table.image')
    const victim = join(dirname(file), 'victim')
    writeFileSync(victim, 'precious')
    symlinkSync('victim', `${file}.${process.pid}.tmp`)
    const { keeper, push } = start({ file })
    push(1)
    await keeper.stop()
    expect(readFileSync(victim, 'utf8')).toBe('precious')
    expect(verifyImage(readFileSync(file))).toBeNull()
    const again = start({ file })
    again.keeper.loadLastKnownGood()
    await again.keeper.stop()
    expect(readdirSync(dirname(file)).toSorted()).toEqual(['table.image', 'victim'])
  })

  test('is not written where nobody wants it', async () => {
    const { keeper, push, lines } = start()
    keeper.loadLastKnownGood()
    push(1)
    await keeper.stop()
    expect(lines).toEqual([['info', 'name table adopted']])
  })
})

describe('the table as JSON', () => {
  test('is what a table file may be', () => {
    const { keeper } = start()
    expect([...keeper.json()].join('')).toBe('{"table":{}}\n')
    keeper.accept(encodeNameTable(new Map()), '0')
    expect([...keeper.json()].join('')).toBe('{"table":{}}\n')
    const table = new Map([service('a', 'shop', ['192.0.2.1', 'fd00::1']), service('b', 'ops', ['192.0.2.2'])])
    keeper.accept(encodeNameTable(table), '1')
    expect(parseNameTableJson([...keeper.json()].join(''))).toEqual(table)
  })

  test('stays whole while it is read, whatever comes meanwhile, and lets go of the table then', () => {
    const { keeper, push, acknowledge, published } = start()
    push(1)
    const reading = keeper.json()
    const first = reading.next().value
    for (let n = 2; n <= 4; n++) {
      push(n)
      acknowledge()
    }
    expect([first, ...reading].join('')).toContain('192.0.2.1')
    for (let n = 5; n <= 9; n++) {
      push(n)
      acknowledge()
    }
    expect(published.length).toBe(9)
  })

  test('may be read as slowly as anybody likes, by many at once: every push is adopted, and each listing is of one table', () => {
    const { keeper, push, acknowledge, published } = start()
    const readings = [1, 2, 3, 4].map((n) => {
      push(n)
      acknowledge()
      const reading = keeper.json()
      return { first: reading.next().value, reading }
    })
    for (let n = 5; n <= 9; n++) {
      push(n)
      acknowledge()
      expect([published.length, keeper.image?.version]).toEqual([n, String(n)])
    }
    readings.forEach(({ first, reading }, index) => {
      const listed = parseNameTableJson([first, ...reading].join(''))
      expect([...listed.values()].flatMap(({ ips }) => ips)).toEqual([`192.0.2.${index + 1}`])
    })
  })
})
