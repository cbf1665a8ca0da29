/** The batch driver on a scripted kernel: what the real one does too rarely to wait for. */
import { MessageChannel, type MessagePort } from 'node:worker_threads'
import dnsPacket from 'dns-packet'
import * as fc from 'fast-check'
import { afterEach, expect, test } from 'vitest'
import { Engine } from '../../src/engine/engine.ts'
import { READ_HEADER_BYTES, putRead } from '../../src/engine/stream-batch.ts'
import type { FromStream } from '../../src/engine/stream-port.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { EAGAIN, ECONNREFUSED, EINTR, EINVAL, EIO, EMSGSIZE, ENOBUFS, ENOMEM, ENOSYS } from '../../src/os/syscalls.ts'
import { Cell, Drop, Source, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { BatchDriver } from '../../src/worker/batch/batch-driver.ts'
import type { ToWorker, WorkerListener } from '../../src/worker/mailbox.ts'
import { StreamWorkerLink } from '../../src/worker/stream-worker-link.ts'
import { randomNumbers, SEED, type SettingsChange, settingsWith } from '../engine/engine-under-test.ts'
import { framed } from '../stream/dns-messages.ts'
import { imageOf, service } from '../table/compiled.ts'
import { addressesOf, encodeQuery, rcodeOf } from './dns-client.ts'
import { type FakeDatagram, type FakeSocket, FakeSyscalls } from './fake-syscalls.ts'
import { udpServer } from './data-plane.ts'

const IMAGE = imageOf(new Map([service('web', 'shop', ['10.0.0.1'])]))
const ports: MessagePort[] = []
afterEach(() => {
  for (const port of ports.splice(0)) port.close()
})

/** A driver with engine and stream link, on a kernel of the test's. */
class Loop {
  readonly sys: FakeSyscalls = new FakeSyscalls()
  readonly counters: WorkerCounters = new WorkerCounters()
  readonly control: MessagePort
  readonly wakeFd: number
  readonly listeners: FakeSocket[] = []
  readonly received: ToWorker[] = []
  readonly stream: StreamWorkerLink = new StreamWorkerLink(64)
  readonly openedFds: Int32Array = new Int32Array(256).fill(-1)
  readonly driver: BatchDriver
  readonly #engine: Engine

  constructor(options: { settings?: SettingsChange; addresses?: string[]; canCutMessages?: boolean } = {}) {
    const { sys } = this
    sys.canCutMessages = options.canCutMessages ?? true
    const settings = settingsWith({ servers: [udpServer(53, '192.0.2.53')], ...options.settings })
    const random = randomNumbers()
    const { port1, port2 } = new MessageChannel()
    ports.push(port1, port2)
    this.control = port1
    this.wakeFd = sys.eventfd()
    const listeners = (options.addresses ?? ['127.0.0.1']).map((address): WorkerListener => {
      const { fd, socket } = sys.addSocket()
      this.listeners.push(socket)
      const isWildcard = address === '0.0.0.0' || address === '::'
      return { address, port: 15_053, family: address.includes(':') ? 1 : 0, fd, isWildcard, isShared: false }
    })
    const { counters, openedFds, wakeFd } = this
    this.driver = new BatchDriver({
      sys,
      counters,
      listeners,
      control: port2,
      wakeFd,
      knockFds: [],
      openedFds,
      random,
      settings,
      waiters: 64,
    })
    this.#engine = new Engine({ settings, outlet: this.driver, counters, random, seed: SEED, now: sys.time })
    this.#engine.adopt(IMAGE)
    sys.onIdle = () => this.driver.drain(0)
  }

  /** Runs the loop: each step happens in a wait, then the driver is drained. */
  run(...steps: (() => number | void)[]): void {
    this.sys.steps = steps
    this.driver.run({
      engine: this.#engine,
      stream: this.stream,
      log: () => {},
      receive: (message) => void this.received.push(message),
    })
  }

  /** Delivers queries to a listener, from ports 40,000 + k on. */
  arrive(
    names: string[],
    listener: number = 0,
    control: Uint8Array = new Uint8Array(0),
    address: string = '127.0.0.1',
  ): void {
    names.forEach((name, k) => {
      const bytes = encodeQuery(name, 'A', { id: k })
      this.listeners[listener]!.inbox.push({ bytes, name: socketAddress(address, 40_000 + k).bytes, control })
    })
  }
}

function web(count: number): string[] {
  return Array.from({ length: count }, () => 'web')
}

/** Ids of what was sent, in order. */
function idsOf(datagrams: FakeDatagram[]): number[] {
  return datagrams.map(({ bytes }) => (bytes[0]! << 8) | bytes[1]!)
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, k) => k)
}

function decode({ bytes }: FakeDatagram): dnsPacket.DecodedPacket {
  return dnsPacket.decode(Buffer.from(bytes))
}

/** The reply to a query that was sent upstream. */
function replyTo(query: FakeDatagram, address: string = '192.0.2.1'): FakeDatagram {
  const { id, questions } = decode(query)
  const answers = [{ type: 'A' as const, name: questions![0]!.name, ttl: 300, data: address }]
  const bytes = dnsPacket.encode({ type: 'response', id: id!, flags: 0x180, questions: questions!, answers })
  return { bytes, name: new Uint8Array(0), control: new Uint8Array(0) }
}

test('each reply goes to the port that its query came from', () => {
  const loop = new Loop()
  loop.run(() => loop.arrive(web(10)))
  const { sent } = loop.listeners[0]!
  expect(idsOf(sent)).toEqual(upTo(10))
  sent.forEach(({ name }, k) => expect(Buffer.from(name)).toEqual(socketAddress('127.0.0.1', 40_000 + k).bytes))
})

test('sendmmsg takes a part: the rest is sent after it, each once and in order', () => {
  const loop = new Loop()
  loop.listeners[0]!.sendLimits.push(3, 1, 4)
  loop.run(() => loop.arrive(web(10)))
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(10))
  expect(loop.listeners[0]!.sendCalls).toBe(4)
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(0)
})

test.each([0, 4, 9])('the reply that cannot be sent (number %i) is left out and counted; the others go', (bad) => {
  const loop = new Loop()
  loop.listeners[0]!.refuses = ({ bytes }) => (bytes[1] === bad ? EINVAL : 0)
  loop.run(() => loop.arrive(web(10)))
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(10).filter((id) => id !== bad))
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(1)
})

test('every reply fails: all are counted and the loop goes on', () => {
  const loop = new Loop()
  loop.listeners[0]!.refuses = () => EINVAL
  loop.run(
    () => loop.arrive(web(64)),
    () => {
      loop.listeners[0]!.refuses = () => 0
      loop.arrive(['web'])
    },
  )
  expect(loop.listeners[0]!.sent).toHaveLength(1)
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(64)
})

test.each([
  ['EAGAIN', EAGAIN],
  ['ENOBUFS', ENOBUFS],
  ['ENOMEM', ENOMEM],
])('%s: room is waited for, then all is sent', (_name, error) => {
  const loop = new Loop()
  loop.listeners[0]!.sendLimits.push(2, -error)
  loop.run(() => loop.arrive(web(10)))
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(10))
  expect(loop.sys.roomPolls).toBe(1)
})

/** Queries of one client, which get replies of these sizes: the longer the name, the longer the reply. */
function burst(loop: Loop, sizes: number[], port: number = 40_000, address: string = '127.0.0.1'): void {
  for (const [k, size] of sizes.entries()) {
    const bytes = encodeQuery(`${'x'.repeat(size)}.invalid`, 'A', { id: loop.listeners[0]!.inbox.length })
    expect(k).toBeLessThan(64)
    loop.listeners[0]!.inbox.push({ bytes, name: socketAddress(address, port).bytes, control: new Uint8Array(0) })
  }
}

test.each([
  ['equal sizes: one message', [8, 8, 8, 8], 1],
  ['the last one shorter: one message', [8, 8, 5], 1],
  ['two, the second longer: one message, the longer first', [5, 8], 1],
  ['one shorter in between: one message, the shorter last', [8, 5, 8, 8], 1],
  ['two sizes in turn: two messages', [8, 5, 8, 5], 2],
  ['two sizes and a lone third: it ends the message of longer ones', [8, 8, 5, 5, 7], 2],
  ['longer and longer: two by two', [4, 5, 6, 7], 2],
])('replies to one client, %s', (_name, sizes, messages) => {
  const loop = new Loop()
  loop.run(() => burst(loop, sizes))
  const [listener] = loop.listeners
  expect(listener!.messages).toBe(messages)
  expect(idsOf(listener!.sent).toSorted((a, b) => a - b)).toEqual(upTo(sizes.length))
  for (const reply of listener!.sent) expect(decode(reply).questions![0]!.name).toMatch(/^x+\.invalid$/)
})

test('replies to several clients: each message goes to one of them, whatever order they asked in', () => {
  const loop = new Loop()
  loop.run(() => {
    for (let round = 0; round < 3; round++) {
      for (const port of [40_000, 40_001, 40_064]) burst(loop, [6], port)
      burst(loop, [6], 40_000, '127.0.0.2')
    }
  })
  const [listener] = loop.listeners
  const asked = [
    socketAddress('127.0.0.1', 40_000),
    socketAddress('127.0.0.1', 40_001),
    socketAddress('127.0.0.1', 40_064),
    socketAddress('127.0.0.2', 40_000),
  ]
  expect(listener!.sent).toHaveLength(12)
  // Ids count up as the clients take turns.
  for (const { bytes, name } of listener!.sent) expect(Buffer.from(name)).toEqual(asked[bytes[1]! % 4]!.bytes)
  expect(listener!.messages).toBeLessThan(12)
})

test('whatever sizes and clients come together: every reply is whole and goes where it belongs', () => {
  const query = fc.record({ port: fc.integer({ min: 40_000, max: 40_004 }), size: fc.integer({ min: 1, max: 5 }) })
  fc.assert(
    fc.property(fc.array(query, { maxLength: 63 }), (queries) => {
      const loop = new Loop()
      loop.run(() => queries.forEach(({ port, size }) => burst(loop, [size], port)))
      const [listener] = loop.listeners
      expect(idsOf(listener!.sent).toSorted((a, b) => a - b)).toEqual(upTo(queries.length))
      for (const reply of listener!.sent) {
        const { port, size } = queries[reply.bytes[1]!]!
        expect(Buffer.from(reply.name)).toEqual(socketAddress('127.0.0.1', port).bytes)
        expect(decode(reply).questions![0]!.name).toBe(`${'x'.repeat(size)}.invalid`)
      }
      const ofOneKind = new Map<string, number>()
      for (const { port, size } of queries) ofOneKind.set(`${port} ${size}`, 1)
      expect(listener!.messages).toBeLessThanOrEqual(ofOneKind.size)
    }),
    { numRuns: 100 },
  )
})

test('messages of several that are refused: every reply goes alone, none is lost, and it is tried again more and more rarely', () => {
  const loop = new Loop()
  const [listener] = loop.listeners
  listener!.refusesSegments = EINVAL
  // Of so many batches those that are tried as one message: 0, 2, 5, 10, 19.
  const rounds = 20
  loop.run(...upTo(rounds).map(() => () => burst(loop, [8, 8, 8])))
  expect(idsOf(listener!.sent)).toEqual(upTo(rounds).flatMap(() => [0, 1, 2]))
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(0)
  expect(listener!.sendCalls).toBe(rounds + 5)
})

test.each([
  ['EINVAL', EINVAL],
  ['ENOBUFS', ENOBUFS],
])('one message refused with %s: soon all leave as one again', (_name, error) => {
  const loop = new Loop()
  const [listener] = loop.listeners
  let messages = 0
  loop.run(
    () => {
      listener!.refusesSegments = error
      burst(loop, [8, 8, 8])
    },
    () => {
      listener!.refusesSegments = 0
      burst(loop, [8, 8, 8])
    },
    () => {
      messages = listener!.messages
      burst(loop, [8, 8, 8])
    },
  )
  expect(messages).toBe(6)
  expect(listener!.messages).toBe(7)
  expect(idsOf(listener!.sent)).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2])
})

test('a kernel without UDP_SEGMENT: nothing but single messages', () => {
  const loop = new Loop({ canCutMessages: false })
  loop.run(() => burst(loop, [8, 8, 8]))
  expect(loop.listeners[0]!.messages).toBe(3)
  expect(idsOf(loop.listeners[0]!.sent)).toEqual([0, 1, 2])
})

test('a send buffer that stays full: what messages of several replies hold is counted reply by reply', () => {
  const loop = new Loop()
  loop.listeners[0]!.sendLimits.push(1, -EAGAIN, -EAGAIN)
  loop.run(() => {
    burst(loop, [8, 8], 40_001)
    burst(loop, [8, 8, 8], 40_002)
  })
  expect(idsOf(loop.listeners[0]!.sent)).toEqual([0, 1])
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(3)
})

test('under load the next datagrams are let gather; a few never wait', () => {
  const loop = new Loop()
  loop.run(
    () => loop.arrive(web(15)),
    () => expect(loop.sys.sleeps).toBe(0),
    () => loop.arrive(web(16)),
    () => expect(loop.sys.sleeps).toBe(1),
    () => expect(loop.sys.sleeps).toBe(1),
  )
})

test('a send buffer that stays full: what does not fit is given up and counted, and the next batch is tried', () => {
  const loop = new Loop()
  loop.listeners[0]!.sendLimits.push(2, -EAGAIN, -EAGAIN)
  loop.run(
    () => loop.arrive(web(10)),
    () => loop.arrive(web(3)),
  )
  expect(idsOf(loop.listeners[0]!.sent)).toEqual([0, 1, 0, 1, 2])
  expect(loop.counters.droppedOf(Drop.sendFailed)).toBe(8)
})

test('an interrupted sendmmsg is called again', () => {
  const loop = new Loop()
  loop.listeners[0]!.sendLimits.push(-EINTR, 5, -EINTR, -EINTR)
  loop.run(() => loop.arrive(web(10)))
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(10))
})

test.each([
  ['EINTR', EINTR, 0],
  ['EAGAIN', EAGAIN, 0],
  ['ECONNREFUSED', ECONNREFUSED, 1],
])('recvmmsg on a listener gives %s: the queries behind it are read in the next round', (_name, error, taken) => {
  const loop = new Loop()
  loop.run(
    () => {
      loop.listeners[0]!.receiveErrors.push(error)
      loop.arrive(web(3))
    },
    () => {},
  )
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(3))
  expect(loop.listeners[0]!.errorsTaken).toBe(taken)
})

test('an error that stays, round after round, ends the loop: it would spin and answer nobody', () => {
  const loop = new Loop({ addresses: ['127.0.0.1', '127.0.0.2'] })
  loop.listeners[1]!.receiveErrors.push(...Array.from({ length: 5000 }, () => ENOSYS))
  loop.sys.onIdle = () => {}
  expect(() => loop.run(() => loop.arrive(web(1)))).toThrow(
    'recvmmsg on 127.0.0.2 port 15053 gives ENOSYS, 1000 times in a row',
  )
  expect(loop.sys.timeouts).toHaveLength(1000)
  // The other one was served all the while.
  expect(loop.listeners[0]!.sent).toHaveLength(1)
})

test('errors that come again and again, with a round without between them, do not end it', () => {
  const loop = new Loop()
  const fail = (): void => {
    loop.listeners[0]!.receiveErrors.push(...Array.from({ length: 999 }, () => ECONNREFUSED))
  }
  const rounds = Array.from({ length: 1000 }, () => () => {})
  loop.run(fail, ...rounds, fail, ...rounds, () => loop.arrive(web(1)))
  expect(loop.listeners[0]!.errorsTaken).toBe(2 * 999)
  expect(loop.listeners[0]!.sent).toHaveLength(1)
})

test('errors behind queries that are answered do not end it', () => {
  const loop = new Loop()
  const [listener] = loop.listeners
  const recvmmsg = loop.sys.recvmmsg.bind(loop.sys)
  let calls = 0
  // Of each round the first call brings a batch of two, the next one an error.
  loop.sys.recvmmsg = (...call) => (++calls % 2 === 0 ? -ECONNREFUSED : recvmmsg(...call))
  loop.run(...Array.from({ length: 2000 }, () => () => loop.arrive(web(2))))
  expect(listener!.sent).toHaveLength(4000)
})

test('a wait that is refused, round after round, ends the loop', () => {
  const loop = new Loop()
  const refused = Array.from({ length: 1000 }, () => () => ENOSYS)
  expect(() => loop.run(...refused)).toThrow('epoll_wait gives ENOSYS, 1000 times in a row')
})

test('an interrupted wait is no event: what it left in the set is not looked at', () => {
  const loop = new Loop()
  loop.run(
    () => loop.arrive(web(1)),
    // The set still says that the listener is readable.
    () => EINTR,
    () => loop.arrive(web(1)),
  )
  expect(loop.listeners[0]!.sent).toHaveLength(2)
  expect(loop.counters.get(Cell.batches)).toBe(2)
})

test('idle means no wake-ups: the wait has no end unless something is due', () => {
  const loop = new Loop()
  loop.run(
    () => loop.arrive(web(1)),
    () => loop.arrive(['outside.example']),
    () => {
      const [upstream] = loop.sys.upstreamSockets
      upstream!.inbox.push(replyTo(upstream!.sent[0]!))
    },
    () => loop.arrive(['outside.example']),
    () => {},
  )
  expect(loop.listeners[0]!.sent).toHaveLength(3)
  // Before the first query, after a hit, with a question under way (one attempt's time), after its answer, after a cache hit.
  expect(loop.sys.timeouts.slice(0, 5)).toEqual([-1, -1, 1000, -1, -1])
})

test('more than one batch: read in a row, but not for ever, so that other listeners get their turn', () => {
  const loop = new Loop({ addresses: ['127.0.0.1', '127.0.0.2'] })
  loop.run(
    () => {
      loop.arrive(web(64 * 9))
      loop.arrive(web(1), 1)
    },
    () => {
      expect(loop.listeners.map(({ sent }) => sent.length)).toEqual([64 * 8, 1])
    },
  )
  expect(loop.listeners[0]!.sent).toHaveLength(64 * 9)
})

test('hundreds of listeners: an answer that had to be waited for leaves by the one that was asked', () => {
  const loop = new Loop({ addresses: Array.from({ length: 300 }, () => '127.0.0.1') })
  const asked = [0, 127, 128, 255, 256, 299]
  loop.run(
    () => asked.forEach((listener) => loop.arrive([`n${listener}.example`], listener)),
    () => {
      const [upstream] = loop.sys.upstreamSockets
      upstream!.inbox.push(...upstream!.sent.map((query) => replyTo(query)))
    },
  )
  for (const listener of asked) expect(loop.listeners[listener]!.sent).toHaveLength(1)
})

test('questions of a batch leave by one call, and their answers too', () => {
  const loop = new Loop()
  loop.run(
    () => loop.arrive(upTo(20).map((k) => `n${k}.example`)),
    () => {
      const [upstream] = loop.sys.upstreamSockets
      expect(upstream!.sendCalls).toBe(1)
      upstream!.inbox.push(...upstream!.sent.map((query) => replyTo(query)))
    },
  )
  expect(loop.listeners[0]!.sendCalls).toBe(1)
  expect(idsOf(loop.listeners[0]!.sent)).toEqual(upTo(20))
  expect(loop.counters.get(Cell.inFlight)).toBe(0)
})

/** Twenty names of one length and two of others. */
const OUTSIDE = [...upTo(20).map((k) => `n${k + 10}.example`), 'long-name.example', 'n.example']

test.each([
  ['127.0.0.53', 2],
  ['::1', 2],
  ['192.0.2.53', OUTSIDE.length],
  ['2001:db8::53', OUTSIDE.length],
])(
  'questions of a batch to %s leave as %i messages: several in one only where no network is between',
  (at, messages) => {
    const loop = new Loop({ settings: { servers: [udpServer(53, at)] } })
    loop.run(
      () => loop.arrive(OUTSIDE),
      () => {
        const [upstream] = loop.sys.upstreamSockets
        expect(upstream!.sendCalls).toBe(1)
        expect(upstream!.messages).toBe(messages)
        expect(upstream!.sent.map((query) => decode(query).questions![0]!.name).toSorted()).toEqual(OUTSIDE.toSorted())
        upstream!.inbox.push(...upstream!.sent.map((query) => replyTo(query)))
      },
    )
    expect(idsOf(loop.listeners[0]!.sent).toSorted((a, b) => a - b)).toEqual(upTo(OUTSIDE.length))
  },
)

/** A loop whose one server, on this machine, is asked by sockets that are made so first. */
function withLocalServer(prepare: (socket: FakeSocket) => void): Loop {
  const loop = new Loop({ settings: { servers: [udpServer(53, '127.0.0.53')] } })
  const { sys } = loop
  const connect = sys.connect.bind(sys)
  sys.connect = (fd, address) => {
    prepare(sys.sockets.get(fd)!)
    return connect(fd, address)
  }
  return loop
}

test.each([
  ['EINVAL', EINVAL],
  ['EIO', EIO],
  ['EMSGSIZE', EMSGSIZE],
])(
  'a message of several questions that is refused with %s: each goes alone, and nothing is held against the server',
  (_name, error) => {
    const loop = withLocalServer((socket) => (socket.refusesSegments = error))
    loop.run(
      () => loop.arrive(OUTSIDE),
      () => {
        const [upstream] = loop.sys.upstreamSockets
        expect(upstream!.messages).toBe(OUTSIDE.length)
        upstream!.inbox.push(...upstream!.sent.map((query) => replyTo(query)))
      },
    )
    expect(loop.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBe(0)
    expect(loop.listeners[0]!.sent).toHaveLength(OUTSIDE.length)
  },
)

test('an ICMP error of an earlier question stops a message of several: it is the server’s, and the message is sent all the same', () => {
  let isFirst = true
  const loop = withLocalServer((socket) => {
    if (isFirst) socket.sendLimits.push(-ECONNREFUSED)
    isFirst = false
  })
  loop.run(
    () => loop.arrive(OUTSIDE),
    () => {},
    () => {
      const [first] = loop.sys.upstreamSockets
      expect(first!.messages).toBe(2)
      for (const socket of loop.sys.upstreamSockets) socket.inbox.push(...socket.sent.map((query) => replyTo(query)))
    },
  )
  expect(loop.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBeGreaterThan(0)
  expect(loop.listeners[0]!.sent).toHaveLength(OUTSIDE.length)
})

test('a message of several questions that cannot leave at all is given up as one, and the next again leave so', () => {
  const loop = withLocalServer((socket) => socket.sendLimits.push(-ECONNREFUSED, -ECONNREFUSED))
  loop.run(
    () => loop.arrive(OUTSIDE.slice(0, 20)),
    () => {},
    () => {
      const asked = loop.sys.upstreamSockets.filter(({ sent }) => sent.length > 0)
      for (const socket of asked) {
        expect(socket.messages).toBeLessThan(socket.sent.length)
        socket.inbox.push(...socket.sent.map((query) => replyTo(query)))
      }
    },
  )
  expect(loop.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBeGreaterThan(0)
})

test('sending a query gives an ICMP error of an earlier one: it is sent all the same, and asked again elsewhere', () => {
  const loop = new Loop()
  const { sys } = loop
  const connect = sys.connect.bind(sys)
  sys.connect = (fd, address) => {
    if (sys.upstreamSockets.length === 0) sys.sockets.get(fd)!.sendLimits.push(-ECONNREFUSED)
    return connect(fd, address)
  }
  loop.run(
    () => loop.arrive(['outside.example']),
    () => {},
    () => {
      const [first, second] = sys.upstreamSockets
      expect(first!.sent).toHaveLength(1)
      second!.inbox.push(replyTo(second!.sent[0]!))
    },
  )
  expect(loop.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBe(1)
  expect(addressesOf(decode(loop.listeners[0]!.sent[0]!))).toEqual(['192.0.2.1'])
})

test.each([
  ['EAGAIN', EAGAIN],
  ['ENOBUFS', ENOBUFS],
])(
  'a send buffer towards a server that stays full (%s) is no failure of the server: it is asked again',
  (_name, error) => {
    const loop = new Loop()
    const { sys } = loop
    const connect = sys.connect.bind(sys)
    sys.connect = (fd, address) => {
      if (sys.upstreamSockets.length === 0) sys.sockets.get(fd)!.sendLimits.push(-error, -error)
      return connect(fd, address)
    }
    loop.run(
      () => loop.arrive(['outside.example']),
      () => expect(sys.upstreamSockets[0]!.sent).toHaveLength(0),
      () => {
        const again = sys.upstreamSockets.find((socket) => socket.sent.length > 0)
        again!.inbox.push(replyTo(again!.sent[0]!))
      },
    )
    expect(loop.counters.upstreamGet(0, UpstreamField.failuresNetwork)).toBe(0)
    expect(loop.listeners[0]!.sent).toHaveLength(1)
  },
)

test('recvmmsg on an upstream socket says ECONNREFUSED: the next server is asked at once', () => {
  const servers = [udpServer(53, '192.0.2.1'), udpServer(53, '192.0.2.2')]
  const loop = new Loop({ settings: { servers } })
  loop.run(
    () => loop.arrive(['outside.example']),
    () => void loop.sys.upstreamSockets[0]!.receiveErrors.push(ECONNREFUSED),
    () => {
      const second = loop.sys.upstreamSockets[1]!
      expect(Buffer.from(second.connectedTo!)).toEqual(socketAddress('192.0.2.2', 53).bytes)
      second.inbox.push(replyTo(second.sent[0]!, '192.0.2.99'))
    },
  )
  expect(addressesOf(decode(loop.listeners[0]!.sent[0]!))).toEqual(['192.0.2.99'])
})

test('an error that waiting alone reports is taken off the socket', () => {
  const loop = new Loop()
  loop.run(
    () => loop.arrive(['outside.example']),
    () => {
      loop.sys.upstreamSockets[0]!.pendingError = ECONNREFUSED
    },
    () => {
      const upstream = loop.sys.upstreamSockets[0]!
      expect(upstream.errorsTaken).toBe(1)
      upstream.inbox.push(replyTo(upstream.sent[0]!))
    },
  )
  expect(loop.listeners[0]!.sent).toHaveLength(1)
})

test('a query that was cut is a FORMERR, a reply that was cut is asked for again over TCP', () => {
  const loop = new Loop()
  const { port1, port2 } = new MessageChannel()
  ports.push(port1, port2)
  loop.stream.attach(port1)
  const posted = Promise.withResolvers<unknown>()
  port2.on('message', posted.resolve)
  loop.run(
    () => {
      const bytes = Buffer.concat([encodeQuery('web', 'A', { id: 9 }), Buffer.alloc(5000)])
      loop.listeners[0]!.inbox.push({ bytes, name: socketAddress('127.0.0.1', 4000).bytes, control: new Uint8Array(0) })
    },
    () => loop.arrive(['outside.example']),
    () => {
      const upstream = loop.sys.upstreamSockets[0]!
      const reply = replyTo(upstream.sent[0]!)
      upstream.inbox.push({ ...reply, bytes: Buffer.concat([reply.bytes, Buffer.alloc(5000)]) })
    },
  )
  expect(rcodeOf(decode(loop.listeners[0]!.sent[0]!))).toBe('FORMERR')
  return expect(posted.promise).resolves.toMatchObject({
    kind: 'upstreamQuery',
    transport: 'tcp',
    server: udpServer(53, '192.0.2.53').label,
    attemptMs: 1000,
  })
})

test('a query from port 0 is dropped and counted: nobody could get the answer', () => {
  const loop = new Loop()
  loop.run(() => {
    loop.arrive(web(2))
    loop.listeners[0]!.inbox[0]!.name.fill(0, 2, 4)
  })
  expect(idsOf(loop.listeners[0]!.sent)).toEqual([1])
  expect(loop.counters.droppedOf(Drop.sourcePortZero)).toBe(1)
})

test('a wildcard listener: the packet info of the query goes out with its reply, held or not, without the interface', () => {
  const loop = new Loop({ addresses: ['0.0.0.0', '::'] })
  loop.run(
    () => {
      loop.arrive(['web', 'outside.example'], 0, packetInfo4('127.0.0.2', 7))
      loop.arrive(['web'], 1, packetInfo6('fd00::5', 7), '::1')
      loop.arrive(['web'], 1, packetInfo6('fe80::5', 7), '::1')
    },
    () => {
      const [upstream] = loop.sys.upstreamSockets
      upstream!.inbox.push(replyTo(upstream!.sent[0]!))
    },
  )
  const [v4, v6] = loop.listeners
  expect(v4!.sent.map(({ control }) => Buffer.from(control))).toEqual([
    packetInfo4('127.0.0.2', 0),
    packetInfo4('127.0.0.2', 0),
  ])
  // A link-local address means nothing without its interface.
  expect(v6!.sent.map(({ control }) => Buffer.from(control))).toEqual([
    packetInfo6('fd00::5', 0),
    packetInfo6('fe80::5', 7),
  ])
})

test('mail is read to the end, however much there is', () => {
  const loop = new Loop()
  loop.run(
    () => {
      for (let k = 0; k < 200; k++)
        loop.control.postMessage({ kind: 'request', number: k, name: 'ping', payload: null } satisfies ToWorker)
      loop.sys.wake(loop.wakeFd)
    },
    () => {},
    () => {},
    () => {},
  )
  expect(loop.received).toHaveLength(200)
})

test('stream queries are read to the end, and their answers posted', async () => {
  const loop = new Loop()
  const { port1, port2 } = new MessageChannel()
  ports.push(port1, port2)
  loop.stream.attach(port1)
  let settled = 0
  const all = Promise.withResolvers<void>()
  port2.on('message', (message: { writes: Uint8Array }) => {
    settled += (message.writes[11]! | (message.writes[10]! << 8)) >>> 0
    if (settled === 200) all.resolve()
  })
  loop.run(
    () => {
      for (let k = 0; k < 200; k++) {
        const frame = framed(encodeQuery('web', 'A', { id: k }))
        const reads = new Uint8Array(READ_HEADER_BYTES + frame.length)
        putRead(reads, 0, 1, Uint8Array.of(127, 0, 0, 1), frame)
        port2.postMessage({ kind: 'queries', reads } satisfies FromStream)
      }
      loop.sys.wake(loop.wakeFd)
    },
    () => {},
    () => {},
    () => {},
  )
  await all.promise
  expect(loop.counters.requestsOf(1, 0, 1)).toBe(200)
  expect(loop.counters.responsesOf(Source.mesh, 0)).toBe(200)
})

test('replaced sockets are closed once nothing more can come, and all when the loop ends', () => {
  const loop = new Loop({ settings: { deadlineMs: 1000, attemptTimeoutMs: 1000 } })
  loop.run(
    () => loop.arrive(['one.example']),
    () => {
      const [upstream] = loop.sys.upstreamSockets
      upstream!.inbox.push(replyTo(upstream!.sent[0]!))
    },
    () => {
      loop.driver.configure(settingsWith({ servers: [udpServer(53, '192.0.2.54')] }))
    },
    () => {
      expect([loop.sys.timeouts.at(-1), loop.sys.upstreamSockets]).toEqual([-1, []])
    },
  )
  expect(loop.sys.upstreamSockets).toEqual([])
  expect(loop.sys.closed.length).toBeGreaterThan(0)
  expect(loop.openedFds.every((fd) => fd === -1)).toBe(true)
})

/** `struct cmsghdr` with an in_pktinfo: interface, own address, address asked. */
function packetInfo4(address: string, index: number): Buffer {
  const bytes = Buffer.alloc(32)
  bytes.writeBigUInt64LE(28n, 0)
  bytes.writeInt32LE(0, 8)
  bytes.writeInt32LE(8, 12)
  bytes.writeInt32LE(index, 16)
  bytes.set(socketAddress(address, 0).bytes.subarray(4, 8), 20)
  bytes.set(socketAddress(address, 0).bytes.subarray(4, 8), 24)
  return bytes
}

/** `struct cmsghdr` with an in6_pktinfo: address asked, interface. */
function packetInfo6(address: string, index: number): Buffer {
  const bytes = Buffer.alloc(40)
  bytes.writeBigUInt64LE(36n, 0)
  bytes.writeInt32LE(41, 8)
  bytes.writeInt32LE(50, 12)
  bytes.set(socketAddress(address, 0).bytes.subarray(8, 24), 16)
  bytes.writeInt32LE(index, 32)
  return bytes
}
