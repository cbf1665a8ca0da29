/** The configuration file while the daemon runs, on a virtual clock and file system. */
import { beforeEach, describe, expect, test } from 'vitest'
import { ConfigFile } from '../../src/daemon/config-file.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { MemoryFiles } from '../base/memory-files.ts'

const FILE = '/etc/byname/byname.yaml'
const TEXT = 'mesh: { ttlSeconds: 60 }\n'

let clock: FakeClock
let files: MemoryFiles
let changes: number
let lines: string[]
let file: ConfigFile

function say(level: string): (fields: object, message: string) => void {
  return (_, message) => void lines.push(`${level} ${message}`)
}

function open(path: string | null, text: string): ConfigFile {
  const log = { debug: () => {}, info: say('info'), warn: say('warn'), error: say('error') }
  return new ConfigFile({ file: path, text, log, files, clock, onChange: () => changes++ })
}

beforeEach(() => {
  clock = new FakeClock()
  files = new MemoryFiles(clock)
  changes = 0
  lines = []
  files.write(FILE, TEXT)
  file = open(FILE, TEXT)
})

function rest(): void {
  clock.advance(5000)
}

test('another text is told of once, after it has rested', () => {
  file.watch(true)
  files.write(FILE, `${TEXT}work`)
  clock.advance(400)
  files.write(FILE, `${TEXT}workers: 2\n`)
  clock.advance(400)
  expect(changes).toBe(0)
  rest()
  expect([changes, lines]).toEqual([1, []])
})

test('what changed before the watch began is told of at once', () => {
  files.write(FILE, 'workers: 2\n')
  file.watch(true)
  expect(changes).toBe(1)
})

test('one that is gone when the watch begins is no change, and one that comes back with other text is', () => {
  files.remove(FILE)
  file.watch(true)
  rest()
  expect(changes).toBe(0)
  files.write(FILE, TEXT)
  rest()
  expect(changes).toBe(0)
  files.replace(FILE, 'workers: 2\n')
  rest()
  expect(changes).toBe(1)
})

test('a mounted ConfigMap that is swapped is told of', () => {
  files.write('/config/..1/byname.yaml', TEXT)
  files.write('/config/..2/byname.yaml', 'workers: 2\n')
  files.link('/config/byname.yaml', '/config/..1/byname.yaml')
  file = open('/config/byname.yaml', TEXT)
  file.watch(true)
  files.link('/config/byname.yaml', '/config/..2/byname.yaml')
  rest()
  expect(changes).toBe(1)
})

test('the same text, written again or read meanwhile (SIGHUP), is no change', () => {
  file.watch(true)
  files.replace(FILE, TEXT)
  rest()
  files.replace(FILE, 'workers: 2\n')
  file.loaded('workers: 2\n')
  rest()
  expect([changes, lines]).toEqual([0, []])
})

test('after a refusal every text is told, also that of the configuration in use, until one is taken', () => {
  file.watch(true)
  for (const text of ['nonsense\n', 'nonsense\n', TEXT]) {
    files.replace(FILE, text)
    rest()
    if (text !== TEXT) file.refused()
  }
  expect(changes).toBe(3)
  file.loaded(TEXT)
  files.replace(FILE, TEXT)
  rest()
  expect(changes).toBe(3)
})

describe.each<[what: string, spoil: () => void, reason: string]>([
  ['gone', () => files.remove(FILE), 'does not exist; name an existing file'],
  ['emptied', () => files.write(FILE, ' \n'), 'is empty; write the configuration into it'],
  ['a FIFO', () => files.special(FILE, 'is a FIFO; name a regular file'), 'is a FIFO; name a regular file'],
])('a file that is %s', (_, spoil, reason) => {
  test('changes nothing and is said once; one that is good again counts', () => {
    file.watch(true)
    spoil()
    rest()
    clock.advance(600_000)
    expect(changes).toBe(0)
    expect(lines).toHaveLength(1)
    expect(lines[0]).toMatch(/^error the configuration stays as it is: \/etc\/byname\/byname\.yaml /)
    expect(lines[0]).toContain(reason)
    files.replace(FILE, 'workers: 2\n')
    rest()
    expect([changes, lines.slice(1)]).toEqual([1, ['info the configuration file is good again']])
  })
})

test('nothing is told while it is not watched, and what changed meanwhile once it is again', () => {
  file.watch(true)
  file.watch(true)
  file.watch(false)
  files.replace(FILE, 'workers: 2\n')
  rest()
  expect([changes, files.watched]).toEqual([0, []])
  file.watch(true)
  expect([changes, files.watched]).toEqual([1, [FILE]])
})

test('without a file there is nothing to watch', () => {
  open(null, '').watch(true)
  expect(files.watched).toEqual([])
})
