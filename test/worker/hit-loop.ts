/**
 * Run by garbage.test.ts in a process of its own: the batch driver answers hits, 64 at a time. The kernel is one that
 * only says how many datagrams there are: the same 64 queries lie in the receive slots all the time.
 */
import { writeSync } from 'node:fs'
import { MessageChannel } from 'node:worker_threads'
import dnsPacket from 'dns-packet'
import { Engine } from '../../src/engine/engine.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { EPOLL_EVENT_BYTES, EPOLL_TOKEN_AT, POLLIN } from '../../src/os/syscalls.ts'
import { Source, WorkerCounters } from '../../src/stats/counters.ts'
import { BatchDriver } from '../../src/worker/batch/batch-driver.ts'
import { StreamWorkerLink } from '../../src/worker/stream-worker-link.ts'
import { randomNumbers, SEED, settingsWith } from '../engine/engine-under-test.ts'
import { imageOf, service } from '../table/compiled.ts'
import { encodeQuery } from './dns-client.ts'
import { FakeSyscalls } from './fake-syscalls.ts'

const BATCH = 64
const WARM_UP_BATCHES = 2000
const WORDS = 16
const WORD_RECEIVED = 14

const kind = process.argv[2]!
const batches = WARM_UP_BATCHES + Number(process.argv[3]) / BATCH
const query = encodeQuery(kind === 'mesh' ? 'web.shop.svc.cluster.local' : 'outside.example', 'A', { edns: 1232 })

/** Hands out a full batch at every wait, without allocating; the steps come first. */
class BusyKernel extends FakeSyscalls {
  listenerFd = -1
  onBatch: () => void = () => {}
  #words: Uint32Array = new Uint32Array(0)
  #hasBatch = false

  override epollWait(epollFd: number, events: Uint8Array, most: number, timeoutMs: number): number {
    if (this.steps.length > 0) return super.epollWait(epollFd, events, most, timeoutMs)
    // As the real clock: not a small integer.
    this.time += 0.0625
    this.onBatch()
    events.fill(0, 0, EPOLL_EVENT_BYTES)
    events[0] = POLLIN
    events[EPOLL_TOKEN_AT] = this.watched.get(this.listenerFd)!
    this.#hasBatch = true
    return 1
  }

  override recvmmsg(fd: number, messages: Uint8Array, count: number): number {
    if (fd !== this.listenerFd || this.steps.length > 0 || this.#words.length === 0) {
      if (fd === this.listenerFd) this.#words = new Uint32Array(messages.buffer, messages.byteOffset, BATCH * WORDS)
      return super.recvmmsg(fd, messages, count)
    }
    if (!this.#hasBatch) return -11
    this.#hasBatch = false
    for (let k = 0; k < BATCH; k++) this.#words[k * WORDS + WORD_RECEIVED] = query.length
    return BATCH
  }

  override sendmmsg(fd: number, messages: Uint8Array, count: number): number {
    return fd === this.listenerFd ? count : super.sendmmsg(fd, messages, count)
  }
}

const settings = settingsWith({ cache: { prefetch: false } })
const counters = new WorkerCounters()
const sys = new BusyKernel()
const { port1 } = new MessageChannel()
const { fd, socket } = sys.addSocket()
sys.listenerFd = fd
const random = randomNumbers()
const driver = new BatchDriver({
  sys,
  counters,
  listeners: [{ address: '127.0.0.1', port: 53, family: 0, fd, isWildcard: false, isShared: false }],
  control: port1,
  wakeFd: sys.eventfd(),
  knockFds: [],
  openedFds: new Int32Array(256).fill(-1),
  random,
  settings,
  waiters: 2 * BATCH,
})
const engine = new Engine({ settings, outlet: driver, counters, random, seed: SEED, now: sys.time })
if (kind === 'mesh') engine.adopt(imageOf(new Map([service('web', 'shop', ['10.0.0.1'])])))

const none = new Uint8Array(0)
sys.steps = [
  () => {
    const name = socketAddress('127.0.0.1', 40_000).bytes
    for (let k = 0; k < BATCH; k++) socket.inbox.push({ bytes: query, name, control: none })
  },
  () => {
    // The one question that went upstream, if any did.
    for (const upstream of sys.upstreamSockets) {
      for (const { bytes } of upstream.sent)
        upstream.inbox.push({ bytes: answerTo(Buffer.from(bytes)), name: none, control: none })
    }
  },
]
let polls = 0
sys.onBatch = () => {
  polls++
  if (polls === WARM_UP_BATCHES) {
    globalThis.gc!()
    writeSync(1, 'BEGIN\n')
  }
  if (polls !== batches) return
  writeSync(1, 'END\n')
  driver.drain(0)
}
driver.run({ engine, stream: new StreamWorkerLink(2 * BATCH), log: () => {}, receive: () => {} })
const hits = counters.responsesOf(kind === 'mesh' ? Source.mesh : Source.cache, 0)
writeSync(1, `answered ${hits}\n`)
process.exit(0)

function answerTo(message: Buffer): Buffer {
  const { id, questions } = dnsPacket.decode(message)
  const answers = [{ type: 'A' as const, name: questions![0]!.name, ttl: 3600, data: '192.0.2.1' }]
  return dnsPacket.encode({ type: 'response', id: id!, flags: 0x180, questions: questions!, answers })
}
