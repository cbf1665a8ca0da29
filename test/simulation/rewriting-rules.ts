/** Replies to questions that a rule or a plug-in has changed, as they were before the client's question was put back. */
import type { ParsedMessage, ParsedRecord } from './message.ts'
import { recordId } from './message.ts'
import type { Asked } from './queries.ts'

const FLAG_AD = 0x0020
const FLAG_TC = 0x0200
const CNAME = 5
const NOERROR = 0
const NXDOMAIN = 3

/** The reply to `asked` that has become the one to `original`; or what is wrong with it. */
export function asUnrewritten(reply: ParsedMessage, original: Asked, asked: Asked): ParsedMessage | string {
  if ((reply.flags & FLAG_AD) !== 0) return 'AD on an answer to another question'
  const [answer, authority, additional] = reply.sections
  const isEmpty = answer.length + authority.length + additional.length === 0
  if (isEmpty && (reply.flags & FLAG_TC) !== 0) return reply
  if (asked.aliasTtl === undefined) {
    const left = [...answer, ...authority, ...additional].find(({ owner }) => owner === asked.name)
    if (left !== undefined && asked.name !== original.name)
      return `a record of the other name: ${JSON.stringify(left.id)}`
    const put = (record: ParsedRecord): ParsedRecord => renamed(record, original.name, asked.name)
    return { ...reply, sections: [answer.map(put), authority.map(put), additional.map(put)] }
  }
  // An error says nothing of the name.
  if (reply.rcode !== NOERROR && reply.rcode !== NXDOMAIN) return reply
  const [alias, ...others] = answer
  if (alias?.id !== recordId(original.name, CNAME, 1, asked.name)) return 'no CNAME to the other name'
  if (alias.ttl !== asked.aliasTtl) return `a CNAME with TTL ${alias.ttl} instead of ${asked.aliasTtl}`
  return { ...reply, sections: [others, authority, additional] }
}

function renamed(record: ParsedRecord, from: string, to: string): ParsedRecord {
  const { class: cls, data, owner, type } = record
  return owner === from ? { ...record, owner: to, id: recordId(to, type, cls, data), shownId: record.id } : record
}
