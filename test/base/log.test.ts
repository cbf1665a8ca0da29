import { expect, test } from 'vitest'
import { describeError, lineOf } from '../../src/base/log.ts'
import { printable } from '../../src/base/printable.ts'

const withCode = (message: string, code: unknown, cause?: unknown): Error =>
  Object.assign(new Error(message, cause === undefined ? {} : { cause }), { code })

test.each<[thrown: unknown, line: string]>([
  [new Error(' Unexpected token\r\n\t"a"  in JSON\n'), 'Unexpected token "a" in JSON'],
  ['two\nlines', 'two lines'],
  [undefined, 'undefined'],
])('what was thrown is one line: %j', (thrown, line) => {
  expect(lineOf(thrown)).toBe(line)
})

test.each<[what: string, error: unknown, line: string]>([
  ['its message', new Error('no route'), 'no route'],
  ['its name where it has no message', new TypeError(''), 'TypeError'],
  ['its code behind the message', withCode('connect refused', 'ECONNREFUSED'), 'connect refused (ECONNREFUSED)'],
  ['its code once', withCode('ENOENT: no such file', 'ENOENT'), 'ENOENT: no such file'],
  ['no code that is a number', withCode('14 UNAVAILABLE', 14), '14 UNAVAILABLE'],
  [
    'its causes, the first first',
    withCode('cannot connect', 'EAWAY', new Error('handshake', { cause: 'a text' })),
    'cannot connect (EAWAY): handshake: a text',
  ],
  ['a cause that is data', new Error('bad', { cause: { port: 53 } }), 'bad: {"port":53}'],
  ['what JSON has no text for', Symbol('odd'), 'Symbol(odd)'],
  [
    'line ends and the space around them as one space',
    new Error('one  \r\n\n  two\nthree  four'),
    'one two three  four',
  ],
])('an error is described by %s', (_, error, line) => {
  expect(describeError(error)).toBe(line)
})

test('of a chain of causes the first four are told, and a circle ends', () => {
  const circle: Error = new Error('round')
  circle.cause = circle
  expect(describeError(circle)).toBe('round: round: round: round')
  const five = ['d', 'c', 'b', 'a'].reduce((cause, message) => new Error(message, { cause }), new Error('e'))
  expect(describeError(five)).toBe('a: b: c: d')
})

test('every control character of a text is shown, and nothing else is changed', () => {
  expect(printable('\u001b[2J a\u0000b\n\u007f\u0085\u009f ~ä…')).toBe('\\x1b[2J a\\x00b\\x0a\\x7f\\x85\\x9f ~ä…')
})
