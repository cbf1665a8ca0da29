import { expect, test } from 'vitest'
import { loadSyscalls } from '../../src/os/syscalls.ts'
import { randomNumbers } from '../../src/worker/random-numbers.ts'

const sys = loadSyscalls()

/** More than are drawn at a time. */
const COUNT = 5000

test.each([
  ['from the system', typeof sys === 'string' ? null : sys],
  ["from Node's cryptography where there are no system calls", null],
  ["from Node's cryptography where the system refuses", { random: () => false }],
])('%s numbers are of 32 bits, and differ from each other and from those of another worker', (_source, calls) => {
  const one = randomNumbers(calls)
  const other = randomNumbers(calls)
  const numbers = [one, other].flatMap((random) => Array.from({ length: COUNT }, random))
  expect(numbers.every((number) => Number.isInteger(number) && number === (number | 0))).toBe(true)
  // Of 10,000 out of four thousand million the odds of five pairs are one in 10 to the 12th.
  expect(new Set(numbers).size).toBeGreaterThan(numbers.length - 5)
  for (let bit = 0; bit < 32; bit++) {
    const ones = numbers.filter((number) => (number >>> bit) & 1).length
    // Half of them, eight standard deviations either way.
    expect(Math.abs(ones - COUNT)).toBeLessThan(400)
  }
})

test('what the system gives for a part of them is not taken for all', () => {
  let calls = 0
  const random = randomNumbers({
    random: (bytes) => {
      bytes.fill(7, 0, 256)
      return ++calls > 1
    },
  })
  expect(random()).not.toBe(0x07070707)
})
