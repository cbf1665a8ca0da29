/** What a route answers. A body in pieces is written as fast as the client reads. */
export interface Reply {
  status: number
  /** Content type. */
  type: string
  /**
   * Pieces are taken one at a time; the iterator's `return` is called when the client goes away. A body that throws
   * breaks the connection, so that the client cannot take it for complete.
   */
  body: string | Iterable<string> | AsyncIterable<string>
  headers?: Readonly<Record<string, string>>
}

/**
 * What a route is for. Each purpose has a limit of its own, so that a crowd at one does not close the others:
 * `probe` (cheap, must always be answered), `page` (rendered at once), `listing` (long, in pieces), `stream` (without end:
 * see event-stream.ts).
 */
export type Purpose = 'probe' | 'page' | 'listing' | 'stream'

/** A request as far as a handler needs it. Bodies are not taken. */
export interface RouteRequest {
  query: URLSearchParams
  /** Aborted when the client goes away, when the reply takes too long, and when the server stops; that of a stream at once. */
  signal: AbortSignal
}

/** One endpoint of a server. */
export interface Route {
  method: 'GET' | 'POST'
  path: string
  purpose: Purpose
  /** One line for the list of endpoints. */
  about: string
  handle(request: RouteRequest): Reply | Promise<Reply>
}

/** Content type of JSON. */
export const JSON_TYPE = 'application/json; charset=utf-8'

/** A reply in plain text; the line's end is supplied. */
export function text(status: number, line: string, headers: Readonly<Record<string, string>> = {}): Reply {
  return { status, type: 'text/plain; charset=utf-8', body: line.endsWith('\n') ? line : `${line}\n`, headers }
}

/** A reply in JSON, indented for people. */
export function json(value: unknown): Reply {
  return { status: 200, type: JSON_TYPE, body: `${JSON.stringify(value, null, 2)}\n` }
}
