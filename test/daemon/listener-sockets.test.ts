import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { createServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import {
  addSockets,
  BindError,
  forWorker,
  openListener,
  type OpenListener,
  probeListener,
} from '../../src/daemon/listener-sockets.ts'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { openDescriptors, sys } from '../worker/data-plane.ts'

const open: OpenListener[] = []
afterEach(() => {
  for (const { tcpFd, udpFds } of open.splice(0)) for (const fd of [tcpFd, ...udpFds]) sys.close(fd)
})

function listen(address: string, port: number = 0, workers: number = 1): OpenListener {
  const listener = openListener(sys, address, port, workers)!
  open.push(listener)
  return listener
}

function errorOf(run: () => unknown): BindError {
  try {
    run()
  } catch (error) {
    if (error instanceof BindError) return error
    throw error
  }
  throw new Error('it was bound')
}

test.for<[string, number, boolean]>([
  ['127.0.0.1', 0, false],
  ['::1', 1, false],
  ['0.0.0.0', 0, true],
  ['::', 1, true],
])('%s: one port for UDP and TCP', ([address, family, isWildcard], context) => {
  skipWithoutIPv6(context, address)
  const listener = listen(address)
  expect(listener).toMatchObject({ address, family, isWildcard })
  expect(sys.boundPort(listener.tcpFd)).toBe(listener.port)
  expect(sys.boundPort(listener.udpFds[0]!)).toBe(listener.port)
})

test('both families side by side, wildcards too: IPv6 takes no IPv4', (context) => {
  skipWithoutIPv6(context)
  const { port } = listen('0.0.0.0')
  expect(listen('::', port).port).toBe(port)
})

test('a UDP socket for each worker', () => {
  expect(new Set(listen('127.0.0.1', 0, 4).udpFds).size).toBe(4)
})

describe('sockets for more workers than a listener was opened for', () => {
  test('share its address with those it has, and each is read by one worker', () => {
    const listener = listen('127.0.0.1')
    const [first] = listener.udpFds
    addSockets(sys, listener, 3)
    const { port, udpFds } = listener
    expect(udpFds).toHaveLength(3)
    expect(udpFds[0]).toBe(first)
    expect(udpFds.map((fd) => sys.boundPort(fd))).toEqual([port, port, port])
    expect([0, 1, 2].map((worker) => forWorker(listener, worker, 3).map(({ fd }) => fd))).toEqual(
      udpFds.map((fd) => [fd]),
    )
  })

  test('none is left unread by fewer workers', () => {
    const listener = listen('127.0.0.1', 0, 5)
    addSockets(sys, listener, 2)
    const read = [0, 1].map((worker) => forWorker(listener, worker, 2).map(({ fd }) => fd))
    const [a, b, c, d, e] = listener.udpFds
    expect(read).toEqual([
      [a, c, e],
      [b, d],
    ])
  })

  test('that cannot be had are an error, and nothing stays open', () => {
    const listener = listen('127.0.0.1')
    const before = openDescriptors()
    let opened = 0
    const failing = {
      ...sys,
      openDatagram: (...args: Parameters<typeof sys.openDatagram>) => (++opened > 1 ? -24 : sys.openDatagram(...args)),
    }
    expect(errorOf(() => addSockets(failing, listener, 3))).toMatchObject({ code: 'EMFILE' })
    expect(openDescriptors()).toBe(before)
    expect(listener.udpFds).toHaveLength(1)
  })
})

describe('a busy port', () => {
  test('by another byname: the address and what it is', () => {
    const { port } = listen('127.0.0.1', 0, 2)
    const error = errorOf(() => openListener(sys, '127.0.0.1', port, 2))
    expect(error.message).toBe(`cannot listen on 127.0.0.1:${port} (TCP): the address is in use by another process`)
    expect(error).toMatchObject({ code: 'EADDRINUSE', address: `127.0.0.1:${port}` })
  })

  test('over TCP by anybody, IPv6', async (context) => {
    skipWithoutIPv6(context)
    const server = createServer()
    server.listen(0, '::1')
    await once(server, 'listening')
    const bound = server.address()
    const port = typeof bound === 'object' ? bound!.port : 0
    expect(errorOf(() => openListener(sys, '::1', port, 1)).message).toContain(`[::1]:${port} (TCP)`)
    server.close()
  })

  test('over UDP by anybody: nothing stays open', async () => {
    // An address that no other test's TCP connection has: the port of one would be busy as well.
    const address = '127.77.0.9'
    const socket = createSocket('udp4').bind(0, address)
    await once(socket, 'listening')
    const before = openDescriptors()
    const { port } = socket.address()
    expect(errorOf(() => openListener(sys, address, port, 1)).message).toContain(`${address}:${port} (UDP)`)
    expect(openDescriptors()).toBe(before)
    socket.close()
  })
})

describe('without koffi an address is tried and left free again', () => {
  test.for(['127.0.0.1', '::1', '0.0.0.0', '::'])('%s: port 0 becomes a port', async (address, context) => {
    skipWithoutIPv6(context, address)
    const before = openDescriptors()
    const probed = (await probeListener(address, 0, 1))!
    expect(probed).toMatchObject({ address, tcpFd: -1, udpFds: [] })
    expect(probed.port).toBeGreaterThan(0)
    expect(openDescriptors()).toBe(before)
    expect(listen(address, probed.port).port).toBe(probed.port)
  })

  test('a busy port and an address of another machine have the same errors', async () => {
    const { port } = listen('127.0.0.1')
    await expect(probeListener('127.0.0.1', port, 1)).rejects.toMatchObject({
      code: 'EADDRINUSE',
      message: `cannot listen on 127.0.0.1:${port} (TCP): the address is in use by another process`,
    })
    await expect(probeListener('192.0.2.1', 5353, 1)).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' })
  })
})

test('an address of another machine', () => {
  const error = errorOf(() => openListener(sys, '192.0.2.1', 5353, 1))
  expect(error.message).toBe('cannot listen on 192.0.2.1:5353 (TCP): the address is not an address of this machine')
})

test('a machine without IPv6 is no error', () => {
  const withoutV6 = {
    ...sys,
    openListener: (family: number, address: Uint8Array, backlog: number) =>
      family === 10 ? -97 : sys.openListener(family, address, backlog),
  }
  expect(openListener(withoutV6, '::1', 15_053, 1)).toBeNull()
  const loopbackOff = { ...sys, openListener: () => -99 }
  expect(openListener(loopbackOff, '::1', 15_053, 1)).toBeNull()
})
