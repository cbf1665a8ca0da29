/**
 * `slow-name-server.ts ADDRESS…`: a name server on port 53 of these addresses, UDP and TCP. The first label of a name says after how many
 * milliseconds it is answered (`20-a.test`; none: at once). Each A question gets 198.18.0.1, any other NODATA, and a name below `mesh.test`
 * NXDOMAIN. Prints `ready`.
 */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'

const HEADER_BYTES = 12
const ADDRESS = Buffer.from('c00c00010001000000000004c6120001', 'hex')
const ABSENT = Buffer.from('\u0004mesh\u0004test\0')

function replyTo(query: Buffer): { reply: Buffer; delayMs: number } {
  const end = query.indexOf(0, HEADER_BYTES) + 1
  const isAbsent = query.subarray(0, end).subarray(-ABSENT.length).equals(ABSENT)
  const hasAddress = !isAbsent && query.readUInt16BE(end) === 1
  const reply = Buffer.concat([query.subarray(0, end + 4), ...(hasAddress ? [ADDRESS] : [])])
  reply[2] = 0x84 | (query[2]! & 1)
  reply[3] = isAbsent ? 0x83 : 0x80
  reply.writeUInt16BE(hasAddress ? 1 : 0, 6)
  reply.writeUInt32BE(0, 8)
  const label = query.toString('latin1', HEADER_BYTES + 1, HEADER_BYTES + 1 + query[HEADER_BYTES]!)
  return { reply, delayMs: Number(/^\d+/.exec(label)?.[0] ?? 0) }
}

function after(delayMs: number, run: () => void): void {
  if (delayMs === 0) run()
  else setTimeout(run, delayMs)
}

for (const address of process.argv.slice(2)) {
  const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', recvBufferSize: 4 << 20 })
  socket.on('message', (query, from) => {
    const { reply, delayMs } = replyTo(query)
    after(delayMs, () => socket.send(reply, from.port, from.address))
  })
  socket.bind(53, address)
  await once(socket, 'listening')
  const server = createServer((connection) => {
    let bytes = Buffer.alloc(0)
    connection.on('error', () => {})
    connection.on('data', (more: Buffer) => {
      bytes = Buffer.concat([bytes, more])
      while (bytes.length > 2 && bytes.length >= 2 + bytes.readUInt16BE(0)) {
        const { reply, delayMs } = replyTo(bytes.subarray(2, 2 + bytes.readUInt16BE(0)))
        const length = Buffer.alloc(2)
        length.writeUInt16BE(reply.length)
        after(delayMs, () => void connection.write(Buffer.concat([length, reply])))
        bytes = bytes.subarray(2 + bytes.readUInt16BE(0))
      }
    })
  })
  server.listen(53, address)
  await once(server, 'listening')
}
console.log('ready')
