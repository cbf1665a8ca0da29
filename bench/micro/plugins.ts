/**
 * What plug-ins cost: nothing where there are none, and per query where there is an empty one. In alternating rounds, medians:
 *
 *   node bench/micro/plugins.ts [OTHER]
 *
 * OTHER: another checkout, of a time before plug-ins say, whose engine is measured beside.
 */
import { join, resolve } from 'node:path'
import type { Engine } from '../../src/engine/engine.ts'
import { loadPlugin } from '../../src/plugins/plugin-loader.ts'
import type { Image } from '../../src/table/image.ts'
import { nameAt } from '../load/names.ts'
import { compiledImage, HOSTS, PACKETS, type Packets, questions, readyEngine, SLOT_BYTES } from './fixture.ts'

const ROUNDS = 41
const QUERIES = 100_000

/** Functions that do nothing: byname_abi, byname_buffer, byname_configure, byname_query; two pages of memory. */
const EMPTY = Buffer.from(
  'AGFzbQEAAAABDgNgAAF/YAF/AGABfwF/AwUEAAABAgUDAQACB0kFBm1lbW9yeQIACmJ5bmFtZV9hYmkAAA1ieW5hbWVfYnVmZmVyAAEQYnluYW1lX2NvbmZpZ3VyZQACDGJ5bmFtZV9xdWVyeQADChQEBABBAQsFAEGACAsCAAsEAEEACw==',
  'base64',
)

const loaded = loadPlugin(
  EMPTY,
  { file: 'empty.wasm', config: '', timeoutUs: 1000, maxMemoryBytes: 1 << 20, onError: 'pass' },
  1,
  'empty',
)
if ('problem' in loaded) throw new Error(loaded.problem)

const mesh = questions((n) => nameAt(n))
const cached = questions((n) => `cached-${n}.z1.example.net`)
const image = compiledImage(HOSTS)
const out = new Uint8Array(65_536)

/** What is needed of another checkout's fixture.ts. */
interface Fixture {
  compiledImage(hosts: number): Image
  readyEngine(image: Image, cached: Packets): Engine
}

const engines = new Map<string, Engine>()
const [other] = process.argv.slice(2)
if (other !== undefined) {
  const fixture: Fixture = await import(join(resolve(other), 'bench/micro/fixture.ts'))
  engines.set('the other checkout', fixture.readyEngine(fixture.compiledImage(HOSTS), cached))
}
engines.set('no plug-in', readyEngine(image, cached))
const withPlugin = readyEngine(image, cached)
withPlugin.configure({ ...withPlugin.settings, plugins: [loaded.settings] })
engines.set('an empty plug-in', withPlugin)

/** Nanoseconds that a query takes. */
function measure(engine: Engine, packets: Packets): number {
  const began = performance.now()
  for (let k = 0; k < QUERIES; k++) {
    const i = k & (PACKETS - 1)
    engine.query(packets.bytes, i * SLOT_BYTES, packets.lengths[i]!, out, 0)
  }
  return ((performance.now() - began) * 1e6) / QUERIES
}

for (const [what, packets] of [
  ['a name of the table', mesh],
  ['a name in the cache', cached],
] as const) {
  const figures = new Map([...engines.keys()].map((name): [string, number[]] => [name, []]))
  for (let round = -3; round < ROUNDS; round++) {
    for (const [name, engine] of engines) {
      const nanoseconds = measure(engine, packets)
      if (round >= 0) figures.get(name)!.push(nanoseconds)
    }
  }
  for (const [name, all] of figures) {
    const median = all.toSorted((one, two) => one - two)[ROUNDS >> 1]!
    process.stdout.write(`${what}, ${name}: ${median.toFixed(0)} ns\n`)
  }
}
