import { beforeEach, describe, expect, test } from 'vitest'
import { textOf } from '../../src/base/bounded-file.ts'
import { WatchedFile } from '../../src/base/watched-file.ts'
import { FakeClock } from './fake-clock.ts'
import { MemoryFiles } from './memory-files.ts'

const PATH = '/etc/number'

let clock: FakeClock
let files: MemoryFiles
let lines: string[]
let changes: number[]
let file: WatchedFile<number>
beforeEach(() => {
  clock = new FakeClock()
  files = new MemoryFiles(clock)
  lines = []
  changes = []
  const say = (level: string) => (_: object, message: string) => {
    if (level !== 'debug') lines.push(`${level} ${message}`)
  }
  file = new WatchedFile({
    path: PATH,
    what: 'the number',
    maxBytes: 10,
    take: (content) => {
      const text = textOf(content)
      return /^\d+;$/.test(text) ? { value: Number.parseInt(text, 10) } : { problem: `is no number: ${text}` }
    },
    onChange: (value) => void changes.push(value),
    describe: ({ code, reason, isFirst, isAsked }) =>
      [code, reason, isFirst ? 'nothing yet' : 'last stays', isAsked ? 'asked' : 'changed'].join(', '),
    level: 'warn',
    log: { debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') },
    files,
    clock,
  })
})

describe('a file that is watched', () => {
  test('is read at the start, and after each change once it has rested for half a second', () => {
    files.write(PATH, '1;')
    file.start()
    expect([file.value, changes, lines]).toEqual([1, [], []])
    files.write(PATH, '2;')
    clock.advance(549)
    expect(file.value).toBe(1)
    clock.advance(1)
    expect([file.value, changes, lines]).toEqual([2, [2], []])
  })

  test('is watched before it is read: a change during the first reading is not lost', () => {
    files.write(PATH, '1;')
    files.beforeRead = () => {
      files.beforeRead = () => {}
      // After the content was taken, as far as the reader is concerned.
      queueChange()
    }
    const queueChange = (): void => void clock.after(0, () => files.write(PATH, '2;'))
    file.start()
    clock.advance(1000)
    expect(file.value).toBe(2)
    expect(files.watched).toEqual([PATH])
  })

  test('half a file that looks like a whole one is not taken while it is being written', () => {
    files.write(PATH, '1;')
    file.start()
    for (const text of ['2;', '23;', '234;', '2345;']) {
      files.write(PATH, text)
      clock.advance(499)
      expect(file.value).toBe(1)
    }
    clock.advance(600)
    expect([file.value, changes]).toEqual([2345, [2345]])
  })

  test('nor is one that is written to while it is read', () => {
    files.write(PATH, '1;')
    file.start()
    files.write(PATH, '2;')
    files.beforeRead = () => {
      files.beforeRead = () => {}
      clock.after(0, () => {})
      files.write(PATH, '23;')
      files.write(PATH, '234;')
    }
    clock.advance(550)
    expect(file.value).toBe(1)
    clock.advance(500)
    expect([file.value, changes]).toEqual([234, [234]])
  })

  test('one that never rests is a problem after five seconds, and taken once it rests', () => {
    files.write(PATH, '1;')
    file.start()
    for (let k = 0; k < 60; k++) {
      files.write(PATH, `${k};`)
      clock.advance(100)
    }
    expect(file.value).toBe(1)
    expect(lines).toEqual([
      'warn ECHANGING, does not rest: it keeps changing; replace it by a rename, last stays, changed',
    ])
    clock.advance(1000)
    expect([file.value, lines.at(-1)]).toEqual([59, 'info the number is good again'])
  })

  test('one that never rests because others take its place is taken after five seconds, and then at each look', () => {
    files.write(PATH, '1;')
    file.start()
    for (let k = 0; k < 80; k++) {
      files.replace(PATH, `${k};`)
      clock.advance(100)
    }
    // Fifty are the first five seconds.
    expect(changes).toEqual([50, 55, 60, 65, 70, 75])
    expect([lines, file.trouble]).toEqual([[], null])
    clock.advance(1000)
    expect([file.value, clock.pending]).toEqual([79, []])
  })

  test('nor is one that others took the place of and that is then written over', () => {
    files.write(PATH, '1;')
    file.start()
    for (let k = 0; k < 60; k++) {
      if (k === 10) files.replace(PATH, '2;')
      files.write(PATH, `${k};`)
      clock.advance(100)
    }
    expect([file.value, lines]).toEqual([1, [expect.stringContaining('does not rest: it keeps changing')]])
  })

  test('that is bad keeps the last good value; each change is said once, and that it is good again', () => {
    files.write(PATH, '1;')
    file.start()
    const atMs = clock.now() + 550
    for (const text of ['x', 'x', 'y']) {
      files.write(PATH, text)
      clock.advance(2000)
    }
    expect([file.value, changes]).toEqual([1, []])
    expect(file.trouble).toEqual({ what: 'the number', file: PATH, reason: 'is no number: y', sinceMs: atMs })
    expect(lines).toEqual([
      'warn EINVAL, is no number: x, last stays, changed',
      'warn EINVAL, is no number: y, last stays, changed',
    ])
    files.write(PATH, '1;')
    clock.advance(2000)
    expect([file.value, file.trouble, changes, lines[2]]).toEqual([1, null, [1], 'info the number is good again'])
  })

  test.each<[string, () => void, string]>([
    ['is gone', () => files.remove(PATH), 'ENOENT, does not exist; name an existing file'],
    [
      'is a FIFO',
      () => files.special(PATH, 'is a FIFO; name a regular file'),
      'ENOTREG, is a FIFO; name a regular file',
    ],
    ['is too large', () => files.write(PATH, '12345678901;'), 'EFBIG, is too large; name a smaller file'],
    ['holds NUL bytes', () => files.write(PATH, '1\0;'), 'EINVAL, holds NUL bytes, so it is no text; replace it'],
    ['is a loop of links', () => files.link(PATH, PATH), 'ELOOP, is a loop of symbolic links; mend the link'],
  ])('that %s keeps the last good value', (_, spoil, line) => {
    files.write(PATH, '1;')
    file.start()
    spoil()
    clock.advance(1000)
    expect([file.value, changes, lines]).toEqual([1, [], [`warn ${line}, last stays, changed`]])
  })

  test('may appear after the start, and a link may be swapped', () => {
    file.start()
    expect(lines).toEqual(['warn ENOENT, does not exist; name an existing file, nothing yet, asked'])
    files.write('/data/1', '1;')
    files.write('/data/2', '2;')
    files.link(PATH, '/data/1')
    clock.advance(1000)
    expect(file.value).toBe(1)
    files.link(PATH, '/data/2')
    clock.advance(1000)
    expect([file.value, changes]).toEqual([2, [1, 2]])
  })

  test('is read at once when somebody asks, who is told again what is wrong', () => {
    files.write(PATH, '1;')
    file.start()
    files.write(PATH, '2;')
    file.reread()
    expect([file.value, changes]).toEqual([2, []])
    files.write(PATH, 'x')
    file.reread()
    file.reread()
    expect(lines).toEqual(Array(2).fill('warn EINVAL, is no number: x, last stays, asked'))
    clock.advance(1000)
    expect(lines.length).toBe(2)
  })

  test('that was read because somebody asked is not read again for the change before that', () => {
    files.write(PATH, '1;')
    file.start()
    files.write(PATH, '2;')
    clock.advance(100)
    file.reread()
    expect(file.value).toBe(2)
    clock.advance(10_000)
    expect([changes, clock.pending]).toEqual([[], []])
  })

  test('is watched once, however often it is started, and may be stopped before that', () => {
    file.stop()
    files.write(PATH, '1;')
    file.start()
    file.start()
    expect(files.watched).toEqual([PATH])
  })

  test.each([
    [undefined, null, 'EINVAL, holds NUL bytes, so it is no text; replace it, nothing yet, asked'],
    [true, 2, null],
  ] as const)('may hold NUL bytes only if it is binary: %s', (isBinary, value, line) => {
    files.write(PATH, '1\0')
    const watched = new WatchedFile<number>({
      path: PATH,
      what: 'the bytes',
      maxBytes: 10,
      take: (content) => ({ value: content.length }),
      ...(isBinary && { isBinary }),
      onChange: () => {},
      describe: ({ code, reason, isFirst, isAsked }) =>
        [code, reason, isFirst ? 'nothing yet' : 'last stays', isAsked ? 'asked' : 'changed'].join(', '),
      level: 'error',
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: (_, message) => void lines.push(message) },
      files,
      clock,
    })
    watched.start()
    expect([watched.value, lines]).toEqual([value, line === null ? [] : [line]])
    watched.stop()
  })

  test('is neither watched nor read any more once stopped', () => {
    files.write(PATH, '1;')
    file.start()
    files.write(PATH, '2;')
    clock.advance(300)
    file.stop()
    clock.advance(10_000)
    expect([file.value, changes, files.watched, clock.pending]).toEqual([1, [], [], []])
  })
})
