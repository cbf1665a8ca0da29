import { expect, it } from 'vitest'
import { ServerNumbers } from '../../src/daemon/server-numbers.ts'
import { MOST_SERVER_NUMBER } from '../../src/engine/settings.ts'
import { server } from '../engine/engine-under-test.ts'

it('a label has one number as long as the daemon runs, and no other has it', () => {
  const numbers = new ServerNumbers()
  const of = (...labels: string[]): (number | undefined)[] =>
    numbers.number(labels.map((label) => server(label))).map(({ number }) => number)
  expect(of('a', 'b')).toEqual([1, 2])
  expect(of('c', 'b')).toEqual([3, 2])
  expect(of('a')).toEqual([1])
  expect([1, 2, 3, 4, 0].map((number) => numbers.labelOf(number))).toEqual(['a', 'b', 'c', null, null])
})

it('when all are given away, a new server has none, and those that are known keep theirs', () => {
  const numbers = new ServerNumbers()
  const labels = Array.from({ length: MOST_SERVER_NUMBER }, (_, k) => `s${k}`)
  expect(numbers.number(labels.map((label) => server(label))).at(-1)!.number).toBe(MOST_SERVER_NUMBER)
  expect(numbers.number([server('late'), server('s0')]).map(({ number }) => number)).toEqual([undefined, 1])
})
