/**
 * The control thread opens every listener and lends the descriptors to the workers. TCP first and without SO_REUSEPORT:
 * that is the lock that shows a port in use, which a second SO_REUSEPORT socket would not.
 */
import { isWildcard, socketAddress } from '../os/socket-address.ts'
import { EADDRINUSE, EADDRNOTAVAIL, errorName, type Syscalls } from '../os/syscalls.ts'
import type { WorkerListener } from './mailbox.ts'

const BACKLOG = 1024
const BUFFER_BYTES = 4 << 20
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
  /** One per data worker. */
  udpFds: number[]
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

function tryOpen(sys: Syscalls, address: string, port: number, workers: number, mayTryAgain: boolean): OpenListener | null | 'again' {
  const wanted = socketAddress(address, port)
  const tcpFd = sys.openListener(wanted.family, wanted.bytes, BACKLOG)
  if (tcpFd === -EAFNOSUPPORT || (tcpFd === -EADDRNOTAVAIL && address === '::1')) return null
  if (tcpFd < 0) throw bindError(address, port, 'TCP', -tcpFd)
  const bound = port === 0 ? sys.boundPort(tcpFd) : port
  const { bytes, family } = socketAddress(address, bound)
  const udpFds: number[] = []
  for (let worker = 0; worker < workers; worker++) {
    const fd = sys.openDatagram(family, bytes, {
      reusePort: workers > 1,
      packetInfo: isWildcard(address),
      bufferBytes: BUFFER_BYTES,
    })
    if (fd >= 0) {
      udpFds.push(fd)
      continue
    }
    for (const open of [tcpFd, ...udpFds]) sys.close(open)
    if (port === 0 && -fd === EADDRINUSE && mayTryAgain) return 'again'
    throw bindError(address, bound, 'UDP', -fd)
  }
  return { address, port: bound, family: address.includes(':') ? 1 : 0, isWildcard: isWildcard(address), tcpFd, udpFds }
}

/** What a data worker needs to know of a listener. */
export function forWorker(listener: OpenListener, worker: number): WorkerListener {
  const { address, port, family } = listener
  return { address, port, family, fd: listener.udpFds[worker] ?? -1, isWildcard: listener.isWildcard }
}

/** The error for an address that could not be bound, with what to do about it. */
export function bindError(address: string, port: number, transport: string, error: number): BindError {
  const where = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const code = errorName(error)
  const remedy: Record<string, string> = {
    EADDRINUSE: 'is in use by another process',
    EADDRNOTAVAIL: 'is not an address of this machine',
    EACCES: 'needs the right to bind ports below 1024 (CAP_NET_BIND_SERVICE)',
    EPERM: 'is not allowed here',
  }
  return new BindError(where, code, `cannot listen on ${where} (${transport}): the address ${remedy[code] ?? `gives ${code}`}`)
}
