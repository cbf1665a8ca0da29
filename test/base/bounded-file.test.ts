import { execFileSync } from 'node:child_process'
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { array, assert, integer, property } from 'fast-check'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type FileCalls,
  problemOf,
  readBoundedFile,
  readBoundedText,
  readOwnFile,
} from '../../src/base/bounded-file.ts'

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-file-'))
})
afterEach(() => {
  vi.restoreAllMocks()
  rmSync(folder, { recursive: true, force: true })
})

function codeOf(path: string, maxBytes = 1000): string {
  const reading = readBoundedFile(path, maxBytes)
  return 'problem' in reading ? `${reading.problem.code}: ${reading.problem.reason}` : `${reading.bytes.length} bytes`
}

describe('what is not read, and at once', () => {
  test('a FIFO that nobody writes to', () => {
    const path = join(folder, 'fifo')
    execFileSync('mkfifo', [path])
    expect(codeOf(path)).toBe('ENOTREG: is a FIFO; name a regular file')
    symlinkSync('fifo', join(folder, 'link'))
    expect(codeOf(join(folder, 'link'))).toBe('ENOTREG: is a FIFO; name a regular file')
  })
  test('a socket', async () => {
    const path = join(folder, 'socket')
    const server = createServer()
    server.listen(path)
    await once(server, 'listening')
    expect(codeOf(path)).toBe('ENOTREG: is a socket; name a regular file')
    server.close()
  })
  test.each(['/dev/zero', '/dev/null', '/dev/tty'])('a device: %s', (path) => {
    expect(codeOf(path)).toBe('ENOTREG: is a device; name a regular file')
  })
  test('a folder', () => {
    expect(codeOf(folder)).toBe('EISDIR: is a folder; name a regular file')
  })
  test.each([
    ['nothing', 'none', /^ENOENT: does not exist; /],
    ['something below a file', 'file/below', /^ENOTDIR: does not exist; /],
    ['a loop of links', 'loop', /^ELOOP: is a loop of symbolic links; /],
  ])('%s', (_, name, expected) => {
    writeFileSync(join(folder, 'file'), '')
    symlinkSync('loop', join(folder, 'loop'))
    expect(codeOf(join(folder, name))).toMatch(expected)
  })
  test('a file that is larger than the bound, by one byte or by a terabyte', () => {
    const path = join(folder, 'large')
    writeFileSync(path, Buffer.alloc(1001))
    expect(codeOf(path)).toBe('EFBIG: is larger than 1000 bytes; name a smaller file')
    truncateSync(path, 2 ** 40)
    expect(codeOf(path, 4 << 20)).toBe('EFBIG: is larger than 4 MiB; name a smaller file')
    expect(codeOf(path, 1 << 20)).toBe('EFBIG: is larger than 1 MiB; name a smaller file')
  })
})

test('a file up to the bound is read whole, an empty one as well', () => {
  const path = join(folder, 'file')
  for (const length of [0, 1, 999, 1000]) {
    writeFileSync(path, Buffer.alloc(length, 7))
    expect(readBoundedFile(path, 1000)).toEqual({ bytes: Buffer.alloc(length, 7) })
  }
})

test('a file of /proc, which says that it has no bytes, is read up to the bound', () => {
  const reading = readBoundedText('/proc/self/status', 1 << 20)
  expect('text' in reading && reading.text).toMatch(/^Name:\t.*\nPid:\t/s)
  expect(codeOf('/proc/self/status', 10)).toBe('EFBIG: is larger than 10 bytes; name a smaller file')
})

test('text is decoded without a byte order mark, and bytes that are no UTF-8 are no error', () => {
  const path = join(folder, 'file')
  writeFileSync(path, Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0xff]))
  expect(readBoundedText(path, 1000)).toEqual({ text: 'a\ufffd' })
})

/** A file whose content is another one after so many reads; each read gives at most `most` bytes. */
function changingFile(contents: Buffer[], most: number, readsEach: number): FileCalls & { open: () => number } {
  let reads = 0
  const now = (): number => Math.min(contents.length - 1, Math.floor(reads / readsEach))
  let position = 0
  const stat = (): ReturnType<FileCalls['stat']> => ({
    isFile: () => true,
    isDirectory: () => false,
    isFIFO: () => false,
    isSocket: () => false,
    size: BigInt(contents[now()]!.length),
    mtimeNs: BigInt(now()),
    uid: 0n,
  })
  return {
    stat,
    fstat: stat,
    open: () => {
      position = 0
      return 3
    },
    read: (_, into, at, length) => {
      const content = contents[now()]!
      const from = Math.min(position, content.length)
      const count = content.copy(into, at, from, Math.min(content.length, from + Math.min(most, length)))
      reads++
      position += count
      return count
    },
    close: () => {},
  }
}

test("only root's files and this user's own are read as one's own", () => {
  const path = join(folder, 'file')
  writeFileSync(path, 'table')
  expect(readOwnFile(path, 10)).toEqual({ bytes: Buffer.from('table') })
  const whose = (uid: bigint): ReturnType<typeof readOwnFile> => {
    const file = changingFile([Buffer.from('table')], 10, 10)
    return readOwnFile(path, 10, { ...file, fstat: () => ({ ...file.fstat(3), uid }) })
  }
  expect(whose(0n)).toEqual({ bytes: Buffer.from('table') })
  expect(whose(BigInt(process.geteuid!()))).toEqual({ bytes: Buffer.from('table') })
  // Whoever runs the tests: a user that is not root.
  vi.spyOn(process, 'geteuid').mockReturnValue(1234)
  expect(whose(1234n)).toEqual({ bytes: Buffer.from('table') })
  expect(whose(0n)).toEqual({ bytes: Buffer.from('table') })
  expect(whose(4711n)).toEqual({
    problem: {
      code: 'EOWNER',
      reason: 'belongs to user 4711, not to root or this user (1234); change its owner, or remove it',
    },
  })
  const others = changingFile([Buffer.from('theirs')], 10, 10)
  const fstat: FileCalls['fstat'] = (fd) => ({ ...others.fstat(fd), uid: 4711n })
  expect(readBoundedFile(path, 10, { ...others, fstat })).toEqual({ bytes: Buffer.from('theirs') })
})

test('a file that changes while it is read is never a mixture: one of its contents whole, or a problem', () => {
  assert(
    property(
      array(integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 6 }),
      integer({ min: 1, max: 50 }),
      integer({ min: 1, max: 8 }),
      (lengths, most, readsEach) => {
        // Each content is made of a byte of its own.
        const contents = lengths.map((length, k) => Buffer.alloc(length, k + 1))
        const reading = readBoundedFile('any', 30, changingFile(contents, most, readsEach))
        if ('problem' in reading) return ['ECHANGING', 'EFBIG'].includes(reading.problem.code)
        return contents.some((whole) => whole.equals(reading.bytes))
      },
    ),
  )
})

test.each([
  ['of the same size', 'aaaa', 'bbbb'],
  ['that is longer', 'aaaa', 'bbbbbb'],
  ['that is shorter', 'aaaa', 'bbb'],
  ['that is empty', 'aaaa', ''],
])('a content %s that takes the place of a half-read one is read instead', (_, before, after) => {
  const calls = changingFile([Buffer.from(before), Buffer.from(after)], 2, 1)
  expect(readBoundedFile('any', 30, calls)).toEqual({ bytes: Buffer.from(after) })
})

test('a file that changes under three readings is left alone', () => {
  const calls = changingFile(
    Array.from({ length: 100 }, (_, k) => Buffer.from(`${k}`.padStart(4))),
    2,
    1,
  )
  const open = vi.spyOn(calls, 'open')
  expect(readBoundedFile('any', 30, calls)).toEqual({
    problem: {
      code: 'ECHANGING',
      reason: 'changes while it is read; replace it by a rename, or wait until it is written',
    },
  })
  expect(open).toHaveBeenCalledTimes(3)
})

test('what was a file when it was looked at, and is none once it is open, is not read', () => {
  const calls = changingFile([Buffer.from('table')], 10, 10)
  const fstat: FileCalls['fstat'] = (fd) => ({ ...calls.fstat(fd), isFile: () => false, isFIFO: () => true })
  expect(readBoundedFile('any', 30, { ...calls, fstat })).toEqual({
    problem: { code: 'ENOTREG', reason: 'is a FIFO; name a regular file' },
  })
})

test.each([0, 1, 16_383, 16_384, 16_385, 32_770, 99_999, 100_000])(
  'of a file that says it has no bytes, and has %i, all are read',
  (length) => {
    const content = Buffer.from(Array.from({ length }, (_, k) => k % 251))
    const calls = changingFile([content], 5000, Number.POSITIVE_INFINITY)
    const fstat: FileCalls['fstat'] = (fd) => ({ ...calls.fstat(fd), size: 0n })
    const reading = readBoundedFile('any', 100_000, { ...calls, stat: () => fstat(3), fstat })
    expect('bytes' in reading && reading.bytes.equals(content)).toBe(true)
    const tooMuch = readBoundedFile('any', length - 1, { ...calls, stat: () => fstat(3), fstat })
    if (length > 0) expect(tooMuch).toMatchObject({ problem: { code: 'EFBIG' } })
  },
)

test.each<[error: unknown, code: string, reason: string]>([
  [Object.assign(new Error('x'), { code: 'EACCES' }), 'EACCES', 'may not be read; check its owner and mode'],
  [
    Object.assign(new Error('x'), { code: 'EMFILE' }),
    'EMFILE',
    'cannot be opened: the limit of open files is reached; raise it (ulimit -n)',
  ],
  [
    Object.assign(new Error('EIO: i/o error,\n read '), { code: 'EIO' }),
    'EIO',
    'cannot be read (EIO: i/o error, read)',
  ],
  [new Error('no code'), 'EIO', 'cannot be read (no code)'],
  ['thrown text', 'EIO', 'cannot be read (thrown text)'],
])('%j is a problem in one line', (error, code, reason) => {
  expect(problemOf(error)).toEqual({ code, reason })
})

test('a file that rests after a change is read', () => {
  const calls = changingFile([Buffer.from('old'), Buffer.from('newer')], 100, 1)
  expect(readBoundedFile('any', 30, calls)).toEqual({ bytes: Buffer.from('newer') })
})

test('descriptors are closed, whatever the end', () => {
  mkdirSync(join(folder, 'folder'))
  writeFileSync(join(folder, 'large'), Buffer.alloc(100))
  writeFileSync(join(folder, 'good'), 'good')
  const before = readdirSync('/proc/self/fd').length
  for (const name of ['folder', 'large', 'good', 'none']) readBoundedFile(join(folder, name), 10)
  expect(readdirSync('/proc/self/fd').length).toBe(before)
})

test('nothing in src reads a file in another way', () => {
  const root = fileURLToPath(new URL('../../src/', import.meta.url))
  const readers = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter(
    (name) =>
      name.endsWith('.ts') &&
      /\b(?:readFileSync|readFile|createReadStream|readSync|openAsBlob)\b(?=[,( }])/.test(
        importsOf(readFileSync(join(root, name), 'utf8')),
      ),
  )
  expect(readers).toEqual(['base/bounded-file.ts'])
})

/** What a file imports from node:fs and node:fs/promises. */
function importsOf(source: string): string {
  return [...source.matchAll(/import ([^;]*?) from 'node:fs(?:\/promises)?'/g)].map(([, names]) => names).join(' ')
}
