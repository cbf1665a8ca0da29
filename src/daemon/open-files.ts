/**
 * How many files byname may open, and how many it needs: sockets, connections, and what threads wait on. Beyond the limit
 * (RLIMIT_NOFILE) calls fail one by one, wherever they happen to be, so it is looked at before anything is opened.
 * Node raises the soft limit to the hard one before any of our code runs.
 */
import { readBoundedText } from '../base/bounded-file.ts'
import { SOCKETS_EACH } from '../worker/upstream-pool.ts'

/** What decides how many are needed. */
export interface OpenFilesPlan {
  /** Addresses that clients ask. */
  listeners: number
  workers: number
  driver: 'batch' | 'dgram'
  /** Upstream servers. */
  servers: number
  /** Connections of clients over TCP that there should be room for. */
  connections: number
}

/** What a limit leaves room for. */
export type OpenFilesRoom = { connections: number; warning: string | null } | { problem: string }

/** Measured: Node, the bundle, the stream worker, and the listeners of metrics and admin. */
const PROCESS_FILES = 31
/** Measured: what a thread of Node waits on; the batch driver's has an eventfd of its own. */
const THREAD_FILES = { batch: 6, dgram: 5 } as const
/** Listening socket and its copy in the stream worker. */
const FILES_PER_LISTENER = 2
/** Files read again, connections to the control plane and of those who look at metrics. */
const SPARE_FILES = 8
const MAX_LIMITS_BYTES = 65_536
/** With room for fewer TCP connections of clients byname does not start. */
const LEAST_CONNECTIONS = 4

/** What a limit of `limit` files means; null: not known here, so nothing is said. */
export function roomFor(plan: OpenFilesPlan, limit: number | null): OpenFilesRoom {
  const { connections, driver, listeners, servers, workers } = plan
  if (limit === null) return { connections, warning: null }
  // The dgram driver has a copy of each socket that it is lent.
  const perWorker = THREAD_FILES[driver] + listeners * (driver === 'dgram' ? 2 : 1) + servers * SOCKETS_EACH
  const fixed = PROCESS_FILES + workers * perWorker + listeners * FILES_PER_LISTENER + SPARE_FILES
  const least = fixed + LEAST_CONNECTIONS
  const remedy = 'raise the limit (ulimit -n, LimitNOFILE= of systemd)'
  const count = `${listeners} addresses, ${workers} workers and ${servers} upstream servers`
  if (limit < least)
    return { problem: `at most ${limit} files may be open, and ${count} need ${least} at least; ${remedy}` }
  // As many connections again go to servers, or wait to be closed.
  const room = Math.floor((limit - fixed) / 2)
  if (limit - fixed >= connections + servers * SOCKETS_EACH * workers) return { connections, warning: null }
  const allowed = Math.max(LEAST_CONNECTIONS, Math.min(connections, room))
  return {
    connections: allowed,
    warning: `at most ${limit} files may be open, and ${count} need ${fixed}: ${allowed} TCP connections of clients are served at a time instead of ${connections}; ${remedy}`,
  }
}

/** The limit of open files of this process; null where it cannot be told, or there is none. */
export function openFilesLimit(): number | null {
  const limits = readBoundedText('/proc/self/limits', MAX_LIMITS_BYTES)
  const [, soft] = 'text' in limits ? (/^Max open files\s+(\d+)/m.exec(limits.text) ?? []) : []
  return soft === undefined ? null : Number(soft)
}
