/**
 * The batch driver on sockets of the real kernel in the test's own thread, by both ways of calling sendmmsg: as a function
 * of the C library, and by number as on musl, which any Linux takes.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import dnsPacket from 'dns-packet'
import { afterEach, describe, expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { EACCES, EAGAIN, loadSyscalls, MSG_DONTWAIT, type Syscalls } from '../../src/os/syscalls.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { BatchDriver } from '../../src/worker/batch/batch-driver.ts'
import { DatagramRing } from '../../src/worker/batch/datagram-ring.ts'
import { forWorker, openListener } from '../../src/daemon/listener-sockets.ts'
import { StreamWorkerLink } from '../../src/worker/stream-worker-link.ts'
import { randomNumbers, SEED, settingsWith } from '../engine/engine-under-test.ts'
import { imageOf, service } from '../table/compiled.ts'
import { addressesOf, encodeQuery } from './dns-client.ts'
import { udpServer } from './data-plane.ts'

const EBADF = 9
const SLOTS = 64
const SLOT_BYTES = 512
const IMAGE = imageOf(new Map([service('web', 'shop', ['10.0.0.1', 'fd00::1']), service('w', 'shop', ['10.0.0.2'])]))

describe.each(['by name', 'by number'] as const)('sendmmsg %s', (how) => {
  const loaded = loadSyscalls(how)
  if (typeof loaded === 'string') throw new Error(loaded)
  const sys: Syscalls = loaded
  const fds: number[] = []
  const ports: MessagePort[] = []
  afterEach(() => {
    for (const fd of fds.splice(0)) sys.close(fd)
    for (const port of ports.splice(0)) port.close()
  })

  function opened(fd: number): number {
    expect(fd).toBeGreaterThanOrEqual(0)
    fds.push(fd)
    return fd
  }

  /** A socket on a port of its own; what is sent goes to `to`, if given. */
  function socket(to?: { address: string; port: number }): number {
    const { bytes, family } = socketAddress('127.0.0.1', 0)
    const fd = opened(sys.openDatagram(family, bytes, { reusePort: false, packetInfo: false, bufferBytes: 1 << 20 }))
    if (to !== undefined) expect(sys.connect(fd, socketAddress(to.address, to.port).bytes)).toBe(0)
    return fd
  }

  function send(fd: number, messages: Uint8Array[], names: Uint8Array[] = []): number {
    const ring = new DatagramRing(sys, SLOTS, SLOT_BYTES, names.length > 0 ? 28 : 0, 0)
    messages.forEach((message, k) => {
      ring.bytes.set(message, k * SLOT_BYTES)
      ring.names.set(names[k] ?? [], k * 32)
      ring.setLengths(k, message.length, names[k]?.length ?? 0, 0)
    })
    return sys.sendmmsg(fd, ring.headers, messages.length, MSG_DONTWAIT)
  }

  /** What has arrived, with the sockaddrs that it came from. Over loopback it is there when the sender's call returns. */
  function receive(fd: number): { bytes: Buffer; name: Buffer }[] {
    const ring = new DatagramRing(sys, SLOTS, SLOT_BYTES, 28, 0)
    const count = sys.recvmmsg(fd, ring.headers, SLOTS, MSG_DONTWAIT)
    return Array.from({ length: count === -EAGAIN ? 0 : count }, (_, k) => ({
      bytes: Buffer.from(ring.bytes.slice(k * SLOT_BYTES, k * SLOT_BYTES + ring.received(k))),
      name: Buffer.from(ring.names.slice(k * 32, k * 32 + ring.nameLengthOf(k))),
    }))
  }

  /** Calls of sendmmsg that the driver made: messages given, messages taken. */
  type Sends = { given: number; taken: number }[]

  /** Lets the driver answer what clients asked before, then end. `serve` runs before each of its waits. */
  function answer(
    listen: string,
    options: { ask: (port: number) => void; servers?: number[]; serve?: () => void },
  ): Sends {
    const listener = openListener(sys, listen, 0, 1)!
    for (const fd of [listener.tcpFd, ...listener.udpFds]) opened(fd)
    const sends: Sends = []
    const recording: Syscalls = {
      ...sys,
      epollWait: (set, events, most, timeoutMs) => {
        options.serve?.()
        return sys.epollWait(set, events, most, timeoutMs)
      },
      sendmmsg: (to, messages, given, flags) => {
        const taken = sys.sendmmsg(to, messages, given, flags)
        sends.push({ given, taken })
        return taken
      },
    }
    const servers = (options.servers ?? []).map((port) => udpServer(port))
    const settings = settingsWith({ servers })
    const counters = new WorkerCounters()
    const random = randomNumbers()
    const { port1, port2 } = new MessageChannel()
    ports.push(port1, port2)
    const driver = new BatchDriver({
      sys: recording,
      counters,
      listeners: forWorker(listener, 0, 1),
      control: port2,
      wakeFd: opened(sys.eventfd()),
      knockFds: [],
      openedFds: new Int32Array(256).fill(-1),
      random,
      settings,
      waiters: SLOTS,
    })
    const engine = new Engine({ settings, outlet: driver, counters, random, seed: SEED, now: driver.now() })
    engine.adopt(IMAGE)
    options.ask(listener.port)
    driver.drain(10_000)
    driver.run({ engine, stream: new StreamWorkerLink(SLOTS), log: () => {}, receive: () => {} })
    return sends
  }

  test('a batch arrives datagram by datagram, each at its own address', () => {
    const receivers = [socket(), socket(), socket()]
    const names = receivers.map((fd) => socketAddress('127.0.0.1', sys.boundPort(fd)).bytes)
    const sender = socket()
    expect(send(sender, [Buffer.from('one'), Buffer.from('two'), Buffer.alloc(400, 3)], names)).toBe(3)
    const from = Buffer.from(socketAddress('127.0.0.1', sys.boundPort(sender)).bytes)
    expect(receivers.map(receive)).toEqual([
      [{ bytes: Buffer.from('one'), name: from }],
      [{ bytes: Buffer.from('two'), name: from }],
      [{ bytes: Buffer.alloc(400, 3), name: from }],
    ])
  })

  test('errors are numbers: a batch ends before the datagram that fails, which says why when it is the first', () => {
    const receiver = socket()
    const good = socketAddress('127.0.0.1', sys.boundPort(receiver)).bytes
    // Nobody may send to the broadcast address without asking for it.
    const bad = socketAddress('255.255.255.255', 53).bytes
    const messages = [Buffer.from('one'), Buffer.from('two'), Buffer.from('three')]
    const sender = socket()
    expect(send(sender, messages, [good, bad, good])).toBe(1)
    expect(send(sender, messages.slice(1), [bad, good])).toBe(-EACCES)
    expect(send(sender, messages.slice(2), [good])).toBe(1)
    expect(receive(receiver).map(({ bytes }) => bytes.toString())).toEqual(['one', 'three'])
    expect(send(-1, messages)).toBe(-EBADF)
  })

  test('replies to one client leave as one message that the kernel cuts, and each arrives as it is', () => {
    const clients: number[] = []
    const sends = answer('127.0.0.1', {
      ask: (port) => {
        clients.push(socket({ address: '127.0.0.1', port }), socket({ address: '127.0.0.1', port }))
        const web = [1, 2, 3].map((id) => encodeQuery('web', 'A', { id }))
        expect(send(clients[0]!, [...web, encodeQuery('w', 'A', { id: 4 })])).toBe(4)
        expect(send(clients[1]!, [encodeQuery('web', 'A', { id: 5 }), encodeQuery('web', 'AAAA', { id: 6 })])).toBe(2)
      },
    })
    const [first, second] = [receive(clients[0]!), receive(clients[1]!)]
    expect(ids(first)).toEqual([1, 2, 3, 4])
    expect(first.map(({ bytes }) => addressesOf(dnsPacket.decode(bytes)))).toEqual([
      ['10.0.0.1'],
      ['10.0.0.1'],
      ['10.0.0.1'],
      ['10.0.0.2'],
    ])
    // Of two the longer leaves first.
    expect(ids(second)).toEqual([6, 5])
    expect(second.map(({ bytes }) => addressesOf(dnsPacket.decode(bytes)))).toEqual([['fd00::1'], ['10.0.0.1']])
    // Six replies: had the kernel refused to cut, six messages would have followed.
    expect(sends).toEqual([{ given: 2, taken: 2 }])
  })

  test('a wildcard listener: replies of one batch leave from the addresses asked', () => {
    const clients: number[] = []
    answer('0.0.0.0', {
      ask: (port) => {
        for (const address of ['127.0.0.2', '127.0.0.3']) {
          const fd = socket({ address, port })
          clients.push(fd)
          expect(send(fd, [encodeQuery('web', 'A', { id: 1 }), encodeQuery('web', 'A', { id: 2 })])).toBe(2)
        }
      },
    })
    // They are connected: what comes from another address does not reach them.
    for (const fd of clients) expect(ids(receive(fd))).toEqual([1, 2])
  })

  test('questions of a batch leave upstream by one call, and their answers come back by one', () => {
    const upstream = socket()
    const client = socket()
    const sends = answer('127.0.0.1', {
      ask: (port) => {
        expect(sys.connect(client, socketAddress('127.0.0.1', port).bytes)).toBe(0)
        const names = Array.from({ length: 20 }, (_, id) => encodeQuery(`n${id}.example`, 'A', { id }))
        expect(send(client, names)).toBe(20)
      },
      servers: [sys.boundPort(upstream)],
      serve: () => {
        const asked = receive(upstream)
        if (asked.length === 0) return
        const names = asked.map(({ name }) => name)
        expect(
          send(
            upstream,
            asked.map(({ bytes }) => answerTo(bytes)),
            names,
          ),
        ).toBe(asked.length)
      },
    })
    const answers = receive(client)
    expect(ids(answers).toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, id) => id))
    for (const { bytes } of answers) expect(addressesOf(dnsPacket.decode(bytes))).toEqual(['192.0.2.1'])
    // The server is on this machine, and they are of two sizes.
    expect([sends.length, sends[0]]).toEqual([2, { given: 2, taken: 2 }])
  })
})

function answerTo(query: Buffer): Buffer {
  const { id, questions } = dnsPacket.decode(query)
  const answers = [{ type: 'A' as const, name: questions![0]!.name, ttl: 300, data: '192.0.2.1' }]
  return dnsPacket.encode({ type: 'response', id: id!, flags: 0x180, questions: questions!, answers })
}

function ids(messages: { bytes: Buffer }[]): number[] {
  return messages.map(({ bytes }) => bytes.readUInt16BE(0))
}
