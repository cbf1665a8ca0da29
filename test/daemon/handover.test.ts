import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, type Socket as TcpSocket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode } from 'dns-packet'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { FrameReader, framed } from '../../src/dns/frame.ts'
import { freePort } from '../free-port.ts'
import { DaemonProcess } from './daemon-process.ts'
import { until } from '../until.ts'

const TABLE =
  '{"table":{"reviews.default.svc.cluster.local":{"ips":["10.96.0.11"],"registry":"Kubernetes","shortname":"reviews","namespace":"default"}}}'
const QUERY = encode({ type: 'query', id: 7, flags: 256, questions: [{ type: 'A', name: 'reviews' }] })
const OUTSTANDING = 50
const HANDOVERS = 3

const folder = mkdtempSync(join(tmpdir(), 'byname-handover-'))
let daemon: DaemonProcess | null = null
/** The process that answers now. */
let pid = 0

afterEach(async () => {
  if (daemon === null) return
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It has ended.
  }
  await daemon.stop()
  daemon = null
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

async function start(config: object = {}): Promise<DaemonProcess> {
  const file = join(folder, 'table.json')
  writeFileSync(file, TABLE)
  daemon = await DaemonProcess.start({ config: { mesh: { source: { table: file } }, ...config } })
  pid = daemon.child.pid!
  return daemon
}

/** Has the process that answers replaced for the n-th time (from 1). */
async function handOver(byname: DaemonProcess, n: number): Promise<void> {
  process.kill(pid, 'SIGUSR2')
  pid = Number((await byname.nthLine('handed over', n))['pid'])
}

/** The new process of a handover under way. */
async function successor(): Promise<number> {
  return await until(() => {
    const child = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim())
    expect(child).toBeGreaterThan(0)
    return child
  })
}

function isRunning(process: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${process}/status`, 'utf8'))
  } catch {
    return false
  }
}

/** Sockets of the kernel's that are bound to a UDP port of 127.0.0.1. */
function socketsAt(port: number): number {
  const local = `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const lines = readFileSync('/proc/net/udp', 'utf8').trim().split('\n').slice(1)
  return lines.filter((line) => line.trim().split(/\s+/)[1] === local).length
}

describe('a new process takes over on SIGUSR2', () => {
  it('and no query is lost while one process after the other is replaced', async () => {
    const byname = await start()
    const asker = new Asker(byname.at())
    await asker.start()
    for (let n = 1; n <= HANDOVERS; n++) await handOver(byname, n)
    await asker.stop()
    expect(asker.answered).toBe(asker.sent)
    expect(asker.answered).toBeGreaterThan(100)
  })

  it('and no connection is reset: it ends after its answers, and the client asks on by another', async () => {
    const byname = await start()
    const askers = Array.from({ length: 8 }, () => new TcpAsker(byname.at()))
    await until(() => expect(askers.every(({ answered }) => answered > 10)).toBe(true))
    for (let n = 1; n <= 2; n++) await handOver(byname, n)
    const before = askers.map(({ answered }) => answered)
    await until(() => expect(askers.every(({ answered }, k) => answered > before[k]! + 10)).toBe(true))
    await until(() => expect(askers.every(({ ends }) => ends === 2)).toBe(true))
    for (const asker of askers) asker.stop()
    expect(askers.flatMap(({ errors }) => errors)).toEqual([])
  })

  it('and warns of nothing, though both want the ports of the endpoints for a moment', async () => {
    const metrics = { listen: `127.0.0.1:${await freePort()}` }
    const admin = { listen: `127.0.0.1:${await freePort()}` }
    const byname = await start({ metrics, admin, upstream: { servers: ['192.0.2.1'] } })
    for (let n = 1; n <= 2; n++) {
      await handOver(byname, n)
      await byname.nthLine('metrics endpoint is listening', n + 1)
      await byname.nthLine('admin endpoint is listening', n + 1)
    }
    expect(byname.lines.filter((line) => line['level'] !== 'info')).toEqual([])
  })

  it('and goes on where the old one is killed before it hears of it', async () => {
    const byname = await start()
    process.kill(pid, 'SIGUSR2')
    const next = await successor()
    try {
      process.kill(pid, 'SIGKILL')
    } catch {
      // It has heard of it already, and ended.
    }
    pid = next
    await byname.nthLine('byname is answering', 2)
    // Reported only now: whoever fails at it does not get as far as this.
    await until(async () => expect(await ttlOf(byname.at())).toBe(30))
    process.kill(pid, 'SIGHUP')
    await byname.line('configuration read again')
  })

  it('and ends with the old one where that is to end before the new one is ready', async () => {
    const byname = await start()
    await byname.line('name table adopted')
    // Without one the new process waits for some seconds.
    rmSync(join(folder, 'table.json'))
    process.kill(pid, 'SIGUSR2')
    const next = await successor()
    process.kill(pid, 'SIGTERM')
    await byname.line('byname has stopped')
    expect(byname.lines.some(({ msg }) => msg.startsWith('the new process was not ready yet'))).toBe(true)
    await until(() => expect(isRunning(next)).toBe(false))
    expect(byname.lines.filter(({ msg }) => msg === 'byname is answering')).toHaveLength(1)
  })
})

/** Keeps some questions on their way until stopped, then waits for the rest of the answers. */
class Asker {
  sent = 0
  answered = 0
  readonly #socket: Socket = createSocket('udp4')
  readonly #server: { address: string; port: number }
  #isStopping = false

  constructor(server: { address: string; port: number }) {
    this.#server = server
  }

  async start(): Promise<void> {
    this.#socket.on('message', (reply) => {
      if ((reply[3]! & 15) !== 0 || reply[7] !== 1) throw new Error(`a bad reply: ${reply.toString('hex')}`)
      this.answered++
      if (!this.#isStopping) this.#ask()
    })
    this.#socket.bind(0, '127.0.0.1')
    await once(this.#socket, 'listening')
    for (let n = 0; n < OUTSTANDING; n++) this.#ask()
  }

  async stop(): Promise<void> {
    this.#isStopping = true
    const signal = AbortSignal.timeout(10_000)
    while (this.answered < this.sent && !signal.aborted) await once(this.#socket, 'message', { signal }).catch(() => {})
    this.#socket.close()
  }

  #ask(): void {
    this.sent++
    this.#socket.send(QUERY, this.#server.port, this.#server.address)
  }
}

/** Asks over TCP, eight questions at a time, by one connection after the other. */
class TcpAsker {
  answered = 0
  /** Connections that the server ended. */
  ends = 0
  readonly errors: string[] = []
  readonly #server: { address: string; port: number }
  #socket: TcpSocket

  constructor(server: { address: string; port: number }) {
    this.#server = server
    this.#socket = this.#connect()
  }

  stop(): void {
    this.#socket.destroy()
  }

  #connect(): TcpSocket {
    const socket = connect({ port: this.#server.port, host: this.#server.address, noDelay: true })
    const questions = Buffer.concat(Array.from({ length: 8 }, () => framed(QUERY)))
    const reader = new FrameReader()
    let open = 8
    socket.on('data', (chunk: Buffer) => {
      if (reader.push(chunk) === null) return
      open -= reader.count
      this.answered += reader.count
      if (open > 0) return
      open = 8
      socket.write(questions)
    })
    socket.on('end', () => {
      this.ends++
      this.#socket = this.#connect()
    })
    socket.on('error', ({ message }) => this.errors.push(message))
    socket.write(questions)
    return socket
  }
}

/** Changes the configuration, sends SIGHUP and returns what it said of keys that need more than that. */
async function change(byname: DaemonProcess, n: number, changed: object): Promise<{ keys: unknown; msg: string }> {
  const file = join(byname.folder, 'byname.yaml')
  writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...changed }))
  process.kill(pid, 'SIGHUP')
  const { keys, msg } = await byname.nthLine('these keys changed', n)
  return { keys, msg }
}

describe('SIGHUP reads the configuration again', () => {
  it.each(['batch', 'dgram'])(
    '%s: another number of workers needs SIGUSR2, and that loses no query',
    async (driver) => {
      const byname = await start({ driver })
      const { port } = byname.at()
      const askers = Array.from({ length: 8 }, () => new Asker(byname.at()))
      for (const asker of askers) await asker.start()
      const sockets: number[] = []
      for (const [k, workers] of [3, 1, 2].entries()) {
        expect(await change(byname, k + 1, { workers })).toEqual({
          keys: ['workers'],
          msg: 'these keys changed and need a new process: send SIGUSR2 or restart',
        })
        await handOver(byname, k + 1)
        sockets.push(socketsAt(port))
      }
      for (const asker of askers) await asker.stop()
      expect(askers.map(({ answered }) => answered)).toEqual(askers.map(({ sent }) => sent))
      // None of them is closed with what is queued in it.
      expect(sockets).toEqual([3, 3, 3])
    },
  )

  it('one more address to listen on needs SIGUSR2; a wildcard beside what is listened on a restart', async () => {
    const port = await freePort()
    const byname = await start({ listen: [`127.0.0.1:${port}`] })
    const listen = [`127.0.0.1:${port}`, `127.0.0.2:${port}`]
    expect((await change(byname, 1, { listen })).msg).toContain('send SIGUSR2')
    await handOver(byname, 1)
    expect(await ttlOf({ address: '127.0.0.2', port })).toBe(30)
    expect(await change(byname, 2, { listen: [`0.0.0.0:${port}`] })).toEqual({
      keys: ['listen'],
      msg: 'these keys changed and need a restart (listen overlaps with what is listened on now)',
    })
  })

  it('takes over what can change, names what cannot, and keeps all of the old one if the new one is bad', async () => {
    const byname = await start()
    const file = join(byname.folder, 'byname.yaml')
    const config = JSON.parse(readFileSync(file, 'utf8'))
    const mesh = { ttlSeconds: 77, source: { files: byname.folder } }
    const upstream = { ...config.upstream, maxInFlight: 7, deadlineMs: 3000 }
    writeFileSync(file, JSON.stringify({ ...config, mesh, upstream, workers: 2, log: { format: 'pretty' } }))
    process.kill(pid, 'SIGHUP')
    await byname.line('configuration read again')
    const { keys } = await byname.line('these keys changed')
    expect(keys).toEqual(['workers', 'mesh.source', 'upstream.maxInFlight', 'log.format'])
    // The workers hear of it by a message.
    await until(async () => expect(await ttlOf(byname.at())).toBe(77))

    writeFileSync(file, JSON.stringify({ ...config, cache: { maxBites: 1 } }))
    process.kill(pid, 'SIGHUP')
    expect((await byname.line('the configuration stays as it is')).msg).toContain('cache.maxBites')
    expect(await ttlOf(byname.at())).toBe(77)
  })
})

async function ttlOf(server: { address: string; port: number }): Promise<number> {
  const socket = createSocket('udp4')
  const replied = Promise.withResolvers<Buffer>()
  socket.once('message', replied.resolve)
  const timer = setTimeout(() => replied.reject(new Error('no reply')), 10_000)
  socket.send(QUERY, server.port, server.address)
  const reply = await replied.promise
  clearTimeout(timer)
  socket.close()
  // The question takes 25 bytes (header, 9 + 4), the record's head before its TTL 6.
  return reply.readUInt32BE(12 + 9 + 4 + 6)
}
