import { expect, test } from 'vitest'
import { XdsHistory } from '../../src/xds/xds-history.ts'

test('the same in succession is one event with its count and its last time', () => {
  const history = new XdsHistory()
  history.add('connected', 'a:15012', 'delta', 1)
  for (let n = 2; n <= 9; n++) history.add('failed', 'a:15012', 'refused', n)
  history.add('failed', 'b:15012', 'refused', 10)
  expect(history.events()).toEqual([
    { atMs: 1, what: 'connected', address: 'a:15012', detail: 'delta', times: 1 },
    { atMs: 9, what: 'failed', address: 'a:15012', detail: 'refused', times: 8 },
    { atMs: 10, what: 'failed', address: 'b:15012', detail: 'refused', times: 1 },
  ])
})

test('it is bounded, and many tables do not push out the connections', () => {
  const history = new XdsHistory()
  history.add('failed', 'a:15012', 'x'.repeat(10_000), 0)
  for (let n = 1; n <= 1000; n++) history.add('accepted', 'a:15012', `version ${n}`, n)
  const events = history.events()
  expect(events).toHaveLength(65)
  expect(events[0]).toMatchObject({ what: 'failed', detail: `${'x'.repeat(300)}…` })
  expect(events.at(-1)).toMatchObject({ what: 'accepted', detail: 'version 1000' })
})

test('of connections and of responses the last 64 are kept each, and told in the order of time', () => {
  const history = new XdsHistory()
  for (let n = 1; n <= 100; n++) {
    history.add(n % 2 === 0 ? 'connected' : 'ended', 'a:15012', `${n}`, 2 * n)
    history.add(n % 2 === 0 ? 'accepted' : 'refused', 'a:15012', `${n}`, 2 * n + 1)
  }
  expect(history.events().map(({ atMs }) => atMs)).toEqual(Array.from({ length: 128 }, (_, k) => 74 + k))
})

test('a detail of 300 characters is whole, and what was read does not change', () => {
  const history = new XdsHistory()
  history.add('failed', 'a:15012', 'x'.repeat(300), 1)
  const [event] = history.events()
  history.add('failed', 'a:15012', 'x'.repeat(300), 2)
  expect(event).toMatchObject({ detail: 'x'.repeat(300), times: 1, atMs: 1 })
})
