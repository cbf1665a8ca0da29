/**
 * The control thread opens every listener and lends the descriptors to the workers. TCP first and without SO_REUSEPORT:
 * that is the lock that shows a port in use, which a second SO_REUSEPORT socket would not.
 */
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { createServer, type Server } from 'node:net'
import { isWildcard, socketAddress } from '../os/socket-address.ts'
import { EADDRINUSE, EADDRNOTAVAIL, errorName, type Syscalls } from '../os/syscalls.ts'
import type { WorkerListener } from '../worker/mailbox.ts'

const BACKLOG = 1024
/** Of each datagram socket, as far as the kernel grants it. */
export const BUFFER_BYTES: number = 4 << 20
const EAFNOSUPPORT = 97
/** Tries at one port for both transports when the system may choose it. */
const PORT_TRIES = 16

/** An address that cannot be listened on. */
export class BindError extends Error {
  readonly code: string
  readonly address: string

  constructor(address: string, code: string, message: string) {
    super(message)
    this.name = 'BindError'
    this.code = code
    this.address = address
  }
}

/** What was opened for one address. */
export interface OpenListener {
  address: string
  port: number
  family: 0 | 1
  isWildcard: boolean
  tcpFd: number
  /**
   * One per data worker, or more where a process with more workers opened them (a socket that is closed loses what is
   * queued in it); none where the workers open their own.
   */
  udpFds: number[]
  /** Several workers take datagrams from it. */
  isShared: boolean
  /**
   * Its datagram sockets are the service manager's (activation.ts), which keeps them and what is queued in them when this
   * process ends: several workers share one, rather than open others.
   */
  isActivated: boolean
}

/**
 * Opens UDP (one socket for each of `workers`) and TCP on an address. Null if this machine has no such address family:
 * a machine without IPv6 is no error. @throws BindError
 */
export function openListener(sys: Syscalls, address: string, port: number, workers: number): OpenListener | null {
  for (let n = 1; ; n++) {
    const listener = tryOpen(sys, address, port, workers, n < PORT_TRIES)
    if (listener !== 'again') return listener
  }
}

function tryOpen(
  sys: Syscalls,
  address: string,
  port: number,
  workers: number,
  mayTryAgain: boolean,
): OpenListener | null | 'again' {
  const wanted = sockaddrOf(address, port)
  const tcpFd = sys.openListener(wanted.family, wanted.bytes, BACKLOG)
  if (tcpFd === -EAFNOSUPPORT || (tcpFd === -EADDRNOTAVAIL && address === '::1')) return null
  if (tcpFd < 0) throw bindError(address, port, 'TCP', errorName(-tcpFd))
  const bound = port === 0 ? sys.boundPort(tcpFd) : port
  const udpFds: number[] = []
  for (let worker = 0; worker < workers; worker++) {
    const fd = openDatagram(sys, address, bound, workers > 1)
    if (fd >= 0) {
      udpFds.push(fd)
      continue
    }
    for (const open of [tcpFd, ...udpFds]) sys.close(open)
    if (port === 0 && -fd === EADDRINUSE && mayTryAgain) return 'again'
    throw bindError(address, bound, 'UDP', errorName(-fd))
  }
  return {
    address,
    port: bound,
    family: address.includes(':') ? 1 : 0,
    isWildcard: isWildcard(address),
    tcpFd,
    udpFds,
    isShared: workers > 1,
    isActivated: false,
  }
}

/**
 * Opens what is missing of a listener of which the service manager passed UDP or TCP alone. @throws BindError; the sockets
 * that were passed stay open then
 */
export function completeListener(sys: Syscalls, listener: OpenListener, workers: number): void {
  const { address, port } = listener
  if (listener.tcpFd < 0) {
    const { family, bytes } = sockaddrOf(address, port)
    const fd = sys.openListener(family, bytes, BACKLOG)
    if (fd < 0) throw bindError(address, port, 'TCP', errorName(-fd))
    listener.tcpFd = fd
  }
  if (listener.udpFds.length > 0) return
  listener.isShared = workers > 1
  while (listener.udpFds.length < workers) {
    const fd = openDatagram(sys, address, port, workers > 1)
    if (fd < 0) throw bindError(address, port, 'UDP', errorName(-fd))
    listener.udpFds.push(fd)
  }
}

/** @throws BindError for the zone of an interface that is not there */
function sockaddrOf(address: string, port: number): ReturnType<typeof socketAddress> {
  try {
    return socketAddress(address, port)
  } catch (error) {
    const where = `[${address}]:${port}`
    const reason = error instanceof Error ? error.message : String(error)
    throw new BindError(where, 'EADDRNOTAVAIL', `cannot listen on ${where}: ${reason}`)
  }
}

/**
 * Gives a listener that another process opened the datagram sockets that `workers` need more. The kernel spreads clients
 * over all of them from then on, so somebody must be about to read. @throws BindError; what was opened is closed then
 */
export function addSockets(sys: Syscalls, listener: OpenListener, workers: number): void {
  const { address, port, udpFds } = listener
  if (listener.isActivated || udpFds.length >= workers) return
  const added: number[] = []
  for (const fd of udpFds) sys.shareAddress(fd)
  while (udpFds.length + added.length < workers) {
    const fd = openDatagram(sys, address, port, true)
    if (fd < 0) {
      for (const other of added) sys.close(other)
      throw bindError(address, port, 'UDP', errorName(-fd))
    }
    added.push(fd)
  }
  udpFds.push(...added)
  listener.isShared = true
}

function openDatagram(sys: Syscalls, address: string, port: number, reusePort: boolean): number {
  const { bytes, family } = socketAddress(address, port)
  return sys.openDatagram(family, bytes, { reusePort, packetInfo: isWildcard(address), bufferBytes: BUFFER_BYTES })
}

/**
 * `openListener` without koffi, where descriptors cannot be lent: tries the address over both transports and closes it again,
 * so that whoever opens it next finds it free, and port 0 becomes a port. @throws BindError
 */
export async function probeListener(address: string, port: number, workers: number): Promise<OpenListener | null> {
  for (let n = 1; ; n++) {
    const server = createServer()
    const socket = createSocket({ type: address.includes(':') ? 'udp6' : 'udp4', ipv6Only: address.includes(':') })
    let transport = 'TCP'
    let bound = port
    try {
      server.listen({ host: address, port, ipv6Only: true, exclusive: true })
      await once(server, 'listening')
      const at = server.address()
      if (typeof at === 'object' && at !== null) bound = at.port
      transport = 'UDP'
      socket.bind({ address, port: bound, exclusive: true })
      await once(socket, 'listening')
      const family = address.includes(':') ? 1 : 0
      return {
        address,
        port: bound,
        family,
        isWildcard: isWildcard(address),
        tcpFd: -1,
        udpFds: [],
        isShared: workers > 1,
        isActivated: false,
      }
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
      if (code === 'EAFNOSUPPORT' || (code === 'EADDRNOTAVAIL' && address === '::1')) return null
      if (port === 0 && code === 'EADDRINUSE' && n < PORT_TRIES) continue
      throw bindError(address, bound, transport, code)
    } finally {
      await closed(server)
      await closed(socket)
    }
  }
}

async function closed(listener: Server | Socket): Promise<void> {
  await new Promise<void>((resolve) => {
    listener.close(() => resolve())
  })
}

/** What data worker `worker` of `workers` needs to know of a listener: an entry for each socket that it reads. */
export function forWorker(listener: OpenListener, worker: number, workers: number): WorkerListener[] {
  const { tcpFd: _tcpFd, isActivated: _isActivated, udpFds, ...rest } = listener
  if (udpFds.length === 0) return [{ ...rest, fd: -1 }]
  // Of the service manager's there may be fewer than workers.
  if (udpFds.length < workers) return [{ ...rest, fd: udpFds[worker % udpFds.length]! }]
  return udpFds.filter((_, k) => k % workers === worker).map((fd) => ({ ...rest, fd }))
}

/** The error for an address that could not be bound, with what to do about it. */
export function bindError(address: string, port: number, transport: string, code: string): BindError {
  const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const remedy: Record<string, string> = {
    EADDRINUSE: 'is in use by another process',
    EADDRNOTAVAIL: 'is not an address of this machine',
    EACCES: 'needs the right to bind ports below 1024 (CAP_NET_BIND_SERVICE)',
    EPERM: 'is not allowed here',
  }
  return new BindError(
    where,
    code,
    `cannot listen on ${where} (${transport}): the address ${remedy[code] ?? `gives ${code}`}`,
  )
}
