/**
 * Datagrams that came to the right address and port with the right question and a wrong id: somebody guesses (RFC 5452 §4).
 * A late reply to an earlier question is none of these: no question like it is pending by the same socket.
 */
import { CLASS_IN, HEADER_BYTES } from '../../dns/constants.ts'
import { ScannedName, scanName } from '../../dns/name.ts'
import { readU16 } from '../../dns/reply.ts'
import { Variant } from '../client-query.ts'
import { keyHash } from '../cache/nxdomain-cut.ts'
import { NONE } from './attempts.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { KEY_TAIL } from './in-flight.ts'

/** All combinations of Variant's bits, for each answer class: a forger may have set any flag. */
const VARIANTS = (Variant.DO | Variant.CD | Variant.NO_RECURSION) + 1

/** Finds the attempt that a guessed reply was aimed at. */
export class NearMisses {
  readonly #state: ForwarderState
  readonly #name: ScannedName = new ScannedName()

  constructor(state: ForwarderState) {
    this.#state = state
  }

  /** The attempt under way by this socket whose question the message of `length` bytes at `start` repeats, or NONE. */
  attemptFor(socket: number, packet: Uint8Array, start: number, length: number): number {
    const { attempts, context, inFlight } = this.#state
    const end = start + length
    if (readU16(packet, start + 4) !== 1) return NONE
    const tail = scanName(packet, start + HEADER_BYTES, end, context.seed, this.#name)
    if (tail < 0 || tail + 4 > end || readU16(packet, tail + 2) !== CLASS_IN) return NONE
    const { lower: key, length: nameLength } = this.#name
    key[nameLength] = packet[tail]!
    key[nameLength + 1] = packet[tail + 1]!
    const hash = this.#name.hash()
    const variants = VARIANTS * this.#state.upstreams.classes
    for (let variant = 0; variant < variants; variant++) {
      key[nameLength + 2] = variant
      const p = inFlight.find(keyHash(hash, readU16(packet, tail), variant), key, nameLength + KEY_TAIL)
      for (let a = p === NONE ? NONE : attempts.newest(p); a !== NONE; a = attempts.after(a))
        if (attempts.socket(a) === socket) return a
    }
    return NONE
  }
}
