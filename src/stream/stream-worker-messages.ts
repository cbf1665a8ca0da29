/** What the control thread and the stream worker say to each other. */
import type { RequestMessage, ResponseMessage } from '../base/thread-requests.ts'
import type { UpstreamServer } from '../engine/settings.ts'
import type { DataWorkerPort } from './data-worker-link.ts'
import type { StreamSettings } from './stream-settings.ts'

/** Where to listen for clients over TCP. */
export interface StreamListener {
  address: string
  port: number
  /**
   * A socket that is bound and listens already, or null: the worker opens one. The worker closes it when it ends, so
   * lend a duplicate (dup(2)).
   */
  fd: number | null
}

/** Given to the stream worker at its start. Ports go into the transfer list as well. */
export interface StreamWorkerData {
  listeners: StreamListener[]
  /** One for each data worker, in their order. */
  ports: DataWorkerPort[]
  settings: StreamSettings
  servers: UpstreamServer[]
  /** Buffer of a StreamCounters. */
  counters: SharedArrayBuffer
}

/** What the control thread asks the stream worker, see thread-requests.ts. */
export type StreamRequests = {
  /** Listens on these as well; responds with those that failed. */
  listen: { payload: StreamListener[]; response: FailedListener[] }
  /**
   * Accepts nothing more, answers what clients have under way, closes their connections, and cuts the rest after
   * `deadlineMs`; responds with the number of those. Upstream queries go on: clients over UDP may wait for them.
   */
  drain: { payload: { deadlineMs: number }; response: number }
}

/** Control thread → stream worker. */
export type ToStreamWorker =
  | RequestMessage<StreamRequests>
  /** Other upstream servers, or root certificates (PEM, null for Node's own) to verify them by. */
  | { kind: 'servers'; servers: UpstreamServer[]; rootCertificates: string | null }
  /**
   * Data worker `worker` was restarted. Clients' connections that had queries there are reset, so that they ask again;
   * its upstream queries are finished and forgotten. Send this before closing the old eventfd: until then it is
   * written to.
   */
  | { kind: 'replace'; worker: number; port: DataWorkerPort }
  /** Close everything now; the thread ends. */
  | { kind: 'stop' }

/** Where a listener ended up: `port` is the real one where 0 was asked for. */
export interface BoundListener {
  address: string
  port: number
}

/** A listener that could not be opened. */
export interface FailedListener {
  address: string
  port: number
  /** EADDRINUSE, EADDRNOTAVAIL, EACCES, … */
  code: string
  /** One line for people, with address and remedy. */
  message: string
}

/** Stream worker → control thread. */
export type FromStreamWorker =
  | ResponseMessage
  /** The descriptors lent last are this thread's now, which is about to listen on them. */
  | { kind: 'taken' }
  /** All listeners were tried; the worker serves those in `bound`. What failures mean is the control thread's decision. */
  | { kind: 'ready'; bound: BoundListener[]; failed: FailedListener[] }
  | { kind: 'log'; level: 'info' | 'warn' | 'error'; fields: Record<string, unknown>; message: string }
