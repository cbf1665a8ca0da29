import { expect, it } from 'vitest'
import { isBelow } from '../../src/querylog/name-filter.ts'
import { wire } from '../dns/messages.ts'
import { madeRecord } from './made-record.ts'

it.each([
  ['example.org', ['example.org'], true],
  ['WWW.Example.ORG', ['example.org'], true],
  ['a.b.example.org', ['net', 'org'], true],
  ['example.org', ['.'], true],
  ['.', ['.'], true],
  // The end of a label is no label.
  ['myexample.org', ['example.org'], false],
  ['org', ['example.org'], false],
  ['example.com', ['example.org'], false],
  ['', ['example.org'], false],
  ['', ['.'], false],
])('%s at or below one of %j: %j', (name, names, is) => {
  expect(isBelow(madeRecord({ name }), names.map(wire))).toBe(is)
})
