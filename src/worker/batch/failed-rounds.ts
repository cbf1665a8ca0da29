/**
 * Notices a call that fails round after round. A single error is the network's; one that stays would have the loop spin at
 * a full core, answer nobody and log nothing, so it ends the worker: its supervisor logs it and starts another after a pause.
 */
import { errorName } from '../../os/syscalls.ts'

/** Some milliseconds of spinning. */
const MOST_IN_A_ROW = 1000

/** Counts failures round after round. */
export class FailedRounds {
  #round = 0
  /** By place: the last round that it failed in, and in how many without a gap. */
  readonly #last: Int32Array
  readonly #inARow: Int32Array

  /** `places`: callers, each with failures of its own. */
  constructor(places: number) {
    this.#last = new Int32Array(places).fill(-1)
    this.#inARow = new Int32Array(places)
  }

  /** Another round begins: all that this costs while nothing fails. */
  begin(): void {
    this.#round = (this.#round + 1) & 0x3fff_ffff
  }

  /** The call of this place failed in this round; call it once a round. @throws when it has failed too often in a row */
  failed(place: number, call: string, error: number): void {
    const inARow = this.#last[place] === this.#round - 1 ? this.#inARow[place]! + 1 : 1
    this.#last[place] = this.#round
    this.#inARow[place] = inARow
    if (inARow >= MOST_IN_A_ROW) throw new Error(`${call} gives ${errorName(error)}, ${MOST_IN_A_ROW} times in a row`)
  }
}
