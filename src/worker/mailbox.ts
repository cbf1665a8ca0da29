/** What the control thread and a data worker say to each other. All of it is plain data that can be cloned. */
import type { MessagePort } from 'node:worker_threads'
import type { RequestMessage, ResponseMessage } from '../base/thread-requests.ts'
import type { RuleMatch } from '../engine/rule-reports.ts'
import type { EngineExplanation, PluginOutcome } from '../engine/explain.ts'
import type { EngineSettings } from '../engine/settings.ts'

/** A socket that clients ask, as a worker gets it. */
export interface WorkerListener {
  address: string
  port: number
  /** 0 IPv4, 1 IPv6. */
  family: 0 | 1
  /** Descriptor lent by the control thread, which closes it; −1: open one yourself (dgram driver without koffi). */
  fd: number
  /** The address is 0.0.0.0 or ::, so replies must name the one that was asked. */
  isWildcard: boolean
  /** Other workers take datagrams from the same address. */
  isShared: boolean
}

/** A data worker's first message. */
export interface WorkerStart {
  index: number
  driver: 'batch' | 'dgram'
  listeners: WorkerListener[]
  /** Eventfd that the control thread writes after each message; −1 where there is none. */
  wakeFd: number
  /** See WorkerCounters. */
  counters: SharedArrayBuffer
  /** What it answers is told of here (ring-layout.ts); it outlives the thread, and the next one goes on. */
  queryRing: SharedArrayBuffer
  /**
   * Listening TCP sockets, the control thread's: a connection that waits there wants the stream worker. Empty: somebody
   * else looks.
   */
  knockFds: number[]
  /** Descriptors that the worker opened through koffi (Int32, −1 free): they outlive it, so the control thread closes them. */
  openedFds: SharedArrayBuffer
  settings: EngineSettings
  /** When the daemon started, in ms since 1970. */
  startedAtEpochMs: number
  seed: number
  image: SharedArrayBuffer | null
}

/** What the control thread asks a data worker, see thread-requests.ts. */
export type WorkerRequests = {
  /** Whether it still reads its mail. */
  ping: { payload: null; response: true }
  /** Collects its garbage, which takes some ms; responds when that is done. */
  collect: { payload: null; response: true }
  /** Empties the cache, or forgets one name (lower-cased, in wire format); responds with the number of answers forgotten. */
  flush: { payload: Uint8Array | null; response: number }
  /** What it would do with a query (a whole message) from a client, `from` null: from this machine. */
  explain: {
    payload: { query: Uint8Array; from: Uint8Array | null; plugins: PluginOutcome | null }
    response: EngineExplanation
  }
}

/** Control thread → data worker. */
export type ToWorker =
  | RequestMessage<WorkerRequests>
  /** Another name table; `adopted` follows. */
  | { kind: 'image'; image: SharedArrayBuffer }
  | { kind: 'settings'; settings: EngineSettings }
  /** The port to the stream worker comes with it, as a transferred object. */
  | { kind: 'stream'; port: MessagePort }
  /** Take no more datagrams from clients: another process reads the same sockets. Streams go on. */
  | { kind: 'leaveListeners' }
  /** Answer what is queued and under way, then end; at the latest after `deadlineMs`. */
  | { kind: 'drain'; deadlineMs: number }

/** Data worker → control thread. */
export type FromWorker =
  | ResponseMessage
  /** The engine is built, and what comes from now on is answered. */
  | { kind: 'ready' }
  /** The worker reads the image of this generation, and none before it any more. */
  | { kind: 'adopted'; generation: number }
  /** There is no stream worker yet, and a client or a query needs one. */
  | { kind: 'streamWanted' }
  /** A server forwards to us: its label, and the address (4 or 16 bytes) that its query came from. */
  | { kind: 'loop'; server: string; from: Uint8Array }
  /** Every question below this search domain is asked again, and why (search-storms.ts). */
  | { kind: 'stormsOff'; domain: string; why: string }
  /** A query that a rule logs, or would do something about (rule-reports.ts). */
  | { kind: 'ruleMatch'; match: RuleMatch }
  /** A plug-in, by its id, has failed too often and is asked no more, and why. */
  | { kind: 'pluginOff'; id: number; why: string }
  | { kind: 'log'; level: 'info' | 'warn' | 'error'; fields: Record<string, unknown>; message: string }

/** Places in `openedFds`. */
export const OPENED_FDS = 640
