/**
 * Entry of the stream worker's thread: an ordinary event loop that owns every connection, of clients and to upstream
 * servers, and passes whole messages to and from the data workers.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { type RequestHandlers, respond } from '../base/thread-requests.ts'
import { StreamCounters } from '../stats/stream-counters.ts'
import { ClientConnections } from './clients/client-connections.ts'
import { ClientListeners } from './clients/client-listeners.ts'
import type { LinkListener } from './data-worker-link.ts'
import { DataWorkerLink } from './data-worker-link.ts'
import type {
  FailedListener,
  FromStreamWorker,
  StreamListener,
  StreamRequests,
  StreamWorkerData,
  ToStreamWorker,
} from './stream-worker-messages.ts'
import { UpstreamStreams } from './upstreams/upstream-streams.ts'

if (parentPort === null) throw new Error('stream-worker.ts is the entry of a worker thread')
const control = parentPort
const data: StreamWorkerData = workerData
const now = (): number => performance.now()
const counters = new StreamCounters(data.counters)
const firstNumber = Math.floor(Math.random() * 2 ** 32)
const clients = new ClientConnections({ settings: data.settings, counters, now, firstNumber })
const upstreams = new UpstreamStreams({
  settings: data.settings.upstream,
  counters,
  now,
  onTlsFailure: ({ label }, code) =>
    report({
      kind: 'log',
      level: 'warn',
      fields: { server: label, code },
      message: `TLS with upstream server ${label} fails (${code}): check the name after # and the root certificates`,
    }),
})
const listener: LinkListener = {
  replies: (connection, settled, frames) => clients.replies(connection, settled, frames),
  repliesEnd: () => clients.flush(),
  askUpstream: (message, link) => upstreams.ask(message, link),
  lost: (link) => clients.lost(link),
}
const links = data.ports.map((port) => new DataWorkerLink(port, listener))
const listeners = new ClientListeners(() => clients.createServer())

const handlers: RequestHandlers<StreamRequests> = {
  listen: async (wanted): Promise<FailedListener[]> => (await open(wanted)).failed,
  drain: ({ deadlineMs }) => drain(deadlineMs),
}

clients.use(links)
upstreams.use(data.servers)
control.on('message', (message: ToStreamWorker) => {
  switch (message.kind) {
    case 'servers':
      return upstreams.use(message.servers, message.rootCertificates)
    case 'replace':
      return links[message.worker]?.replace(message.port)
    case 'request':
      return respond(handlers, message, report)
    case 'stop':
      return stop()
  }
})
report({ kind: 'ready', ...(await open(data.listeners)) })

function report(message: FromStreamWorker): void {
  control.postMessage(message)
}

async function open(wanted: readonly StreamListener[]): ReturnType<ClientListeners['open']> {
  report({ kind: 'taken' })
  return await listeners.open(wanted)
}

/** Lets clients have the answers that are under way, for at most `deadlineMs`. Returns how many connections were cut then. */
async function drain(deadlineMs: number): Promise<number> {
  // Connections that wait to be accepted would be reset: two turns of the event loop accept them all.
  await nextTurn()
  await nextTurn()
  listeners.close()
  const deadline = Promise.withResolvers<void>()
  const timer = setTimeout(deadline.resolve, deadlineMs)
  await Promise.race([clients.drain(), deadline.promise])
  clearTimeout(timer)
  return clients.cutAll()
}

/** Closes everything at once; the thread ends when nothing keeps its event loop alive. */
function stop(): void {
  listeners.close()
  clients.cutAll()
  upstreams.close()
  for (const link of links) link.close()
  control.close()
}
