/**
 * Whether the batch driver's system calls can be had: that koffi loads says nothing of what a seccomp filter or a sandbox
 * lets through, and a loop over calls that are refused answers nobody.
 */
import { socketAddress } from '../../os/socket-address.ts'
import {
  EACCES,
  EAGAIN,
  EINTR,
  ENOSYS,
  EPERM,
  errorName,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLFD_BYTES,
  POLLIN,
  type Syscalls,
} from '../../os/syscalls.ts'
import { DatagramRing } from './datagram-ring.ts'

const LOOPBACK: readonly string[] = ['127.0.0.1', '::1']
const MESSAGE: Uint8Array = Buffer.from('byname tries its system calls')
const BUFFER_BYTES = 4096
/** Over loopback a datagram is there when the call that sent it returns; a machine under load may take a moment. */
const ARRIVAL_MS = 20

/**
 * Tries each call on a socket that sends to itself over loopback, which takes some hundred microseconds. Null: they work;
 * else what does not, in a line for people.
 */
export function tryBatchCalls(sys: Syscalls): string | null {
  const wakeFd = sys.eventfd()
  if (wakeFd < 0) return refusal('eventfd', wakeFd)
  const loop = openLoop(sys)
  try {
    return typeof loop === 'string' ? loop : (tryWaking(sys, wakeFd) ?? trySending(sys, loop))
  } finally {
    sys.close(wakeFd)
    if (typeof loop !== 'string') sys.close(loop.fd)
  }
}

interface Loop {
  fd: number
  /** Sockaddr of the socket itself. */
  address: Uint8Array
}

/** A socket connected to itself, so that nobody else's datagrams come in between. */
function openLoop(sys: Syscalls): Loop | string {
  let obstacle = ''
  for (const literal of LOOPBACK) {
    const { bytes: anyPort, family } = socketAddress(literal, 0)
    const fd = sys.openDatagram(family, anyPort, { reusePort: false, packetInfo: false, bufferBytes: BUFFER_BYTES })
    if (fd < 0) {
      obstacle ||= refusal(`a socket on ${literal}`, fd)
      continue
    }
    const { bytes: address } = socketAddress(literal, sys.boundPort(fd))
    const connected = sys.connect(fd, address)
    if (connected >= 0) return { fd, address }
    sys.close(fd)
    obstacle ||= refusal('connect', connected)
  }
  return obstacle
}

function tryWaking(sys: Syscalls, wakeFd: number): string | null {
  sys.wake(wakeFd)
  const ready = waitFor(sys, wakeFd, 0)
  sys.drain(wakeFd)
  if (ready < 0) return refusal('poll', ready)
  return ready === 1 ? null : 'poll does not see what was written to an eventfd'
}

function trySending(sys: Syscalls, { fd, address }: Loop): string | null {
  const ring = new DatagramRing(sys, 1, MESSAGE.length, address.length, 0)
  ring.bytes.set(MESSAGE)
  ring.names.set(address)
  ring.setLengths(0, MESSAGE.length, address.length, 0)
  const sent = sys.sendmmsg(fd, ring.headers, 1, MSG_DONTWAIT | MSG_NOSIGNAL)
  if (sent !== 1) return refusal('sendmmsg', sent)
  ring.bytes.fill(0)
  const ready = waitFor(sys, fd, ARRIVAL_MS)
  if (ready < 0 && ready !== -EINTR) return refusal('poll', ready)
  const received = sys.recvmmsg(fd, ring.headers, 1, MSG_DONTWAIT)
  // Nothing arrived in time: a firewall's doing, or the load's. The calls are there, which is what is asked here.
  if (received === -EAGAIN && ready !== 1) return null
  if (received !== 1) return refusal('recvmmsg', received)
  return ring.received(0) === MESSAGE.length && Buffer.compare(ring.bytes, MESSAGE) === 0
    ? null
    : 'recvmmsg does not bring what sendmmsg sent'
}

function waitFor(sys: Syscalls, fd: number, timeoutMs: number): number {
  const set = Buffer.from(new SharedArrayBuffer(POLLFD_BYTES))
  set.writeInt32LE(fd, 0)
  set.writeUInt16LE(POLLIN, 4)
  return sys.poll(set, 1, timeoutMs)
}

function refusal(call: string, result: number): string {
  const isForbidden = result === -ENOSYS || result === -EPERM || result === -EACCES
  return `${call} gives ${errorName(-result)}${isForbidden ? ': refused by a seccomp filter, a sandbox or the kernel' : ''}`
}
