import { expect, test } from 'vitest'
import { configSchema } from '../../src/config/schema.ts'

/** The plug-ins of a configuration, or what is wrong with it. */
function pluginsOf(plugins: unknown): unknown {
  const read = configSchema.safeParse({ plugins })
  return read.success
    ? read.data.plugins
    : read.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`)
}

test('a plug-in needs no more than a file', () => {
  expect(pluginsOf([{ file: '/block.wasm' }])).toEqual([
    { file: '/block.wasm', config: '', timeoutUs: 1000, maxMemoryBytes: 16_777_216, onError: 'pass' },
  ])
})

test.each<[unknown, string]>([
  ['a.example b.example', 'a.example b.example'],
  ['', ''],
  [null, ''],
  [7, '7'],
  [true, 'true'],
  [['a', 1], '["a",1]'],
  [{ names: ['a'], deep: { x: null } }, '{"names":["a"],"deep":{"x":null}}'],
])('a config of %j reaches it as %s', (config, text) => {
  expect(pluginsOf([{ file: '/x.wasm', config }])).toMatchObject([{ config: text }])
})

test.each<[unknown, string]>([
  [{}, 'plugins: must be a list of plug-ins'],
  [[{}], 'plugins.0.file: must be a path'],
  [[{ file: '' }], 'plugins.0.file: must not be empty'],
  [[{ file: 'x', timeoutUs: 0 }], 'plugins.0.timeoutUs: must be a whole number from 1 to 1000000'],
  [[{ file: 'x', timeoutUs: '1ms' }], 'plugins.0.timeoutUs: must be a whole number from 1 to 1000000'],
  [[{ file: 'x', onError: 'drop' }], 'plugins.0.onError: must be pass or servfail'],
  [[{ file: 'x', config: 'y'.repeat(65_536) }], 'plugins.0.config: must be at most 65535 bytes, and has 65536'],
  [Array.from({ length: 17 }, () => ({ file: 'x' })), 'plugins: must be at most 16 plug-ins'],
])('%j', (plugins, problem) => {
  expect(pluginsOf(plugins)).toContain(problem)
})

test('memory is at least a page', () => {
  expect(pluginsOf([{ file: 'x', maxMemoryBytes: '64Ki' }])).toMatchObject([{ maxMemoryBytes: 65_536 }])
  expect(pluginsOf([{ file: 'x', maxMemoryBytes: 65_535 }])).toEqual([
    expect.stringMatching(/^plugins\.0\.maxMemoryBytes: must be a whole number from 65536 /),
  ])
})
