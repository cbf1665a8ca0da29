/**
 * What parsing, look-up and reply cost, without sockets:
 *
 *   node --expose-gc bench/micro/data-path.ts
 */
import { bench, do_not_optimize as keep, run } from 'mitata'
import { readQuery, Query } from '../../src/dns/query.ts'
import { nameAt } from '../load/names.ts'
import { compiledImage, HOSTS, PACKETS, questions, readyEngine, SEED, SLOT_BYTES } from './fixture.ts'

const image = compiledImage(HOSTS)
const mesh = questions((n) => nameAt(n))
const cached = questions((n) => `cached-${n}.z1.example.net`)
const engine = readyEngine(image, cached)
const query = new Query()
const out = new Uint8Array(65_536)

/** The slot of the next question. */
let turn = 0
const next = (): number => (turn = (turn + 1) & (PACKETS - 1))

bench('parse: header, question, OPT', () => {
  const i = next()
  return keep(readQuery(mesh.bytes, i * SLOT_BYTES, mesh.lengths[i]!, SEED, query))
})
bench('parse + look-up: name in the table', () => {
  const i = next()
  readQuery(mesh.bytes, i * SLOT_BYTES, mesh.lengths[i]!, SEED, query)
  return keep(image.find(query.name))
})
bench('parse + look-up: name not in the table', () => {
  const i = next()
  readQuery(cached.bytes, i * SLOT_BYTES, cached.lengths[i]!, SEED, query)
  return keep(image.find(query.name))
})
bench('whole reply: mesh hit', () => {
  const i = next()
  return keep(engine.query(mesh.bytes, i * SLOT_BYTES, mesh.lengths[i]!, out, 0))
})
bench('whole reply: cache hit', () => {
  const i = next()
  return keep(engine.query(cached.bytes, i * SLOT_BYTES, cached.lengths[i]!, out, 0))
})

await run()
