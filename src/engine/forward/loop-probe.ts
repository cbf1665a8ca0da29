/**
 * Finds out whether a server forwards to us, as CoreDNS's plugin `loop` does: each server is asked for the HINFO record of
 * a random name that nobody else knows. If a query for that name comes to us, the server is a loop.
 */
import type { LoopProbeNames } from '../settings.ts'

/** After the names were given: time for connections and routes to come up. */
const FIRST_MS = 500
/** And once more, in case the first was lost or came before the network was there. */
const AGAIN_MS = 10_000
const ROUNDS = 2

/** Names asked of one server alone, by which a loop is recognised. */
export class LoopProbe {
  #probe: LoopProbeNames | undefined
  #rounds = 0
  /** Engine time at which the servers are to be asked (again); Infinity: no more. */
  dueAt: number = Number.POSITIVE_INFINITY

  /** Takes the names of new settings. The same ones are not sent again. */
  configure(probe: LoopProbeNames | undefined, now: number): void {
    const isSame = probe !== undefined && probe.id === this.#probe?.id
    this.#probe = probe
    if (isSame) return
    this.#rounds = 0
    this.dueAt = probe?.sends === true ? now + FIRST_MS : Number.POSITIVE_INFINITY
  }

  /** If it is time, the names to ask for, by server (null: not that one), else null. */
  takeDue(now: number): readonly (Uint8Array | null)[] | null {
    if (now < this.dueAt) return null
    this.dueAt = ++this.#rounds < ROUNDS ? now + AGAIN_MS : Number.POSITIVE_INFINITY
    return this.#probe?.names ?? null
  }

  /** The server that was asked for this name (lower case, wire format), or -1. */
  serverOf(name: Uint8Array, length: number): number {
    const names = this.#probe?.names ?? []
    return names.findIndex(
      (other) => other !== null && other.length === length && other.every((byte, i) => byte === name[i]),
    )
  }
}
