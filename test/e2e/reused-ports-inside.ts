/**
 * Two users ask one name server from one port, by turns, in the network namespace of this process: `reused-ports-inside.ts SERVER OWN_UID
 * QUERIES NAME`. Prints how often each got which answer, as JSON: `{"app": {"10.50.0.1": 2500}, "own": {…}}`.
 */
import { createSocket } from 'node:dgram'
import dnsPacket from 'dns-packet'

const [server, ownUid, queries, name] = process.argv.slice(2)
const FIRST_PORT = 40_000
const PORTS = 64
const WAIT_MS = 3000

/** One question from `port`, whose socket is closed when this resolves: the next one may have the port. */
async function ask(port: number, id: number): Promise<string> {
  const socket = createSocket(server!.includes(':') ? 'udp6' : 'udp4')
  const answer = Promise.withResolvers<string>()
  socket.on('error', (error) => answer.resolve('code' in error ? String(error.code) : error.message))
  socket.on('message', (reply, { address }) => {
    const { id: of, answers } = dnsPacket.decode(reply)
    if (of !== id) return
    const data = (answers ?? []).map((each) => (each.type === 'A' ? each.data : each.type)).join()
    answer.resolve(address === server ? data : `${data} from ${address}`)
  })
  socket.bind(port, () => {
    const question = { type: 'query' as const, id, flags: dnsPacket.RECURSION_DESIRED }
    socket.send(dnsPacket.encode({ ...question, questions: [{ type: 'A', name: name! }] }), 53, server)
  })
  const timer = setTimeout(() => answer.resolve('nothing'), WAIT_MS)
  const result = await answer.promise
  clearTimeout(timer)
  await new Promise<void>((resolve) => socket.close(() => resolve()))
  return result
}

const seen: Record<'app' | 'own', Record<string, number>> = { app: {}, own: {} }
for (let i = 0; i < Number(queries); i++) {
  const who = i % 2 === 0 ? 'app' : 'own'
  // The kernel remembers the user of a socket from when it was made.
  process.seteuid!(who === 'own' ? Number(ownUid) : 0)
  let answer = 'EADDRINUSE'
  // byname has some of the ports itself: the next one, then.
  for (let past = 0; answer === 'EADDRINUSE' && past < PORTS; past++)
    answer = await ask(FIRST_PORT + (((i >> 1) + past) % PORTS), i)
  seen[who][answer] = (seen[who][answer] ?? 0) + 1
}
process.seteuid!(0)
process.stdout.write(JSON.stringify(seen))
