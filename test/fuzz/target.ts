/** What can be fuzzed, as the command line and the tests see it. */
import type { Packet } from './packet.ts'

export interface TargetOptions {
  seed: number
  /** Where packets are made: the watchdog reads it when nothing goes on. */
  packet: Packet
  /** Packets after which everything is put away and made anew. */
  episode: number
}

export interface FuzzTarget {
  /** Makes one packet and does what is to be done with it; throws when a rule is broken. */
  step(): void
  /** Lets all come to rest, and looks whether anything is left. */
  finish(): void
  /** Lets go of what keeps a process alive. */
  close(): void
  /** Takes packets that another run has found (`--save`). */
  takeFound(text: string): void
  readonly packets: number
  /** What was done, for the end of a run. */
  readonly summary: string
}
