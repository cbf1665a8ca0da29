import { addressBytes } from '../dns/address.ts'
import { isLoopback } from '../engine/access.ts'
import type { Engine } from '../engine/engine.ts'
import type { Outlet } from '../engine/outlet.ts'
import type { EngineSettings } from '../engine/settings.ts'
import type { ToWorker, WorkerListener } from './mailbox.ts'
import type { StreamWorkerLink } from './stream-worker-link.ts'

/** Largest query that is read whole, in bytes; a larger datagram is answered with FORMERR. */
export const MAX_QUERY_BYTES = 4096
/** A datagram larger than this from an upstream server counts as truncated: the question is asked again over TCP. */
export const MAX_UPSTREAM_REPLY_BYTES = 4096

/** True for one on loopback: who asks there is this machine, whatever the source of the datagram. */
export function isLoopbackListener({ address }: WorkerListener): boolean {
  const bytes = addressBytes(address)
  return isLoopback(bytes, 0, bytes.length)
}

/** What a driver is given to work with. */
export interface DriverContext {
  readonly engine: Engine
  readonly stream: StreamWorkerLink
  /** Handles a message of the control thread. */
  receive(message: ToWorker): void
  /** Logs through the control thread: a data worker has no console. */
  log(level: 'info' | 'warn' | 'error', fields: Record<string, unknown>, message: string): void
}

/** Feeds an engine: with datagrams, messages and time. */
export interface Driver extends Outlet {
  /** Milliseconds, from a clock that never goes back and counts while the machine sleeps. */
  now(): number
  /** Takes queries until `drain` has done; returns (or resolves) then. */
  run(context: DriverContext): void | Promise<void>
  /** The upstream servers have changed. */
  configure(settings: EngineSettings): void
  /** Reads no more queries from the listeners: what is queued there belongs to another process from now on. */
  leaveListeners(): void
  /** Ends once nothing is queued or under way, at the latest after `deadlineMs`. */
  drain(deadlineMs: number): void
}
