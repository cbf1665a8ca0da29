import { createSocket } from 'node:dgram'
import { connect } from 'node:net'
import { performance } from 'node:perf_hooks'

/** A server to ask. */
export interface ExchangeServer {
  /** Literal address without brackets. */
  address: string
  port: number
  /** For messages. */
  text: string
}

/** A reply and how it came. */
export interface Exchange {
  reply: Buffer
  transport: 'udp' | 'tcp'
  milliseconds: number
}

/** How often a datagram is sent unless told otherwise: one lost packet must not look like a dead server. */
export const DEFAULT_TRIES = 3

/**
 * Sends `query` over UDP, up to `tries` times within `timeoutMs`, and returns the reply with its id, whatever it says.
 * @throws Error in one line: nothing listens there, or no reply within `timeoutMs`.
 */
export async function exchangeUdp(
  server: ExchangeServer,
  query: Buffer,
  timeoutMs: number,
  tries: number = DEFAULT_TRIES,
): Promise<Exchange> {
  const socket = createSocket(server.address.includes(':') ? 'udp6' : 'udp4')
  let startedAt = 0
  return await new Promise<Exchange>((resolve, reject) => {
    const fail = (error: Error): void => reject(explain(error, server, 'UDP'))
    const deadline = setTimeout(() => reject(timedOut(server, timeoutMs, 'UDP')), timeoutMs)
    const again = setInterval(() => socket.send(query), timeoutMs / tries)
    socket.on('close', () => {
      clearTimeout(deadline)
      clearInterval(again)
    })
    socket.on('error', fail)
    socket.on('message', (reply) => {
      if (reply.length < 12 || reply.readUInt16BE(0) !== query.readUInt16BE(0) || (reply[2]! & 0x80) === 0) return
      resolve({ reply, transport: 'udp', milliseconds: performance.now() - startedAt })
    })
    // Connected, so that the kernel tells when nothing listens there, and drops what others send.
    socket.connect(server.port, server.address, () => {
      startedAt = performance.now()
      socket.send(query)
    })
  }).finally(() => socket.close())
}

/**
 * Sends `query` over TCP (RFC 7766) and returns the reply.
 * @throws Error in one line: nothing listens there, closed without a reply, or none within `timeoutMs`.
 */
export async function exchangeTcp(server: ExchangeServer, query: Buffer, timeoutMs: number): Promise<Exchange> {
  const startedAt = performance.now()
  const socket = connect({ host: server.address, port: server.port, noDelay: true })
  let received = Buffer.alloc(0)
  return await new Promise<Exchange>((resolve, reject) => {
    const deadline = setTimeout(() => reject(timedOut(server, timeoutMs, 'TCP')), timeoutMs)
    socket.on('error', (error) => reject(explain(error, server, 'TCP')))
    socket.on('close', () => {
      clearTimeout(deadline)
      reject(new Error(`${server.text} closed the TCP connection without an answer`))
    })
    socket.on('connect', () => {
      const length = Buffer.alloc(2)
      length.writeUInt16BE(query.length)
      socket.write(Buffer.concat([length, query]))
    })
    socket.on('data', (chunk: Buffer) => {
      received = Buffer.concat([received, chunk])
      if (received.length < 2 || received.length < 2 + received.readUInt16BE(0)) return
      const reply = received.subarray(2, 2 + received.readUInt16BE(0))
      resolve({ reply, transport: 'tcp', milliseconds: performance.now() - startedAt })
    })
  }).finally(() => socket.destroy())
}

function explain(error: Error, server: ExchangeServer, transport: string): Error {
  const isRefused = 'code' in error && error.code === 'ECONNREFUSED'
  const message = isRefused
    ? `nothing listens on ${server.text} (${transport}); start byname, or name another server with --server ADDR:PORT`
    : `${server.text} (${transport}): ${error.message}`
  return new Error(message, { cause: error })
}

function timedOut(server: ExchangeServer, timeoutMs: number, transport: string): Error {
  const seconds = (timeoutMs / 1000).toLocaleString('en-US')
  return new Error(
    `no answer from ${server.text} over ${transport} within ${seconds} s; look at "byname status", or name another server with --server ADDR:PORT`,
  )
}
