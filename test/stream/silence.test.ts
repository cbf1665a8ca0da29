import { expect, it } from 'vitest'
import { latestSilence, Silence } from '../../src/stream/upstreams/silence.ts'

const NEVER = Number.NEGATIVE_INFINITY

it('begins with the first question that is not answered, and is one after nine tenths of the attempt', () => {
  const silence = new Silence(0, false)
  silence.asked(100)
  silence.asked(500)
  expect(silence.since(999, 1000)).toBe(NEVER)
  expect(silence.since(1000, 1000)).toBe(100)
  // Whoever waits longer is not at its end yet.
  expect(silence.since(1000, 2000)).toBe(NEVER)
})

it('begins anew with whatever is heard, if answers are still due', () => {
  const silence = new Silence(0, false)
  silence.asked(100)
  silence.heard(800, true)
  expect(silence.since(1699, 1000)).toBe(NEVER)
  expect(silence.since(1700, 1000)).toBe(800)
  silence.heard(1800, false)
  expect(silence.since(60_000, 1000)).toBe(NEVER)
  silence.asked(60_000)
  silence.nothingDue()
  expect(silence.since(99_000, 1000)).toBe(NEVER)
})

it('of a replacement is the slowness of the server for three attempts after its handshake', () => {
  const silence = new Silence(0, true)
  expect(silence.isVouchedFor(100, 1000)).toBe(false)
  silence.ready(100, true)
  expect(silence.isVouchedFor(3099, 1000)).toBe(true)
  expect(silence.isVouchedFor(3100, 1000)).toBe(false)
  silence.heard(200, true)
  expect(silence.isVouchedFor(300, 1000)).toBe(false)
  const first = new Silence(0, false)
  first.ready(100, true)
  expect(first.isVouchedFor(200, 1000)).toBe(false)
})

it('proves a connection dead where a question had nine tenths of its attempt and nothing came since', () => {
  const silence = new Silence(0, false)
  silence.ready(100, true)
  // Asked before the handshake was done: its time begins with it.
  expect(silence.isDead(0, 999, 1000)).toBe(false)
  expect(silence.isDead(0, 1000, 1000)).toBe(true)
  expect(silence.isDead(200, 1099, 1000)).toBe(false)
  expect(silence.isDead(200, 1100, 1000)).toBe(true)
  silence.heard(201, true)
  expect(silence.isDead(200, 1100, 1000)).toBe(false)
})

it('that began last counts among several connections', () => {
  const connections = [new Silence(0, false), new Silence(0, false), new Silence(0, false)].map((silence) => ({
    silence,
  }))
  connections[0]!.silence.asked(100)
  connections[1]!.silence.asked(300)
  expect(latestSilence(connections, 999, 1000)).toBe(NEVER)
  expect(latestSilence(connections, 1000, 1000)).toBe(100)
  expect(latestSilence(connections, 1200, 1000)).toBe(300)
})
