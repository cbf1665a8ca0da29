/** What each kind of value says of one that is wrong: where, and in which words. */
import { describe, expect, test } from 'vitest'
import { configSchema } from '../../src/config/schema.ts'
import {
  autoOrOff,
  domainName,
  file,
  flag,
  flagOrAuto,
  fraction,
  ipOrEmpty,
  listenOrOff,
  listOf,
  oneOf,
  onOffOrAuto,
  parsed,
  pluginConfig,
  quantity,
  requiredPath,
  section,
  text,
  wholeNumber,
} from '../../src/config/value-types.ts'
import { readValues } from '../../src/yaml/read-values.ts'

type Schema = Parameters<typeof readValues>[0]

/** The value read, or each issue as `path: code: message`; of unknown keys, whose message nobody reads, the keys. */
function readingOf(schema: Schema, value: unknown): unknown {
  const { data, issues } = readValues(schema, value)
  if (issues === null) return { is: data }
  return issues.map((issue) => {
    const says = issue.code === 'unrecognized_keys' ? issue.keys.join(', ') : issue.message
    return `${issue.path.join('.')}: ${issue.code}: ${says}`
  })
}

const even = parsed(
  (written) => (Number(written) % 2 === 0 ? { value: Number(written) } : { reason: 'is odd' }),
  'even',
)
const port = wholeNumber(1, 65_535)
const PORT = 'must be a whole number from 1 to 65535'
const seconds = quantity('seconds', 1, 60)
const SECONDS = 'must be a whole number from 1 to 60 (seconds) or a duration such as 30s or 1h30m'
const bytes = quantity('bytes', 0, 1024)
const BYTES = 'must be a whole number from 0 to 1024 (bytes) or a size such as 64Ki or 8Mi'
const color = oneOf('red', 'green', 'blue')
const ports = listOf(port, 'ports')
const point = section({ x: port, color })
const FRACTION = 'must be a number over 0 and at most 1, such as 0.01'

const WRONG: readonly [kind: string, schema: Schema, value: unknown, issues: readonly string[]][] = [
  ['text', text, 1, [': invalid_type: must be a text']],
  ['text', text, null, [': invalid_type: must be a text']],
  ['text', text, undefined, [': invalid_type: must be a text']],
  ['parsed', even, 2, [': invalid_type: must be even']],
  ['parsed', even, '3', [': custom: is odd']],
  ['wholeNumber', port, '53', [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, undefined, [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, Number.NaN, [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, Infinity, [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, 1.5, [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, -1.5, [`: invalid_type: ${PORT}`]],
  ['wholeNumber', port, 0, [`: too_small: ${PORT}`]],
  ['wholeNumber', port, 65_536, [`: too_big: ${PORT}`]],
  ['wholeNumber', port, 1e300, [`: too_big: ${PORT}`, `: too_big: ${PORT}`]],
  ['quantity', seconds, true, [`: invalid_union: ${SECONDS}`]],
  ['quantity', seconds, undefined, [`: invalid_union: ${SECONDS}`]],
  ['quantity', seconds, Number.NaN, [`: invalid_union: ${SECONDS}`]],
  ['quantity', seconds, 0.5, [`: custom: ${SECONDS}, not 0.5`]],
  ['quantity', seconds, 61, [`: custom: ${SECONDS}, not 61`]],
  ['quantity', seconds, '2m', [`: custom: ${SECONDS}, not "2m"`]],
  ['quantity', bytes, '2Ki', [`: custom: ${BYTES}, not "2Ki"`]],
  ['quantity', bytes, [1], [`: invalid_union: ${BYTES}`]],
  ['oneOf', color, 'pink', [': invalid_value: must be red, green or blue']],
  ['oneOf', color, 1, [': invalid_value: must be red, green or blue']],
  ['oneOf', color, undefined, [': invalid_value: must be red, green or blue']],
  ['listOf', ports, 80, [': invalid_type: must be a list of ports']],
  ['listOf', ports, { 0: 80 }, [': invalid_type: must be a list of ports']],
  ['listOf', ports, undefined, [': invalid_type: is missing; it must be a list of ports']],
  ['listOf', ports, [80, '81', 0], [`1: invalid_type: ${PORT}`, `2: too_small: ${PORT}`]],
  ['section', point, 'x', [': invalid_type: must be a section of keys']],
  ['section', point, [], [': invalid_type: must be a section of keys']],
  ['section', point, undefined, [': invalid_type: must be a section of keys']],
  ['section', point, {}, [`x: invalid_type: ${PORT}`, 'color: invalid_value: must be red, green or blue']],
  ['onOffOrAuto', onOffOrAuto, 'maybe', [': invalid_union: must be auto, on or off']],
  ['onOffOrAuto', onOffOrAuto, 1, [': invalid_union: must be auto, on or off']],
  ['autoOrOff', autoOrOff, 'on', [': invalid_union: must be auto or off']],
  ['autoOrOff', autoOrOff, true, [': invalid_union: must be auto or off']],
  ['flag', flag, 'true', [': invalid_type: must be true or false']],
  ['flagOrAuto', flagOrAuto, 'yes', [': invalid_union: must be auto, true or false']],
  ['fraction', fraction, '0.5', [`: invalid_type: ${FRACTION}`]],
  ['fraction', fraction, 0, [`: too_small: ${FRACTION}`]],
  ['fraction', fraction, 1.1, [`: too_big: ${FRACTION}`]],
  ['file', file, 1, [': invalid_type: must be the name of a file']],
  ['file', file, 'a\0', [': custom: "a\\u0000" is no path: it has control characters']],
  ['requiredPath', requiredPath, null, [': invalid_type: must be a path']],
  ['requiredPath', requiredPath, ' ', [': custom: must not be empty']],
  ['domainName', domainName, 1, [': invalid_type: must be a domain name']],
  ['domainName', domainName, 'a b', [': custom: "a b" is no domain name']],
  ['ipOrEmpty', ipOrEmpty, 1, [': invalid_type: must be an IP address']],
  ['ipOrEmpty', ipOrEmpty, 'a', [': custom: must be an IP address, not "a"']],
  ['listenOrOff', listenOrOff, false, [': invalid_type: must be an address and port, or off']],
  ['pluginConfig', pluginConfig, undefined, [': invalid_union: Invalid input']],
  ['pluginConfig', pluginConfig, Number.NaN, [': invalid_union: Invalid input']],
  ['pluginConfig', pluginConfig, { a: [1, Infinity] }, [': invalid_union: Invalid input']],
  ['pluginConfig', pluginConfig, 'x'.repeat(65_536), [': custom: must be at most 65535 bytes, and has 65536']],
]

describe('a wrong value', () => {
  test.each(WRONG)('of %s: %2$j', (_, schema, value, issues) => {
    expect(readingOf(schema, value)).toEqual(issues)
  })

  test('unknown keys are named as they are written, after what is wrong with known ones', () => {
    expect(readingOf(point, { z: 1, x: 0, a: 2, color: 'red' })).toEqual([
      `x: too_small: ${PORT}`,
      ': unrecognized_keys: z, a',
    ])
  })
})

test.each<[kind: string, schema: Schema, value: unknown, is: unknown]>([
  ['parsed', even, '4', 4],
  ['wholeNumber', port, 53, 53],
  ['quantity', seconds, '0.5m', 30],
  ['quantity', seconds, ' 30 ', 30],
  ['quantity', bytes, '1Ki', 1024],
  ['oneOf', color, 'blue', 'blue'],
  ['listOf', ports, [], []],
  ['onOffOrAuto', onOffOrAuto, true, 'on'],
  ['onOffOrAuto', onOffOrAuto, false, 'off'],
  ['onOffOrAuto', onOffOrAuto, 'auto', 'auto'],
  ['autoOrOff', autoOrOff, false, 'off'],
  ['flagOrAuto', flagOrAuto, 'false', false],
  ['fraction', fraction, 1, 1],
  ['domainName', domainName, 'Shop.Example.', 'shop.example'],
  ['listenOrOff', listenOrOff, 'off', null],
  ['pluginConfig', pluginConfig, { a: [1, null] }, '{"a":[1,null]}'],
])('a good value of %s: %2$j', (_, schema, value, is) => {
  expect(readingOf(schema, value)).toEqual({ is })
})

test('keys come out in the order of the schema, however they are written', () => {
  expect(Object.keys(readValues(point, { color: 'red', x: 1 }).data ?? {})).toEqual(['x', 'color'])
})

describe('a wrong configuration', () => {
  test.each<[values: unknown, issues: readonly string[]]>([
    [{ mesh: { source: { xds: {} } } }, ['mesh.source.xds.address: invalid_type: is missing; write HOST:PORT']],
    [
      { mesh: { source: { xds: { address: 1 } } } },
      ['mesh.source.xds.address: invalid_type: must be an address or a list'],
    ],
    [
      { mesh: { source: { xds: { address: [] } } } },
      ['mesh.source.xds.address: too_small: must name at least one address'],
    ],
    [{ identity: { labels: [] } }, ['identity.labels: invalid_type: must be a section of texts']],
    [{ identity: { labels: { a: 1 } } }, ['identity.labels.a: invalid_type: must be a text']],
    [{ rules: [{ answer: 1 }] }, ['rules.0.answer: invalid_type: must be a list of records']],
    [
      { upstream: { routes: [{ domains: ['a'] }] } },
      ['upstream.routes.0.servers: invalid_type: is missing; it must be a list of servers'],
    ],
    [
      { rules: [{ action: 'nodata', route: 'a' }, { names: 1 }], workers: 0 },
      [
        'workers: too_small: must be a whole number from 1 to 64',
        'rules.1.names: invalid_type: must be a list of names',
      ],
    ],
    [
      {
        rules: [
          { action: 'nodata', route: 'a', to: 1 },
          { action: 'nodata', route: 'a' },
        ],
      },
      ['rules.0: unrecognized_keys: to', 'rules.1.route: custom: stands beside action: a rule does one thing'],
    ],
  ])('%j', (values, issues) => {
    expect(readingOf(configSchema, values)).toEqual(issues)
  })
})
