import type { Push, WantedType } from './ads-dialect.ts'

/** Resources of one type that somebody wants of the control plane, and who takes them in. */
export interface Subscription extends WantedType {
  /** What the resources are called in log lines: `name table`. */
  label: string
  /**
   * Takes in what a response brings, all of which is of this type. The bytes are the client's again when it returns. What
   * was taken before stays whenever a response is refused, a stream ends, or there is no control plane any more.
   */
  take(push: Push): Verdict
}

/**
 * What became of a response. Refused (NACK): `reason` is one line. Neither taken nor refused (ACK): there was nothing in it
 * that could be taken.
 */
export type Verdict = { accepted: true; changed: boolean } | { accepted: false; reason: string } | 'nothing'
