/**
 * A short run of what `inputs-main.ts` does for hours (INPUTS.md): the corpus, in which each bug found has its input, and
 * for every target one seed that is always the same and one that is fresh with `.ci/run --long`, which is printed.
 */
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { stringify } from 'yaml'
import { configSchema } from '../../src/config/schema.ts'
import { leavesOf } from '../../src/config/schema-keys.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { encodeNameTable } from '../../src/table/nds.ts'
import { nameTable } from '../table/arbitraries.ts'
import { TEST_SEED } from '../seed.ts'
import { originalImages } from './inputs-image.ts'
import { run } from './inputs-run.ts'
import { judge } from './inputs-target.ts'
import { corpusOf, TARGET_NAMES, type TargetName, targetOf } from './inputs-targets.ts'

const MS_EACH = 100

function expectHolds(name: TargetName, input: Uint8Array): string {
  const { outcome, error } = judge(targetOf(name, 0), input)
  if (error !== null) throw new Error(`${error.message}\nbase64:${Buffer.from(input).toString('base64')}`)
  return outcome
}

describe.each(TARGET_NAMES)('%s', (name) => {
  const target = targetOf(name, 1)

  test.each(corpusOf(name).map(({ file }) => file))('what must hold does for %s of the corpus', (file) => {
    const input = corpusOf(name).find((each) => each.file === file)!.bytes
    const { error } = judge(target, input)
    if (error !== null) throw error
  })

  test.each([
    ['1, always the same', 1],
    [`${TEST_SEED}, a fresh one with --long`, TEST_SEED],
  ])('what must hold does for inputs of seed %s', (_, seed) => {
    const { failure, inputs } = run(target, { seed, inputs: 100_000, untilMs: performance.now() + MS_EACH })
    if (failure !== null) {
      const { index, input, error } = failure
      const replay = `node test/fuzz/inputs-main.ts --target ${name} --seed ${seed} --inputs ${index + 1}`
      throw new Error(`input ${index}: ${error.message}\n${replay}\nbase64:${Buffer.from(input).toString('base64')}`)
    }
    expect(inputs).toBeGreaterThan(0)
  })
})

test('an image with any byte changed is refused, and one cut off anywhere', () => {
  for (const image of originalImages(5, 3)) {
    expect(verifyImage(image)).toBeNull()
    for (let at = 0; at < image.length; at++) {
      const byte = image[at]!
      for (const flip of [1, 0x80, 0xff]) {
        image[at] = byte ^ flip
        if (verifyImage(image) === null) throw new Error(`byte ${at} of ${image.length}, flipped by ${flip}`)
      }
      image[at] = byte
      if (verifyImage(image.subarray(0, at)) === null) throw new Error(`cut off at ${at} of ${image.length}`)
    }
  }
})

test('tables of any hosts, and their bytes with any one changed, are read as protobuf reads them', () => {
  fc.assert(
    fc.property(nameTable, fc.nat(), fc.nat(255), (table, at, byte) => {
      const bytes = encodeNameTable(table)
      expectHolds('nds', bytes)
      if (bytes.length === 0) return
      bytes[at % bytes.length] = byte
      expectHolds('nds', bytes)
    }),
    { numRuns: 40 },
  )
})

test('a configuration of any values at real keys is of use, or refused with the place of what is wrong', () => {
  const leaf = fc.constantFrom(...leavesOf(configSchema))
  const value = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }),
    fc.integer(),
    fc.double(),
    fc.boolean(),
    fc.constant(null),
    fc.ipV4().map((ip) => `${ip}:53`),
    fc.array(fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain()), { maxLength: 3 }),
    fc.dictionary(fc.oneof(fc.string(), fc.constant('__proto__')), fc.anything({ maxDepth: 1 }), { maxKeys: 3 }),
  )
  fc.assert(
    fc.property(fc.array(fc.tuple(leaf, value), { maxLength: 4 }), (settings) => {
      const root = new Map<string, unknown>()
      for (const [{ path }, content] of settings) {
        let section = root
        for (const key of path.slice(0, -1)) {
          const below = section.get(key)
          const next: Map<string, unknown> = below instanceof Map ? below : new Map<string, unknown>()
          section.set(key, next)
          section = next
        }
        section.set(path.at(-1)!, content)
      }
      expectHolds('config', Buffer.from(stringify(root)))
    }),
    { numRuns: 60 },
  )
})
