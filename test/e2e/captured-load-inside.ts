/**
 * `captured-load-inside.ts SERVER QUERIES_PER_SECOND`: asks a name server until standard input ends, waits for what is under way, and says
 * what became of every query, as JSON (`LoadReport`). No query is repeated, but by a TCP client that was slow itself. On a machine that is busy with other things it asks less often.
 *
 * Clients are of three kinds: sockets that are connected and kept, as those of proxies and of the JVM; sockets that are kept unconnected;
 * a socket for one query, as those of libc. Over TCP it is a connection for each query.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { connect, isIPv6 } from 'node:net'

/** Counts by client and by what was seen: addresses, a reply code, `nothing` (within 5 s) or an error. */
export interface LoadReport {
  sent: number
  seen: Record<string, Record<string, number>>
  /** Errors of sockets, which belong to no query. */
  errors: Record<string, number>
}

const TICK_MS = 2
const ANSWER_MS = 5000
const KEPT_SOCKETS = 32
const HEADER_BYTES = 12
const MAX_BURST = 200
const MAX_UNDER_WAY = 2000
/** One query in so many has a socket, or a connection, of its own. */
const FRESH_EVERY = 10
const TCP_EVERY = 50
const RCODES = ['NODATA', 'FORMERR', 'SERVFAIL', 'NXDOMAIN', 'NOTIMP', 'REFUSED']

const [server = '', rate = ''] = process.argv.slice(2)
const report: LoadReport = { sent: 0, seen: {}, errors: {} }

/** Queries under way. */
let under = 0

function count(into: Record<string, number>, what: string): void {
  into[what] = (into[what] ?? 0) + 1
}

function see(client: string, what: string): void {
  count((report.seen[client] ??= {}), what)
}

/** Half of the questions are the mesh's, and of the others half take a while to answer; none is asked twice. */
function queryOf(id: number): Buffer {
  const kind = Math.floor(Math.random() * 4)
  const labels = kind < 2 ? ['web', 'mesh', 'test'] : [`${kind === 2 ? 20 : 0}-${report.sent}`, 'outside', 'test']
  const header = Buffer.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0])
  const name = labels.map((label) => Buffer.from(`${String.fromCharCode(label.length)}${label}`, 'latin1'))
  return Buffer.concat([header, ...name, Buffer.from([0, 0, 1, 0, 1])])
}

function kindOf(message: Buffer): string {
  return message.toString('latin1', HEADER_BYTES + 1, HEADER_BYTES + 4) === 'web' ? 'mesh' : 'outside'
}

/** The address in the last record, or what there is instead. */
function outcomeOf(reply: Buffer): string {
  const rcode = reply[3]! & 15
  const kind = kindOf(reply)
  if (rcode !== 0 || reply.readUInt16BE(6) === 0) return `${kind} ${RCODES[rcode] ?? rcode}`
  const end = reply.indexOf(0, HEADER_BYTES) + 5
  return `${kind} ${[...reply.subarray(end + 12, end + 16)].join('.')}`
}

/** Sockets that are kept: queries under way by id. */
class KeptClient {
  readonly #name: string
  readonly #socket: Socket
  readonly #isConnected: boolean
  readonly #waiting: Map<number, NodeJS.Timeout> = new Map()
  #id = 0

  constructor(name: string, socket: Socket, isConnected: boolean) {
    this.#name = name
    this.#socket = socket
    this.#isConnected = isConnected
    socket.on('error', (error) =>
      count(report.errors, `${name} ${'code' in error ? String(error.code) : error.message}`),
    )
    socket.on('message', (reply, { address }) => {
      const id = reply.readUInt16BE(0)
      const timer = this.#waiting.get(id)
      if (address !== server) count(report.errors, `${name}: a reply from ${address}`)
      else if (timer === undefined) count(report.errors, `${name}: a reply to no query`)
      else {
        clearTimeout(timer)
        this.#waiting.delete(id)
        under--
        see(name, outcomeOf(reply))
      }
    })
  }

  ask(): void {
    const id = (this.#id = (this.#id + 1) & 0xffff)
    const query = queryOf(id)
    under++
    this.#waiting.set(
      id,
      setTimeout(() => {
        this.#waiting.delete(id)
        under--
        see(this.#name, `${kindOf(query)} nothing`)
      }, ANSWER_MS),
    )
    const onSent = (error: Error | null): void => {
      if (error !== null) count(report.errors, `${this.#name} ${'code' in error ? String(error.code) : error.message}`)
    }
    if (this.#isConnected) this.#socket.send(query, onSent)
    else this.#socket.send(query, 53, server, onSent)
  }
}

function askFresh(): void {
  under++
  const socket = createSocket(isIPv6(server) ? 'udp6' : 'udp4')
  const end = (what: string): void => {
    clearTimeout(timer)
    socket.close()
    under--
    see('fresh', what)
  }
  const query = queryOf(1)
  const timer = setTimeout(end, ANSWER_MS, `${kindOf(query)} nothing`)
  socket.on('error', (error) => count(report.errors, `fresh ${'code' in error ? String(error.code) : error.message}`))
  socket.on('message', (reply, { address }) => end(address === server ? outcomeOf(reply) : `a reply from ${address}`))
  socket.send(query, 53, server)
}

/** A client that gets no processor for so long after it has connected may find its connection gone: it asks by another (RFC 7766 §6.2.4). */
const SLOW_CLIENT_MS = 400

function askTcp(query: Buffer = queryOf(1)): void {
  under++
  const beganMs = performance.now()
  const connection = connect(53, server)
  let received = Buffer.alloc(0)
  let outcome = `${kindOf(query)} nothing`
  const timer = setTimeout(() => connection.destroy(), ANSWER_MS)
  connection.on('error', (error) => (outcome = 'code' in error ? String(error.code) : error.message))
  connection.on('connect', () => connection.write(Buffer.concat([Buffer.from([0, query.length]), query])))
  connection.on('data', (more: Buffer) => {
    received = Buffer.concat([received, more])
    if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
    outcome = outcomeOf(received.subarray(2))
    connection.end()
  })
  connection.on('close', () => {
    clearTimeout(timer)
    under--
    if (outcome === 'ECONNRESET' && performance.now() - beganMs > SLOW_CLIENT_MS) askTcp(query)
    else see('tcp', outcome)
  })
}

const kept: KeptClient[] = []
for (const isConnected of [true, false]) {
  for (let n = 0; n < KEPT_SOCKETS; n++) {
    const socket = createSocket({ type: isIPv6(server) ? 'udp6' : 'udp4', recvBufferSize: 1 << 20 })
    kept.push(new KeptClient(isConnected ? 'connected' : 'unconnected', socket, isConnected))
    if (!isConnected) continue
    socket.connect(53, server)
    await once(socket, 'connect')
  }
}

let isOver = false
process.stdin.resume().on('end', () => (isOver = true))
const began = performance.now()
let next = 0
/** Time that the machine had no processor for this program is not made up for: that would be a burst. */
let skipped = 0
const ticker = setInterval(() => {
  const due = Math.floor(((performance.now() - began) / 1000) * Number(rate)) - skipped
  const room = Math.min(MAX_BURST, MAX_UNDER_WAY - under)
  skipped += Math.max(0, due - report.sent - room)
  const last = isOver ? report.sent : Math.min(due, report.sent + room)
  while (report.sent < last) {
    report.sent++
    if (report.sent % TCP_EVERY === 0) askTcp()
    else if (report.sent % FRESH_EVERY === 0) askFresh()
    else kept[next++ % kept.length]!.ask()
  }
  if (!isOver || under > 0) return
  clearInterval(ticker)
  process.stdout.write(JSON.stringify(report), () => process.exit(0))
}, TICK_MS)
console.error('asking')
