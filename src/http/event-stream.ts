/**
 * Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): a reply without end, to whoever wants
 * to be told. The server limits how many there are (purpose `stream`), drops a client that reads nothing, and ends all of
 * them when it stops.
 */
import type { Clock } from '../base/clock.ts'
import type { Reply } from './route.ts'

/** An event as it is sent: `data` is one JSON text, so it has no line break of its own. */
export interface ServerEvent {
  /** Name of the event. */
  event: string
  data: unknown
}

/** A client comes back so long after the end of its stream. */
const RETRY_MS = 2000
/** Without an event for so long a comment is sent: it shows who has gone away. Well below the server's `stalledMs`. */
const HEARTBEAT_MS = 10_000
const HEARTBEAT = ':\n\n'

interface Reader {
  /** The newest events that it has not taken yet. */
  pending: string | null
  wake: () => void
}

/** Events, to all that read them. A reader that is slow misses those that were followed by newer ones. */
export class EventStream {
  readonly #clock: Clock
  readonly #readers: Set<Reader> = new Set()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Readers now; with none there is nothing to publish. */
  get size(): number {
    return this.#readers.size
  }

  /** Sends events to all readers. Of those that a slow reader has not taken before the next call none is kept. */
  publish(events: readonly ServerEvent[]): void {
    const text = events.map(eventText).join('')
    for (const reader of this.#readers) {
      reader.pending = text
      reader.wake()
    }
  }

  /** A reply that begins with `first`, and goes on with what is published until `signal`. */
  reply(first: readonly ServerEvent[], signal: AbortSignal): Reply {
    return { status: 200, type: 'text/event-stream; charset=utf-8', body: this.#read(first, signal) }
  }

  async *#read(first: readonly ServerEvent[], signal: AbortSignal): AsyncGenerator<string, void, undefined> {
    const reader: Reader = { pending: null, wake: () => {} }
    const onAbort = (): void => reader.wake()
    signal.addEventListener('abort', onAbort)
    this.#readers.add(reader)
    try {
      yield `retry: ${RETRY_MS}\n\n${first.map(eventText).join('')}`
      while (!signal.aborted) yield await this.#next(reader)
    } finally {
      this.#readers.delete(reader)
      signal.removeEventListener('abort', onAbort)
    }
  }

  /** What is pending, or will be; a comment after a while without, and when woken for nothing. */
  async #next(reader: Reader): Promise<string> {
    const { promise, resolve } = Promise.withResolvers<void>()
    reader.wake = resolve
    const cancel = this.#clock.after(HEARTBEAT_MS, resolve)
    if (reader.pending === null) await promise
    cancel()
    const text = reader.pending ?? HEARTBEAT
    reader.pending = null
    return text
  }
}

function eventText({ event, data }: ServerEvent): string {
  return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`
}
