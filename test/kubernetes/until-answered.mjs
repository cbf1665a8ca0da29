// `node - NAME [GAP]`: asks the pod's resolver for NAME every 20 ms, each time afresh, and prints the clock in milliseconds
// when the first address comes; with GAP, when one comes after so many milliseconds without any.
import { createSocket } from 'node:dgram'
import { getServers } from 'node:dns'

const [name, gapMs] = process.argv.slice(2)
const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
const socket = createSocket('udp4')
let id = 0
let last = gapMs === undefined ? 0 : Number.POSITIVE_INFINITY
socket.on('error', () => {})
socket.on('message', (reply) => {
  if ((reply[3] & 15) !== 0 || reply.readUInt16BE(6) === 0) return
  const now = Date.now()
  if (now - last >= Number(gapMs ?? 0)) {
    console.log(now)
    process.exit()
  }
  last = now
})
setInterval(() => {
  id = (id + 1) % 65_536
  const head = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  socket.send(Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])]), 53, getServers()[0])
}, 20)
setTimeout(() => process.exit(1), 60_000)
