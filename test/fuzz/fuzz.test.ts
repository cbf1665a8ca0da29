import { expect, test } from 'vitest'
import { message, opt, u16 } from '../dns/messages.ts'
import { Random } from '../simulation/random.ts'
import { TEST_SEED } from '../seed.ts'
import { readCorpus } from './corpus.ts'
import { Packet } from './packet.ts'
import { SecondParser } from './second-parser.ts'
import { PLANTED_BUGS, withBug } from './plant.ts'
import { replay, shrink } from './shrink.ts'
import { runSockets } from './sockets-target.ts'
import { parseSteps, type Step, stepText } from './steps.ts'
import { openTarget } from './targets.ts'

/** `FUZZ_PACKETS=5000000` fuzzes the engine with so many of TEST_SEED. */
const FRESH_PACKETS = Number(process.env['FUZZ_PACKETS'] ?? 60_000)
const FIXED_PACKETS = 100_000
const FRAMED_PACKETS = 20_000
const SOCKET_PACKETS = 5000

function fuzz(name: string, seed: number, packets: number): void {
  const target = openTarget(name, { seed, packet: new Packet(), episode: 100_000 })
  try {
    while (target.packets < packets) target.step()
    target.finish()
  } catch (error) {
    throw new Error(`npm run fuzz -- --target ${name} --no-coverage --seed ${seed}`, { cause: error })
  } finally {
    target.close()
  }
}

test('queries of the corpus break no rule, whoever asks and however the engine is set', () => {
  const packets = readCorpus('queries').map(({ text }) => Buffer.from(text, 'hex'))
  for (let seed = 1; seed <= 12; seed++) {
    const steps = packets.flatMap((bytes, k): Step[] => [
      { kind: 'q', a: (k + seed) % 7, b: 0, bytes },
      { kind: 't', a: 1, b: 0, bytes: new Uint8Array(0) },
    ])
    expect(replay(seed, [...steps, ...parseSteps('z')])).toBeNull()
  }
})

test('replies of the corpus break no rule, from the cache and aged too', () => {
  const question = message({ questions: [['n1.example.org', 1]], additionals: [opt()] })
  for (const { text, comment } of readCorpus('replies')) {
    // Its type is the question's that it answers.
    const bytes = Buffer.from(text, 'hex')
    const asked =
      bytes.length > 31
        ? Buffer.concat([question.subarray(0, 28), bytes.subarray(28, 32), question.subarray(32)])
        : question
    const ask = stepText({ kind: 'q', a: 0, b: 0, bytes: asked })
    for (let seed = 1; seed <= 8; seed++) {
      const steps = `${ask} r3.0:${text} r3.0:${text} ${ask} t1100 ${ask} r3.0:${text} t400000 ${ask} z`
      expect(replay(seed, parseSteps(steps)), `${comment}, engine ${seed}`).toBeNull()
    }
  }
})

/** Each line: seed of an engine, steps, and what the bug was. */
test.each(readCorpus('bugs'))('bug: $comment', ({ text }) => {
  const [engine, ...steps] = text.split(' ')
  for (const seed of [Number(engine), 1, 2, 3, 4, 5, 6, 7, 8])
    expect(replay(seed, parseSteps(steps.join(' '))), `engine ${seed}`).toBeNull()
})

test('an engine keeps the rules under mutated packets of a fixed seed', () => {
  fuzz('engine', 1, FIXED_PACKETS)
})

test(`an engine keeps the rules under mutated packets of seed ${TEST_SEED}, a fresh one with --long`, {
  timeout: 300_000 + FRESH_PACKETS,
}, () => {
  fuzz('engine', TEST_SEED, FRESH_PACKETS)
})

test(`connections keep the rules under mutated frames of seed ${TEST_SEED}, a fresh one with --long`, () => {
  fuzz('framing', TEST_SEED, FRAMED_PACKETS)
})

test.concurrent.each(['batch', 'dgram'] as const)('a daemon (%s) lives through mutated packets', async (driver) => {
  const said: string[] = []
  const { fault } = await runSockets({
    seed: TEST_SEED,
    packets: SOCKET_PACKETS,
    driver,
    log: (line) => void said.push(line),
  })
  expect(fault, `npm run fuzz -- --target sockets --driver ${driver} --seed ${TEST_SEED}`).toBeNull()
})

test('bugs can be planted for `plant.ts` to see that the fuzzer finds them', () => {
  for (const bug of PLANTED_BUGS) expect(() => withBug(bug)).not.toThrow()
})

test('a failure is shrunk to the steps and bytes that it needs', () => {
  const query = message({ id: 7, questions: [['n1.example.org', 1]] })
  const noise = Array.from({ length: 40 }, (): Step => ({ kind: 'q', a: 0, b: 0, bytes: query }))
  // An unknown step fails whatever came before.
  const failing: Step = { kind: '?', a: 0, b: 0, bytes: query }
  const { steps, violation } = shrink(1, [...noise, failing], 'threw Error: no step: ? at ', 5000)
  expect(violation).not.toBeNull()
  expect(steps).toEqual([{ ...failing, bytes: Buffer.alloc(0) }])
})

test('steps are read back as they were written', () => {
  const text = 'q3:0102 q0:00010100000100000000000001 x0:00 r9.2:ff00 s0.1 e0.0 t250 t0.25 c17 a1 z'
  expect(parseSteps(text).map(stepText).join(' ')).toBe(text)
})

const header = (...counts: number[]): Buffer => Buffer.from(u16(1, 0x8180, ...counts))
const question = Buffer.from([1, 0x61, 0, 0, 1, 0, 1])
const tail = (...bytes: number[]): Buffer => Buffer.from(bytes)
const SPOILT: [string, Buffer][] = [
  ['a header cut off', header(0, 0, 0, 0).subarray(0, 11)],
  ['a byte left over', Buffer.concat([header(1, 0, 0, 0), question, tail(0)])],
  ['a record that is not there', Buffer.concat([header(1, 1, 0, 0), question])],
  ['a pointer to itself', Buffer.concat([header(1, 1, 0, 0), question, tail(0xc0, 19, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0)])],
  [
    'a pointer into the header',
    Buffer.concat([header(1, 1, 0, 0), question, tail(0xc0, 4, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0)]),
  ],
  ['a reserved label', Buffer.concat([header(1, 1, 0, 0), question, tail(0x41, 0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 0)])],
  [
    'an address of 5 bytes',
    Buffer.concat([header(1, 1, 0, 0), question, tail(0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 5, 1, 2, 3, 4, 5)]),
  ],
  ['data past the end', Buffer.concat([header(1, 1, 0, 0), question, tail(0, 0, 16, 0, 1, 0, 0, 0, 0, 0, 9, 1)])],
  [
    'bytes behind a name in data',
    Buffer.concat([header(1, 1, 0, 0), question, tail(0, 0, 5, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0)]),
  ],
  ['an OPT among the answers', Buffer.concat([header(1, 1, 0, 0), question, tail(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)])],
  ['an OPT of a name', Buffer.concat([header(1, 0, 0, 1), question, tail(0xc0, 12, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0)])],
  [
    'an option past the OPT',
    Buffer.concat([header(1, 0, 0, 1), question, tail(0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 10, 0, 1)]),
  ],
]

test.each(SPOILT)('the second parser refuses %s', (_, bytes) => {
  expect(new SecondParser().read(bytes, 0, bytes.length)).not.toBeNull()
})

test('the second parser reads what is sound, wherever it stands', () => {
  const bytes = message({
    id: 9,
    flags: 0x8180,
    questions: [['a.example', 1]],
    additionals: [opt({ payload: 1400, rcode: 1 })],
  })
  const parser = new SecondParser()
  const at = new Random(1).below(50)
  expect(parser.read(Buffer.concat([Buffer.alloc(at), bytes]), at, bytes.length)).toBeNull()
  expect(parser).toMatchObject({ id: 9, questions: 1, hasOpt: true, payload: 1400, rcode: 16, records: 1 })
})
