import { describe, expect, it } from 'vitest'
import { matchesQuestion } from '../../src/stream/upstreams/reply-match.ts'
import { a, message } from '../dns/messages.ts'

const NAME = 'www.Example'
const QUERY = message({ id: 1, flags: 0x0100, questions: [[NAME, 1]] })
/** Type and class are the last four bytes. */
const TYPE_AT = QUERY.length - 4

/** The query as a reply, with one byte changed. */
function replyWith(at?: number, value = 0): Uint8Array {
  const reply = Uint8Array.from(QUERY)
  reply[2]! |= 0x80
  if (at !== undefined) reply[at] = value
  return reply
}

describe('a reply belongs to a query', () => {
  it.each<[what: string, reply: Uint8Array]>([
    ['with its question alone', replyWith()],
    ['whatever its id', replyWith(0, 0xff)],
    ['with records', message({ id: 1, flags: 0x8180, questions: [[NAME, 1]], answers: [a(1, 60)] })],
    ['in another case', message({ id: 1, flags: 0x8180, questions: [['WWW.eXAMPLE', 1]] })],
    ['that is an error', replyWith(3, 0x02)],
    ['that is an error and a header alone', Uint8Array.of(0, 1, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0, 0)],
  ])('%s', (_, reply) => expect(matchesQuestion(QUERY, reply)).toBe(true))

  it.each<[what: string, reply: Uint8Array]>([
    ['that is a query itself', QUERY],
    ['without a question, and no error', Uint8Array.of(0, 1, 0x81, 0x80, 0, 0, 0, 0, 0, 0, 0, 0)],
    ['with two questions', replyWith(5, 2)],
    ['with 257 questions', replyWith(4, 1)],
    ['of another name', message({ id: 1, flags: 0x8180, questions: [['wwx.example', 1]] })],
    ['of a name whose dot is a byte of a label', replyWith(16, 0x2e)],
    ['of a name below it', message({ id: 1, flags: 0x8180, questions: [[`a.${NAME}`, 1]] })],
    ['of another type', replyWith(TYPE_AT + 1, 28)],
    ['of a type that begins otherwise', replyWith(TYPE_AT, 1)],
    ['of another class', replyWith(TYPE_AT + 3, 3)],
    ['of a class that begins otherwise', replyWith(TYPE_AT + 2, 1)],
    ['that ends in its question', replyWith().subarray(0, -1)],
    ['that is shorter than a header', Uint8Array.of(0, 1, 0x81, 0x81, 0, 0, 0, 0, 0, 0, 0)],
    ['that is nothing', new Uint8Array(0)],
  ])('but not one %s', (_, reply) => expect(matchesQuestion(QUERY, reply)).toBe(false))
})
