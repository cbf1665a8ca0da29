import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { describeError, type Log } from '../base/log.ts'
import { withDeadline } from './deadline.ts'

/** What a route answers. A body in pieces is written as fast as the client reads. */
export interface Reply {
  status: number
  /** Content type. */
  type: string
  body: string | Iterable<string>
}

export interface Route {
  method: 'GET' | 'POST'
  path: string
  /** One line for the list of endpoints. */
  about: string
  handle(query: URLSearchParams): Reply | Promise<Reply>
}

export interface HttpServerOptions {
  /** What the log and problems call it: `metrics`, `admin`. */
  name: string
  /** Literal address without brackets; `::` means both families. */
  address: string
  /** 0: any free one. */
  port: number
  routes: readonly Route[]
  /** Why a request is refused (403), or null; by default none is. */
  refuse?(method: string, headers: IncomingMessage['headers']): string | null
  log: Pick<Log, 'info' | 'warn'>
  /** Pause before binding again; doubled up to `retryMaxMs`. */
  retryFirstMs?: number
  retryMaxMs?: number
  /** A handler that takes longer is answered for, with 503. */
  handlerDeadlineMs?: number
}

const MAX_CONNECTIONS = 64
const MAX_HEADER_BYTES = 8192
const MAX_BODY_BYTES = 1024
/** Longer than the usual scrape interval, so that a scraper keeps its connection. */
const KEEP_ALIVE_MS = 65_000
const HEADERS_MS = 5_000
const REQUEST_MS = 10_000
/** A client that reads nothing for so long is cut off. */
const STALLED_MS = 30_000
const HANDLER_MS = 10_000

/**
 * A small HTTP server for people and scrapers. That its port is busy, or its address not there, is reported and tried
 * again until it works: DNS does not depend on it.
 */
export class HttpServer {
  readonly #options: HttpServerOptions
  readonly #server: Server
  readonly #settled = Promise.withResolvers<{ address: string; port: number } | null>()
  #retry: NodeJS.Timeout | null = null
  #problem: string | null = null
  #stopping = false

  constructor(options: HttpServerOptions) {
    this.#options = options
    this.#server = createServer(
      {
        maxHeaderSize: MAX_HEADER_BYTES,
        headersTimeout: HEADERS_MS,
        requestTimeout: REQUEST_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: HEADERS_MS,
      },
      (request, response) => void this.#answer(request, response),
    )
    this.#server.maxConnections = MAX_CONNECTIONS
    this.#server.timeout = STALLED_MS
  }

  /** Resolves after the first attempt to bind, whether or not it succeeded; `problem` tells. Never rejects. */
  async start(): Promise<void> {
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

  /** Stops accepting, lets requests under way end, and cuts off what is left at the deadline. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true
    if (this.#retry) clearTimeout(this.#retry)
    this.#settled.resolve(null)
    if (!this.#server.listening) return
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()))
    this.#server.closeIdleConnections()
    const cutOff = setTimeout(() => this.#server.closeAllConnections(), deadlineMs)
    await closed
    clearTimeout(cutOff)
  }

  async #bind(address: string, pauseMs: number): Promise<void> {
    const error = await this.#listen(address)
    if (this.#stopping) {
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
    const problem = bindProblem(name, address, port, error)
    // Said once, not at every attempt.
    if (problem !== this.#problem) log.warn({ address, port, error }, problem)
    this.#problem = problem
    const nextMs = Math.min(pauseMs * 2, this.#options.retryMaxMs ?? 30_000)
    this.#retry = setTimeout(() => void this.#bind(this.#options.address, nextMs), pauseMs)
  }

  #listen(address: string): Promise<NodeJS.ErrnoException | null> {
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
      server.listen({ host: address, port: this.#options.port, ipv6Only: false })
    })
  }

  /** Answers a request, whatever happens. Never rejects. */
  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that goes away ends its response and nothing else.
    response.on('error', () => {})
    try {
      await this.#send(request, response, await this.#reply(request))
    } catch (error) {
      // Thrown while the body was written: what is sent cannot be taken back.
      if (!response.destroyed)
        this.#options.log.warn({ path: request.url, error }, `${this.#options.name} request failed`)
      response.destroy()
    }
  }

  async #reply(request: IncomingMessage): Promise<Reply> {
    const method = request.method === 'HEAD' ? 'GET' : (request.method ?? '')
    const refused = this.#options.refuse?.(method, request.headers)
    if (refused) return text(403, refused)
    const length = Number(request.headers['content-length'] ?? 0)
    if (length > MAX_BODY_BYTES || request.headers['transfer-encoding'] !== undefined) {
      return text(413, 'no request here needs a body')
    }
    const [path, search] = splitTarget(request.url ?? '')
    const here = this.#options.routes.filter((route) => route.path === path)
    if (here.length === 0) return text(404, `nothing at this path; there are:\n${listRoutes(this.#options.routes)}`)
    const route = here.find((candidate) => candidate.method === method)
    if (!route) return text(405, `${path} takes ${allowed(here)} only`)
    try {
      const deadlineMs = this.#options.handlerDeadlineMs ?? HANDLER_MS
      const late = text(503, `no answer within ${deadlineMs} ms`)
      const handled = Promise.resolve(route.handle(new URLSearchParams(search)))
      return await withDeadline(deadlineMs, handled, late)
    } catch (error) {
      this.#options.log.warn({ path, error }, `${this.#options.name} request failed`)
      return text(500, `failed: ${describeError(error)}`)
    }
  }

  async #send(request: IncomingMessage, response: ServerResponse, reply: Reply): Promise<void> {
    if (this.#stopping || reply.status === 413) response.setHeader('connection', 'close')
    if (reply.status === 405) {
      const [path] = splitTarget(request.url ?? '')
      response.setHeader('allow', allowed(this.#options.routes.filter((route) => route.path === path)))
    }
    response.writeHead(reply.status, {
      'content-type': reply.type,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      'cross-origin-resource-policy': 'same-origin',
      'content-security-policy': "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
      ...(typeof reply.body === 'string' ? { 'content-length': Buffer.byteLength(reply.body) } : {}),
    })
    if (request.method === 'HEAD') response.end()
    else if (typeof reply.body === 'string') response.end(reply.body)
    else await pipeline(Readable.from(reply.body), response)
  }
}

/** A reply in plain text; the line's end is supplied. */
export function text(status: number, line: string): Reply {
  return { status, type: 'text/plain; charset=utf-8', body: line.endsWith('\n') ? line : `${line}\n` }
}

/** Content type of JSON. */
export const JSON_TYPE = 'application/json; charset=utf-8'

/** A reply in JSON, indented for people. */
export function json(value: unknown): Reply {
  return { status: 200, type: JSON_TYPE, body: `${JSON.stringify(value, null, 2)}\n` }
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

/** Path and query string of a request target. One that is a whole URL (only proxies are sent those) has no route. */
function splitTarget(target: string): [path: string, query: string] {
  const at = target.indexOf('?')
  return at < 0 ? [target, ''] : [target.slice(0, at), target.slice(at + 1)]
}
