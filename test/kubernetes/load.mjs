// Sends queries to the pod's resolver from its standard input's program text: `node - RATE SECONDS NAME…` (see proof.ts).
// Each query is sent once, without a repeat: what is not answered within 3 s is lost. Prints one line of JSON.
import { createSocket } from 'node:dgram'
import { getServers } from 'node:dns'

const [rate, seconds, ...names] = process.argv.slice(2)
const socket = createSocket('udp4')
const server = getServers()[0]
const sent = new Map()
const counts = { sent: 0, answered: 0, failed: 0, lost: 0, slowestMs: 0 }

function query(id, name) {
  const labels = name.split('.').map((label) => Buffer.concat([Buffer.from([label.length]), Buffer.from(label)]))
  const head = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  return Buffer.concat([head, ...labels, Buffer.from([0, 0, 1, 0, 1])])
}

socket.on('error', () => {})
socket.on('message', (reply) => {
  const id = reply.readUInt16BE(0)
  const at = sent.get(id)
  if (at === undefined) return
  sent.delete(id)
  if ((reply[3] & 15) === 0 && reply.readUInt16BE(6) > 0) counts.answered++
  else counts.failed++
  counts.slowestMs = Math.max(counts.slowestMs, performance.now() - at)
})
const began = performance.now()
const timer = setInterval(() => {
  const due = Math.min(performance.now() - began, seconds * 1000)
  while (counts.sent < (due / 1000) * rate) {
    const id = counts.sent % 65_536
    sent.set(id, performance.now())
    socket.send(query(id, names[counts.sent % names.length]), 53, server)
    counts.sent++
  }
  if (performance.now() - began < seconds * 1000 + 3000) return
  clearInterval(timer)
  counts.lost = sent.size
  counts.slowestMs = Math.round(counts.slowestMs)
  console.log(JSON.stringify(counts))
  socket.close()
}, 5)
