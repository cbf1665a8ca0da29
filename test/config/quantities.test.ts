import { assert, integer, property } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { parseSize } from '../../src/config/size.ts'

function fromYaml(yaml: string): Config {
  return loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml }).config
}

describe('durations', () => {
  test.each([
    ['30', 30],
    ['"30"', 30],
    ['30s', 30],
    ['1m', 60],
    ['1h30m', 5400],
    ['1.5m', 90],
    ['90000ms', 90],
    ['24h', 86_400],
  ])('mesh.ttlSeconds: %s is %i seconds', (written, seconds) => {
    expect(fromYaml(`mesh: { ttlSeconds: ${written} }`).mesh.ttlSeconds).toBe(seconds)
  })

  test.each([
    ['1000', 1000],
    ['500ms', 500],
    ['2s', 2000],
    ['1.1s', 1100],
    ['0.07s', 70],
    ['4s500ms', 4500],
  ])('upstream.deadlineMs: %s is %i ms', (written, ms) => {
    expect(fromYaml(`upstream: { deadlineMs: ${written} }`).upstream.deadlineMs).toBe(ms)
  })

  test.each([
    '500ms',
    '1.5s',
    '0s',
    '25h',
    '-1s',
    '1 hour',
    '8Mi',
    '""',
    '0x10s',
    '1e3s',
    '.inf',
    '.nan',
    '1.5',
    '[1]',
  ])('mesh.ttlSeconds: %s is refused in one line that says how to write it', (written) => {
    expect(() => fromYaml(`mesh: { ttlSeconds: ${written} }`)).toThrow(
      /^byname\.yaml:1:21: mesh\.ttlSeconds: must be a whole number from 1 to 86400 \(seconds\) or a duration such as 30s or 1h30m(?:, not .*)?$/,
    )
  })

  test('any whole number of milliseconds can be written in seconds with a fraction', () => {
    assert(
      property(integer({ min: 10, max: 60_000 }), (ms) => {
        expect(fromYaml(`upstream: { deadlineMs: ${ms / 1000}s }`).upstream.deadlineMs).toBe(ms)
      }),
      { numRuns: 200 },
    )
  })
})

describe('sizes', () => {
  test.each([
    ['8388608', 8_388_608],
    ['8Mi', 8_388_608],
    ['8MiB', 8_388_608],
    ['64KiB', 65_536],
    ['64ki', 65_536],
    ['1G', 1_000_000_000],
    ['1GB', 1_000_000_000],
    ['2k', 2000],
    ['2KB', 2000],
    ['1.5Mi', 1_572_864],
    ['100B', 100],
    ['0', 0],
  ])('cache.maxBytes: %s is %i bytes', (written, bytes) => {
    expect(fromYaml(`cache: { maxBytes: ${written} }`).cache.maxBytes).toBe(bytes)
  })

  test.each(['8m', '8Mb', '8 Mi B', '-1', '1.3', '0.3Ki', '2Ti', 'lots', '30s', '1e9'])(
    'cache.maxBytes: %s is refused',
    (written) => {
      const load = (): Config => fromYaml(`cache: { maxBytes: ${JSON.stringify(written)} }`)
      expect(load).toThrow(/cache\.maxBytes: must be a whole number .* \(bytes\) or a size such as 64Ki or 8Mi, not /)
    },
  )

  test.each([
    ['1k', 1000],
    ['1K', 1000],
    ['1M', 1_000_000],
    ['1MB', 1_000_000],
    ['1G', 1_000_000_000],
    ['1Ki', 1024],
    ['1Mi', 1_048_576],
    ['1Gi', 1_073_741_824],
    ['0.5 GiB', 536_870_912],
    ['1i', null],
  ])('%j is %j bytes', (text, bytes) => {
    expect(parseSize(text)).toBe(bytes)
  })

  test('the digits of a size are bounded', () => {
    expect(parseSize('9'.repeat(100_000))).toBeNull()
  })
})

test('words are taken in the environment and from flags alike', () => {
  const env = { BYNAME_CACHE_STALE_SECONDS: '1h', BYNAME_CACHE_MAX_BYTES: ' 4Mi ', BYNAME_UPSTREAM_DEADLINE_MS: '2s' }
  const flags = [{ path: ['mesh', 'ttlSeconds'], value: '1m', from: '--set' }]
  const { cache, upstream, mesh } = loadConfig({ env, flags }).config
  expect([cache.staleSeconds, cache.maxBytes, upstream.deadlineMs, mesh.ttlSeconds]).toEqual([
    3600, 4_194_304, 2000, 60,
  ])
})

test('limits between keys hold for words, too', () => {
  expect(() => fromYaml('upstream: { attemptTimeoutMs: 5s }')).toThrow(/must not be over deadlineMs \(4500\)/)
  expect(() => fromYaml('cache: { minTtlSeconds: 2m, maxTtlSeconds: 1m }')).toThrow(/must not be over maxTtlSeconds/)
})
