import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { describeError, type Log } from '../base/log.ts'
import { writeBody } from './body-writer.ts'
import { type ConnectionLimits, Connections } from './connections.ts'
import { withDeadline } from './deadline.ts'
import { type Purpose, type Reply, type Route, text } from './route.ts'

/** Bounds of a server. */
export interface HttpLimits extends ConnectionLimits {
  /**
   * Requests under way at once, by purpose: for a listing or a stream until it is sent, for others until the handler has
   * answered. More get 503.
   */
  atOnce: Readonly<Record<Purpose, number>>
  /** If a handler takes longer, the client gets 503. */
  handlerMs: number
  /** If a client takes longer to read a reply, its connection is closed; by purpose. A stream is over then. */
  sendMs: Readonly<Record<Purpose, number>>
  /** If a client reads nothing of what is sent for so long, its connection is closed. */
  stalledMs: number
}

/** What a server is bounded by unless told otherwise. */
export const DEFAULT_LIMITS: HttpLimits = {
  most: 64,
  mostPerClient: 16,
  // A listing holds a copy of the records of the name table while it is sent.
  atOnce: { probe: 32, page: 16, listing: 2, stream: 8 },
  handlerMs: 10_000,
  // A client of a stream connects again, with the token of then.
  sendMs: { probe: 5_000, page: 30_000, listing: 60_000, stream: 3_600_000 },
  stalledMs: 30_000,
}

/** What a server is made with. */
export interface HttpServerOptions {
  /** What the log and problems call it: `metrics`, `admin`. */
  name: string
  /** Literal address without brackets; `::` means both families. */
  address: string
  /** 0: any free one. */
  port: number
  /** A socket that listens there already, from the process before this one. It is this server's from now on. */
  inheritedFd?: number | undefined
  routes: readonly Route[]
  /** What replies say is answering (the Server header): `byname/0.1.0`. */
  product?: string
  /** The reply to a request that is refused, or null; by default none is. */
  guard?(method: string, headers: IncomingMessage['headers'], path: string): Reply | null
  log: Pick<Log, 'info' | 'warn'>
  /** So long after the start a busy port is no problem: the process before this one is about to leave it. 0 if not given. */
  busyAllowedMs?: number
  /** Pause before binding again; doubled up to `retryMaxMs`. */
  retryFirstMs?: number
  retryMaxMs?: number
  /** Those that differ from the default. */
  limits?: Partial<HttpLimits>
}

const MAX_HEADER_BYTES = 8192
const MAX_BODY_BYTES = 1024
/** Longer than the usual scrape interval, so that a scraper keeps its connection. */
const KEEP_ALIVE_MS = 65_000
const HEADERS_MS = 5_000
const REQUEST_MS = 10_000
/** Node looks for connections beyond these as often. To look more often would wake an idle process, and late ones keep nobody out. */
const LATE_LOOK_MS = 30_000
/** When the server stops, a connection that was just accepted has so long to bring its request. */
const NEW_CONNECTION_MS = 200

/**
 * A small HTTP server for people and scrapers. If its port is busy or its address is missing, it logs that and tries again
 * until it works: DNS does not depend on it.
 */
export class HttpServer {
  readonly #options: HttpServerOptions
  readonly #limits: HttpLimits
  readonly #connections: Connections
  readonly #atOnce: Record<Purpose, number> = { probe: 0, page: 0, listing: 0, stream: 0 }
  readonly #server: Server
  readonly #settled = Promise.withResolvers<{ address: string; port: number } | null>()
  #retry: NodeJS.Timeout | null = null
  #problem: string | null = null
  readonly #stop: AbortController = new AbortController()
  #busyAllowedUntilMs = 0
  #isInheritedUsed = false

  constructor(options: HttpServerOptions) {
    this.#options = options
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits }
    this.#connections = new Connections(this.#limits)
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: HEADERS_MS,
        requestTimeout: REQUEST_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: LATE_LOOK_MS,
      },
      (request, response) => void this.#answer(request, response),
    )
    this.#server.on('connection', (socket) => this.#connections.admit(socket))
    this.#server.timeout = this.#limits.stalledMs
    // `close` calls it, and it would reset connections that were accepted a moment ago: `stop` knows better.
    this.#server.closeIdleConnections = () => {}
  }

  /** Resolves after the first attempt to bind, whether or not it succeeded; `problem` tells. Never rejects. */
  async start(): Promise<void> {
    this.#busyAllowedUntilMs = performance.now() + (this.#options.busyAllowedMs ?? 0)
    await this.#bind(this.#options.address, this.#options.retryFirstMs ?? 250)
  }

  /** Resolves with the address once bound, or with null if stopped before. */
  bound(): Promise<{ address: string; port: number } | null> {
    return this.#settled.promise
  }

  /** Why it is not bound, in one line; null while all is well. */
  get problem(): string | null {
    return this.#problem
  }

  /** Its socket's descriptor, for a process that goes on in place of this one; null while there is none. It stays this server's. */
  get descriptor(): number | null {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- not documented, but all that Node has for it; a test notices.
    const { _handle: handle } = this.#server as Server & { _handle?: { fd?: number } | null }
    const fd = handle?.fd ?? -1
    return this.#server.listening && fd >= 0 ? fd : null
  }

  /** Stops accepting, lets requests under way end, and closes what is left at the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stop.abort()
    if (this.#retry) clearTimeout(this.#retry)
    this.#settled.resolve(null)
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#connections.closeWaiting(false)
    // Their requests may have been sent already.
    const closeNew = setTimeout(() => this.#connections.closeWaiting(true), Math.min(NEW_CONNECTION_MS, deadlineMs))
    const cutOff = setTimeout(() => this.#server.closeAllConnections(), deadlineMs)
    await closed
    clearTimeout(closeNew)
    clearTimeout(cutOff)
  }

  async #bind(address: string, pauseMs: number): Promise<void> {
    const error = await this.#listen(address)
    if (this.#stop.signal.aborted) {
      // Stopped while binding: nobody else would close it.
      this.#server.close()
      return
    }
    const { name, port, log } = this.#options
    if (error === null) {
      this.#problem = null
      const at = boundAddress(this.#server)
      log.info(at, `${name} endpoint is listening`)
      this.#settled.resolve(at)
      return
    }
    const instead = addressInstead(address, error.code)
    if (instead) return this.#bind(instead, pauseMs)
    if (error.code !== 'EADDRINUSE' || performance.now() >= this.#busyAllowedUntilMs) {
      const problem = bindProblem(name, address, port, error)
      // Said once, not at every attempt.
      if (problem !== this.#problem) log.warn({ address, port, error }, problem)
      this.#problem = problem
    }
    const nextMs = Math.min(pauseMs * 2, this.#options.retryMaxMs ?? 30_000)
    this.#retry = setTimeout(() => void this.#bind(this.#options.address, nextMs), pauseMs)
  }

  #listen(address: string): Promise<NodeJS.ErrnoException | null> {
    const { port, inheritedFd } = this.#options
    const fd = this.#isInheritedUsed ? undefined : inheritedFd
    this.#isInheritedUsed = true
    return new Promise((resolve) => {
      const server = this.#server
      const onError = (error: NodeJS.ErrnoException): void => {
        server.off('listening', onListening)
        resolve(error)
      }
      const onListening = (): void => {
        server.off('error', onError)
        // A server may fail later as well (descriptors used up); unheard, that would end the process.
        server.on('error', (error) => this.#options.log.warn({ error }, `${this.#options.name} endpoint has trouble`))
        resolve(null)
      }
      server.once('error', onError)
      server.once('listening', onListening)
      server.listen(fd === undefined ? { host: address, port, ipv6Only: false } : { fd })
    })
  }

  /** Answers a request, whatever happens. Never rejects. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { socket } = request
    const ended = new AbortController()
    const end = (): void => ended.abort()
    if (!this.#connections.requested(socket, end)) return
    response.on('close', () => {
      ended.abort()
      this.#connections.answered(socket, end)
    })
    // A client that goes away ends its response and nothing else.
    response.on('error', () => {})
    try {
      const refused = this.#refusal(request)
      if (refused !== null) return await this.#send(request, response, refused, 'page', ended)
      const route = this.#route(request)
      if ('status' in route) return await this.#send(request, response, route, 'page', ended)
      await this.#serve(route, request, response, ended)
    } catch (error) {
      // Thrown while the body was written: what is sent cannot be taken back.
      if (!response.destroyed)
        this.#options.log.warn({ path: request.url, error }, `${this.#options.name} request failed`)
      response.destroy()
    }
  }

  #refusal(request: IncomingMessage): Reply | null {
    const refused = this.#options.guard?.(methodOf(request), request.headers, splitTarget(request.url ?? '')[0])
    if (refused) return refused
    const length = Number(request.headers['content-length'] ?? 0)
    if (length <= MAX_BODY_BYTES && request.headers['transfer-encoding'] === undefined) return null
    return text(413, 'no request here needs a body', { connection: 'close' })
  }

  /** The route of a request, or the reply that says why there is none. */
  #route(request: IncomingMessage): Route | Reply {
    const { routes } = this.#options
    const [path] = splitTarget(request.url ?? '')
    const here = routes.filter((route) => route.path === path)
    if (here.length === 0) return text(404, `nothing at this path; there are:\n${listRoutes(routes)}`)
    const route = here.find(({ method }) => method === methodOf(request))
    return route ?? text(405, `${path} takes ${allowed(here)} only`, { allow: allowed(here) })
  }

  async #serve(
    route: Route,
    request: IncomingMessage,
    response: ServerResponse,
    ended: AbortController,
  ): Promise<void> {
    const { purpose } = route
    if (this.#atOnce[purpose] >= this.#limits.atOnce[purpose]) {
      const busy = text(503, 'busy: too many requests of this kind at once; try again', { 'retry-after': '1' })
      return await this.#send(request, response, busy, 'page', ended)
    }
    this.#atOnce[purpose]++
    let isCounted = true
    const release = (): void => {
      if (isCounted) this.#atOnce[purpose]--
      isCounted = false
    }
    try {
      // A stream would hold up the end of the server.
      const signal = purpose === 'stream' ? AbortSignal.any([ended.signal, this.#stop.signal]) : ended.signal
      const reply = await this.#handle(route, request, signal)
      if (purpose !== 'listing' && purpose !== 'stream') release()
      await this.#send(request, response, reply, purpose, ended)
    } finally {
      release()
    }
  }

  async #handle(route: Route, request: IncomingMessage, signal: AbortSignal): Promise<Reply> {
    const { handlerMs } = this.#limits
    const [path, search] = splitTarget(request.url ?? '')
    try {
      const late = text(503, `no answer within ${handlerMs} ms`)
      const handled = Promise.resolve(route.handle({ query: new URLSearchParams(search), signal }))
      return await withDeadline(handlerMs, handled, late)
    } catch (error) {
      this.#options.log.warn({ path, error }, `${this.#options.name} request failed`)
      return text(500, `failed: ${describeError(error)}`)
    }
  }

  /** Writes a reply; resolves when it is written, or the client is gone. */
  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    reply: Reply,
    purpose: Purpose,
    ended: AbortController,
  ): Promise<void> {
    // A client that went away meanwhile: its connection may have been displaced.
    if (ended.signal.aborted) return
    if (this.#stop.signal.aborted || purpose === 'stream') response.setHeader('connection', 'close')
    this.#connections.sending(request.socket)
    const tooSlow = setTimeout(() => response.destroy(), this.#limits.sendMs[purpose])
    ended.signal.addEventListener('abort', () => clearTimeout(tooSlow))
    response.writeHead(reply.status, {
      'content-type': reply.type,
      ...(this.#options.product === undefined ? {} : { server: this.#options.product }),
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      ...(typeof reply.body === 'string' ? { 'content-length': Buffer.byteLength(reply.body) } : {}),
      ...reply.headers,
    })
    if (request.method === 'HEAD') response.end()
    else if (typeof reply.body === 'string') response.end(reply.body)
    else await writeBody(response, reply.body, ended.signal)
    if (!ended.signal.aborted) await new Promise((resolve) => ended.signal.addEventListener('abort', resolve))
  }
}

/** The address to bind where `address` cannot be: a machine without IPv6 has no `::`, but means any address. */
export function addressInstead(address: string, code: string | undefined): string | null {
  return address === '::' && (code === 'EAFNOSUPPORT' || code === 'EADDRNOTAVAIL') ? '0.0.0.0' : null
}

function boundAddress(server: Server): { address: string; port: number } {
  const at = server.address()
  // A string is a pipe's name, null that it is closed: neither is asked for.
  if (at === null || typeof at === 'string') throw new Error('the server is not bound to a port')
  return { address: at.address, port: at.port }
}

function bindProblem(name: string, address: string, port: number, error: NodeJS.ErrnoException): string {
  const at = address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`
  const why = error.code === 'EADDRINUSE' ? 'is in use by another process' : `cannot be bound (${describeError(error)})`
  return `${name} endpoint: ${at} ${why}; trying again, or set ${name}.listen`
}

function listRoutes(routes: readonly Route[]): string {
  return routes.map(({ method, path, about }) => `${method.padEnd(5)}${path.padEnd(20)} ${about}\n`).join('')
}

function allowed(routes: readonly Route[]): string {
  return routes.map((route) => (route.method === 'GET' ? 'GET, HEAD' : route.method)).join(', ')
}

/** HEAD is GET without the body. */
function methodOf({ method = '' }: IncomingMessage): string {
  return method === 'HEAD' ? 'GET' : method
}

/** Path and query string of a request target. One that is a whole URL (only proxies are sent those) has no route. */
function splitTarget(target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}
