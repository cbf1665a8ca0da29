/** What happened last between byname and the control plane: `away` says how it stands, and this how it came to that. */

/** One happening, or several alike in succession. */
export interface XdsEvent {
  /** Unix time in ms, of the last of several. */
  atMs: number
  /** `ended`: the server closed a stream that had answered; `failed`: it broke, or never answered. */
  what: 'connected' | 'ended' | 'failed' | 'accepted' | 'refused'
  address: string
  /** Why a stream ended or a response was refused; the type and version accepted. */
  detail: string
  times: number
}

const MOST_CONNECTIONS = 64
const MOST_RESPONSES = 64
const MOST_CHARS = 300

/** Keeps the last events of connections, and apart from them those of responses, which are many. */
export class XdsHistory {
  readonly #connections: XdsEvent[] = []
  readonly #responses: XdsEvent[] = []

  add(what: XdsEvent['what'], address: string, detail: string, atMs: number): void {
    const isResponse = what === 'accepted' || what === 'refused'
    const events = isResponse ? this.#responses : this.#connections
    const text = detail.length > MOST_CHARS ? `${detail.slice(0, MOST_CHARS)}…` : detail
    const last = events.at(-1)
    if (last?.what === what && last.address === address && last.detail === text) {
      last.times++
      last.atMs = atMs
      return
    }
    events.push({ atMs, what, address, detail: text, times: 1 })
    if (events.length > (isResponse ? MOST_RESPONSES : MOST_CONNECTIONS)) events.shift()
  }

  /** Copies, the oldest first. */
  events(): XdsEvent[] {
    return [...this.#connections, ...this.#responses].map((event) => ({ ...event })).toSorted((a, b) => a.atMs - b.atMs)
  }
}
