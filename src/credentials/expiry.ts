import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { durationText } from './pem.ts'

/** One thing that byname shows, or verifies, towards the control plane. */
export interface Credential {
  kind: 'root' | 'certificate' | 'token'
  /** File, or where else it comes from. */
  from: string
  /** In ms since 1970; null if it does not say, or could not be read. */
  issuedAtMs: number | null
  expiresAtMs: number | null
  /** What is wrong with it, in one phrase; null: nothing. */
  problem: string | null
  /** Whether the connection depends on it: a token does not count while a certificate serves. */
  isNeeded: boolean
}

const MINUTE = 60_000
/** When to warn before the end; for short lives at most this part of a life, so that what is renewed in time never warns. */
const WARNINGS = [
  { beforeMs: 24 * 60 * MINUTE, part: 1 / 8 },
  { beforeMs: 60 * MINUTE, part: 1 / 16 },
  { beforeMs: 10 * MINUTE, part: 1 / 48 },
]
const CHECK_MS = MINUTE
const LEAST_CHECK_MS = 1000

/** Times before the end, in ms and falling, at which a credential's owner is warned. */
export function warningTimes({ issuedAtMs, expiresAtMs }: Credential): number[] {
  const lifeMs = issuedAtMs === null || expiresAtMs === null ? Infinity : Math.max(0, expiresAtMs - issuedAtMs)
  return WARNINGS.map(({ beforeMs, part }) => Math.min(beforeMs, lifeMs * part))
}

/**
 * Warns before credentials end: a day, an hour and ten minutes before (less for short lives), once each, and when they have
 * ended. One that was replaced begins anew.
 */
export class ExpiryWatch {
  readonly #credentials: () => readonly Credential[]
  readonly #log: Log
  readonly #clock: Clock
  /** By kind and place: which end was warned of, and how many warnings it has had. */
  readonly #warned: Map<string, { expiresAtMs: number; warnings: number }> = new Map()
  #cancel: () => void = () => {}

  /** `clock`: Unix time. */
  constructor(credentials: () => readonly Credential[], log: Log, clock: Clock) {
    this.#credentials = credentials
    this.#log = log
    this.#clock = clock
  }

  /** Looks at all of them now, and from now on when it is due. Call it again when they may have changed. */
  check(): void {
    this.#cancel()
    let nextMs = CHECK_MS
    for (const credential of this.#credentials()) nextMs = Math.min(nextMs, this.#checkOne(credential))
    this.#cancel = this.#clock.after(Math.max(LEAST_CHECK_MS, nextMs), () => this.check())
  }

  /** Ends the watch. */
  stop(): void {
    this.#cancel()
  }

  /** Returns how long to wait for the next look at it, in ms. */
  #checkOne(credential: Credential): number {
    const { kind, from, expiresAtMs } = credential
    const key = `${kind} ${from}`
    if (expiresAtMs === null || !credential.isNeeded) {
      this.#warned.delete(key)
      return Infinity
    }
    const leftMs = expiresAtMs - this.#clock.now()
    const times = [...warningTimes(credential), 0]
    const due = times.filter((time) => leftMs <= time).length
    const known = this.#warned.get(key)
    const given = known?.expiresAtMs === expiresAtMs ? known.warnings : 0
    this.#warned.set(key, { expiresAtMs, warnings: due })
    if (due > given) this.#warn(credential, expiresAtMs, leftMs)
    return due < times.length ? leftMs - times[due]! : Infinity
  }

  #warn({ kind, from }: Credential, expiresAtMs: number, leftMs: number): void {
    const fields = { kind, from, expires: new Date(expiresAtMs).toISOString() }
    const name = kind === 'root' ? 'root certificate' : kind
    if (leftMs > 0) this.#log.warn(fields, `the ${name} towards the control plane expires in ${durationText(leftMs)}`)
    else this.#log.error(fields, `the ${name} towards the control plane has expired; the name table held stays in use`)
  }
}
