/** What a running daemon takes of a configuration that is read again, and what it refuses, on a virtual clock and file system. */
import { beforeEach, expect, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import { type LoadedConfig, loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { ConfigReload } from '../../src/daemon/config-reload.ts'
import type { OpenListener } from '../../src/daemon/listener-sockets.ts'
import type { Log } from '../../src/observe/log.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { MemoryFiles } from '../base/memory-files.ts'

const FILE = '/etc/byname/byname.yaml'
const SOURCE = 'source: { table: /etc/byname/table.json }'
const TEXT = `mesh: { ${SOURCE}, ttlSeconds: 60 }\n`

let clock: FakeClock
let files: MemoryFiles
let lines: string[]
let taken: Config[]

beforeEach(() => {
  clock = new FakeClock()
  files = new MemoryFiles(clock)
  lines = []
  taken = []
  files.write(FILE, TEXT)
})

function load(): LoadedConfig {
  return loadConfig({ file: FILE, env: {}, readFile: () => files.textOf(FILE) })
}

function say(level: string): (fields: object, message: string) => void {
  return (_, message) => void lines.push(`${level} ${message}`)
}

const log: Log = { level: 'info', debug: () => {}, info: say('info'), warn: say('warn'), error: say('error') }

function open(listeners: readonly OpenListener[] = []): ConfigReload {
  const loaded = load()
  const reload = new ConfigReload({
    loaded,
    load,
    sys: null,
    sysProblem: 'no koffi here',
    current: () => taken.at(-1) ?? loaded.config,
    listeners: () => listeners,
    take: (config) => void taken.push(config),
    log,
    surroundings: { files, clock },
  })
  reload.watch()
  return reload
}

/** Writes the file, and lets it rest. */
function edit(text: string): void {
  files.replace(FILE, text)
  clock.advance(5000)
}

const ttls = (): number[] => taken.map(({ mesh }) => mesh.ttlSeconds)

test('a file that says something else is taken once, and what only a new process takes stays and is said', () => {
  const reload = open()
  edit(`mesh: { ${SOURCE}, ttlSeconds: 61 }\nworkers: 2\n`)
  expect([ttls(), taken[0]?.workers]).toEqual([[61], 1])
  expect(reload.last).toMatchObject({ count: 1, problems: [], refusedSinceMs: null, fixedKeys: ['workers'] })
  expect(lines).toEqual(['info configuration read again', 'warn these keys changed and need a restart (no koffi here)'])
})

test.each([
  ['that cannot be read as YAML', 'mesh: {', /byname\.yaml:/],
  ['with a value out of bounds', 'mesh: { ttlSeconds: 0 }\n', /mesh\.ttlSeconds/],
  ['that a start would refuse', 'driver: batch\n', /driver: .*no koffi here/],
])('a file %s is refused whole, in one line; the same file as before ends that', (_, text, reason) => {
  const reload = open()
  edit(text)
  expect([taken, lines.length, reload.last?.refusedSinceMs]).toEqual([[], 1, expect.any(Number)])
  expect(lines[0]).toMatch(/^error the configuration stays as it is: /)
  expect(lines[0]).toMatch(reason)
  expect(reload.problems).toMatchObject([{ about: 'configuration', text: expect.stringMatching(reason) }])
  edit(TEXT)
  expect([reload.problems, reload.last?.problems, ttls()]).toEqual([[], [], [60]])
})

test('a reload that somebody asks for before the file has rested leaves nothing behind: what the file says last counts', () => {
  const reload = open()
  files.replace(FILE, 'nonsense: 1\n')
  reload.reload('SIGHUP')
  expect(reload.problems).toHaveLength(1)
  edit(TEXT)
  expect(reload.problems).toEqual([])
})

test('the watch ends and begins with its key', () => {
  const reload = open()
  edit(`${TEXT}watchConfig: false\n`)
  expect(files.watched).toEqual([])
  edit(`mesh: { ${SOURCE}, ttlSeconds: 62 }\n`)
  expect(taken).toHaveLength(1)
  reload.reload('SIGHUP')
  expect([ttls(), files.watched]).toEqual([[60, 62], [FILE]])
  reload.stop()
  expect([files.watched, clock.pending]).toEqual([[], []])
})

test('where there is nothing to read again, whoever asks is told, and nothing is wrong from then on', () => {
  const loaded = load()
  const reload = new ConfigReload({
    loaded: { ...loaded, file: null },
    load: undefined,
    sys: null,
    sysProblem: '',
    current: () => loaded.config,
    listeners: () => [],
    take: (config) => void taken.push(config),
    log,
  })
  reload.reload('SIGHUP')
  expect(reload.last).toMatchObject({ problems: ['there is no configuration to read again'], refusedSinceMs: null })
  expect([reload.problems, taken, lines]).toEqual([[], [], ['info SIGHUP: there is no configuration to read again']])
})

test('a configuration that cannot be started with is an error at once', () => {
  files.write(FILE, 'driver: batch\n')
  expect(() => open()).toThrow(ConfigError)
})
