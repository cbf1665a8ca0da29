import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { encode } from 'dns-packet'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { DaemonProcess } from './daemon-process.ts'

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

async function start(): Promise<DaemonProcess> {
  const file = join(folder, 'table.json')
  writeFileSync(file, TABLE)
  daemon = await DaemonProcess.start({ config: { mesh: { source: { table: file } } } })
  pid = daemon.child.pid!
  return daemon
}

describe('a new process takes over on SIGUSR2', () => {
  it('and no query is lost while one process after the other is replaced', { timeout: 90_000 }, async () => {
    const byname = await start()
    const asker = new Asker(byname.at())
    await asker.start()
    for (let n = 1; n <= HANDOVERS; n++) {
      process.kill(pid, 'SIGUSR2')
      pid = Number((await byname.nthLine('handed over', n))['pid'])
    }
    await asker.stop()
    expect(asker.answered).toBe(asker.sent)
    expect(asker.answered).toBeGreaterThan(100)
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

describe('SIGHUP reads the configuration again', () => {
  it('takes over what can change, names what cannot, and keeps all of the old one if the new one is bad', async () => {
    const byname = await start()
    const file = join(byname.folder, 'byname.yaml')
    const config = JSON.parse(readFileSync(file, 'utf8'))
    writeFileSync(file, JSON.stringify({ ...config, mesh: { ...config.mesh, ttlSeconds: 77 }, workers: 2 }))
    process.kill(pid, 'SIGHUP')
    await byname.line('configuration read again')
    expect((await byname.line('these keys changed'))['keys']).toEqual(['workers'])
    expect(await ttlOf(byname.at())).toBe(77)

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
