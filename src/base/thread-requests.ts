/**
 * Requests of one thread to another. One map names them and says what each is sent and answered with; whoever asks gets a
 * promise that always settles: with the response, or rejected at the deadline or when the other thread is gone.
 *
 * ```
 *  ThreadRequests.request ──→ RequestMessage ──→ respond ──→ handler
 *  ThreadRequests.receive ←── ResponseMessage ←────────────────┘
 * ```
 */

/** By name: what a request carries and what answers it. All of it is plain data that can be cloned. */
export type RequestMap = Record<string, { payload: unknown; response: unknown }>

/** A request on its way. */
export type RequestMessage<M extends RequestMap> = {
  [N in keyof M & string]: { kind: 'request'; number: number; name: N; payload: M[N]['payload'] }
}[keyof M & string]

/** What came of the request of that number. */
export interface ResponseMessage {
  kind: 'response'
  number: number
  response: unknown
}

/** What the thread that is asked does for each request. */
export type RequestHandlers<M extends RequestMap> = {
  [N in keyof M & string]: (payload: M[N]['payload']) => M[N]['response'] | Promise<M[N]['response']>
}

/** Why a request has no response: the deadline has passed, or the thread has ended. */
class RequestError extends Error {
  readonly code: 'deadline' | 'gone'

  constructor(code: 'deadline' | 'gone', message: string) {
    super(message)
    this.name = 'RequestError'
    this.code = code
  }
}

interface Pending {
  /** What comes is what the map says: both ends are built from it. */
  resolve(response: unknown): void
  reject(error: RequestError): void
  timer: NodeJS.Timeout
}

/** The asking side, for one thread. */
export class ThreadRequests<M extends RequestMap> {
  readonly #post: (message: RequestMessage<M>) => void
  readonly #pending: Map<number, Pending> = new Map()
  #nextNumber = 1

  /** `post` gives a message to the thread; one that has ended may lose it. */
  constructor(post: (message: RequestMessage<M>) => void) {
    this.#post = post
  }

  /** Asks the thread. @throws Error (rejects) with `code` `deadline` after `deadlineMs`, or `gone` when the thread has ended */
  request<N extends keyof M & string>(
    name: N,
    payload: M[N]['payload'],
    deadlineMs: number,
  ): Promise<M[N]['response']> {
    const number = this.#nextNumber++
    const { promise, reject, resolve } = Promise.withResolvers<M[N]['response']>()
    const timer = setTimeout(() => {
      this.#pending.delete(number)
      reject(new RequestError('deadline', `no response to ${name} within ${deadlineMs} ms`))
    }, deadlineMs)
    this.#pending.set(number, { resolve, reject, timer })
    this.#post({ kind: 'request', number, name, payload })
    return promise
  }

  /** Takes a response; one that comes after its deadline finds nobody. */
  receive({ number, response }: ResponseMessage): void {
    const pending = this.#take(number)
    pending?.resolve(response)
  }

  /** The thread has ended: nothing is answered any more. */
  rejectAll(): void {
    for (const number of this.#pending.keys()) {
      this.#take(number)?.reject(new RequestError('gone', 'the thread has ended'))
    }
  }

  #take(number: number): Pending | undefined {
    const pending = this.#pending.get(number)
    if (pending === undefined) return undefined
    this.#pending.delete(number)
    clearTimeout(pending.timer)
    return pending
  }
}

/** Handles a request in the thread that is asked, and posts the response once it is there. Handlers do not throw. */
export function respond<M extends RequestMap>(
  handlers: RequestHandlers<M>,
  { name, number, payload }: RequestMessage<M>,
  post: (message: ResponseMessage) => void,
): void {
  const response = handlers[name](payload)
  if (response instanceof Promise) void response.then((value) => post({ kind: 'response', number, response: value }))
  else post({ kind: 'response', number, response })
}
