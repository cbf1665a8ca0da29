/** The listeners' sockets before any thread has them, and the driver by which the data workers will use them. */
import { ConfigError } from '../config/config-error.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../observe/log.ts'
import { isWildcard } from '../os/socket-address.ts'
import type { Syscalls } from '../os/syscalls.ts'
import { tryBatchCalls } from '../worker/batch/batch-trial.ts'
import {
  BindError,
  completeListener,
  forWorker,
  type OpenListener,
  openListener,
  probeListener,
} from './listener-sockets.ts'
import type { WorkerListener } from '../worker/mailbox.ts'

/** How data workers reach their sockets, and why so, for people. */
export interface Driver {
  name: 'batch' | 'dgram'
  why: string
}

/**
 * The driver that runs, and why that one. The batch driver's calls are tried, as they may be refused although koffi loads.
 * @throws ConfigError if `batch` is asked for and is not to be had
 */
export function chooseDriver(wanted: Config['driver'], sys: Syscalls | string): Driver {
  if (wanted === 'dgram') return { name: 'dgram', why: 'asked for by the configuration' }
  const obstacle = typeof sys === 'string' ? sys : tryBatchCalls(sys)
  if (obstacle === null)
    return {
      name: 'batch',
      why: wanted === 'auto' ? 'batched system calls work here' : 'asked for by the configuration',
    }
  if (wanted === 'batch') throw new ConfigError([`driver: batch is not to be had here: ${obstacle}; use auto`])
  return { name: 'dgram', why: obstacle }
}

/**
 * Opens what the configuration says, with the sockets that were inherited, or passed by the service manager, where they fit,
 * however many workers they were for (see addSockets); the other ones are closed.
 * Without system calls ports are only tried: the threads open their own sockets. An address of a family that this
 * machine does not have is left out.
 * @throws BindError; what was taken over or opened so far is closed then
 */
export async function openListeners(
  { listen, workers }: Config,
  sys: Syscalls | null,
  lent: readonly OpenListener[],
  log: Log,
): Promise<OpenListener[]> {
  const open: OpenListener[] = []
  const inherited = [...lent]
  for (const { address, port } of listen) {
    const known = inherited.findIndex((other) => other.address === address && (port === 0 || other.port === port))
    try {
      if (known >= 0) {
        open.push(...inherited.splice(known, 1))
        if (sys !== null) completeListener(sys, open.at(-1)!, workers)
        continue
      }
      const listener =
        sys === null ? await probeListener(address, port, workers) : openListener(sys, address, port, workers)
      if (listener === null) log.info({ address }, 'no such address family on this machine: not listening there')
      else open.push(listener)
    } catch (error) {
      closeListeners([...open, ...inherited], sys)
      throw error
    }
  }
  closeListeners(inherited, sys)
  if (open.length === 0)
    throw new BindError('', 'EADDRNOTAVAIL', 'none of the listen addresses is to be had on this machine')
  return open
}

/** Closes this process's descriptors of them. */
function closeListeners(listeners: readonly OpenListener[], sys: Syscalls | null): void {
  for (const { tcpFd, udpFds } of listeners) for (const fd of [tcpFd, ...udpFds]) if (fd >= 0) sys?.close(fd)
}

/**
 * Whether one of the addresses to listen on cannot be had while these are open: a wildcard beside an address of its
 * family. The old process still listens while a new one takes over.
 */
export function overlap(listen: Config['listen'], open: readonly OpenListener[]): boolean {
  return listen.some(({ address, port }) => {
    const sharing = open.filter((other) => other.port === port && other.address.includes(':') === address.includes(':'))
    if (sharing.some((other) => other.address === address)) return false
    return sharing.some((other) => other.isWildcard || isWildcard(address))
  })
}

/**
 * What data worker `index` of `workers` is given. The batch driver uses the descriptors as they are; a socket of Node's
 * closes its own, so it gets another one.
 */
export function workerListeners(
  listeners: readonly OpenListener[],
  index: number,
  workers: number,
  driver: Driver,
  sys: Syscalls | null,
): WorkerListener[] {
  return listeners
    .flatMap((listener) => forWorker(listener, index, workers))
    .map((lent) => (driver.name === 'dgram' && lent.fd >= 0 ? { ...lent, fd: sys!.duplicate(lent.fd) } : lent))
}
