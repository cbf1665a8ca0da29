/**
 * Runs inside a network namespace of its own (address-change.test.ts): a daemon on loopback and on an address of this
 * machine, clients that ask from addresses which come and go, and the reply codes that they got, as JSON on standard output.
 */
import { execFileSync, spawn } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { decode, encode } from 'dns-packet'
import { rcodeOf } from '../worker/dns-client.ts'

const [launcher = '', config = ''] = process.argv.slice(2)
const PORT = 5353
const FIXED = '10.77.0.1'
const ROUNDS = 4
/** An address counts within seconds; a busy machine may need more. */
const MOST_MS = 20_000

function ip(...args: string[]): void {
  execFileSync('ip', args)
}

/** Asks from an address; resolves with the reply code, or `timeout`. */
async function ask(from: string, to: string, id: number): Promise<string> {
  const socket = createSocket('udp4')
  socket.bind({ address: from })
  await once(socket, 'listening')
  const name = 'web.example'
  socket.send(encode({ type: 'query', id: id % 65_536, flags: 256, questions: [{ type: 'A', name }] }), PORT, to)
  const over = AbortSignal.timeout(MOST_MS)
  try {
    const [reply]: Buffer[] = await once(socket, 'message', { signal: over })
    return rcodeOf(decode(reply!))
  } catch {
    return 'timeout'
  } finally {
    socket.close()
  }
}

ip('link', 'set', 'lo', 'up')
ip('addr', 'add', `${FIXED}/32`, 'dev', 'lo')
const daemon = spawn(process.execPath, [launcher, 'run', '--config', config], { stdio: ['ignore', 'ignore', 'pipe'] })
const lines: string[] = []
const answering = Promise.withResolvers<void>()
createInterface({ input: daemon.stderr }).on('line', (line) => {
  lines.push(line)
  if (line.includes('byname is answering')) answering.resolve()
})
await answering.promise
/** At a loopback listener at once, and at another one in the end. */
const atLoopback: string[] = []
const elsewhere: string[] = []
for (let round = 0, id = 1; round < ROUNDS; round++) {
  const address = `10.78.0.${round + 1}`
  ip('addr', 'add', `${address}/32`, 'dev', 'lo')
  atLoopback.push(...(await Promise.all(Array.from({ length: 20 }, () => ask(address, '127.0.0.1', id++)))))
  const end = performance.now() + MOST_MS
  let last: string
  do last = await ask(address, FIXED, id++)
  while (last === 'REFUSED' && performance.now() < end)
  elsewhere.push(last)
  ip('addr', 'del', `${address}/32`, 'dev', 'lo')
}
daemon.kill('SIGTERM')
const [code]: unknown[] = await once(daemon, 'close')
console.log(JSON.stringify({ atLoopback, elsewhere, code, lines }))
