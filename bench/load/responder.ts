/**
 * The upstream for machines without gcc: same answers as responder.c, fewer a second, so that misses may measure it.
 *
 *   node bench/load/responder.ts PORT
 */
import { createSocket } from 'node:dgram'

const HEADER = 12
const ADDRESS = Buffer.from('c00c0001000100000e100004f0f00001', 'hex')
const SOA = Buffer.from(
  '0006_0001_00000e10_0016_0000_00000001_00000e10_00000384_00093a80_00000e10'.replaceAll('_', ''),
  'hex',
)
const OPT = Buffer.from('00002904d0000000000000', 'hex')

const socket = createSocket({ type: 'udp4', recvBufferSize: 4 << 20, sendBufferSize: 4 << 20 })
socket.on('message', (question, from) => {
  const reply = answer(question)
  if (reply !== undefined) socket.send(reply, from.port, from.address)
})
socket.bind(Number(process.argv[2]), '127.0.0.1', () => console.log('ready'))

function answer(question: Buffer): Buffer | undefined {
  let at = HEADER
  while (question[at] !== undefined && question[at] !== 0) at += question[at]! + 1
  if (at + 5 > question.length) return undefined
  const absent = question.toString('latin1', HEADER + 1, HEADER + 8).toLowerCase() === 'absent-'
  const address = !absent && question.readUInt16BE(at + 1) === 1
  const opt = question.readUInt16BE(10) > 0
  // The zone of a denial is the name less its first label.
  const zone = Buffer.from([0xc0, HEADER + 1 + question[HEADER]!])
  const records = address ? [ADDRESS] : [zone, SOA]
  const reply = Buffer.concat([question.subarray(0, at + 5), ...records, ...(opt ? [OPT] : [])])
  reply[2] = 0x80 | (question[2]! & 1)
  reply[3] = absent ? 0x83 : 0x80
  reply.writeUInt16BE(address ? 1 : 0, 6)
  reply.writeUInt16BE(address ? 0 : 1, 8)
  reply.writeUInt16BE(opt ? 1 : 0, 10)
  return reply
}
