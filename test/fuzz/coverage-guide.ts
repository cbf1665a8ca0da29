/** Keeps packets that reach code that no packet reached before. */
import type { Coverage } from './coverage.ts'
import { EngineTarget } from './engine-target.ts'
import type { Packet } from './packet.ts'
import type { FuzzTarget } from './target.ts'

/** Looking takes a millisecond: after every packet as long as that finds much, then after more and more of them. */
const LONGEST = 512
/** Looks without a find after which the next ones come half as often. */
const PATIENCE = 256
/** Packets kept of a batch that found something: which of them it was nobody knows. */
const KEPT = 8

interface Recent {
  isReply: boolean
  bytes: Uint8Array
}

export class CoverageGuide {
  readonly #coverage: Coverage
  readonly #target: EngineTarget | null
  readonly #packet: Packet
  #batch = 1
  #left = 1
  #vain = 0
  readonly #recent: Recent[] = []

  constructor(coverage: Coverage, target: FuzzTarget, packet: Packet) {
    this.#coverage = coverage
    this.#target = target instanceof EngineTarget ? target : null
    this.#packet = packet
    coverage.take()
  }

  get text(): string {
    const found = this.#target?.found
    return `${this.#coverage.covered} characters of src covered, ${(found?.queries.length ?? 0) + (found?.replies.length ?? 0)} packets kept`
  }

  /** The packets kept, as corpus files have them. */
  get foundText(): string {
    const found = this.#target?.found
    return `# queries\n${hexLines(found?.queries)}# replies\n${hexLines(found?.replies)}`
  }

  /** After each packet. */
  look(): void {
    const target = this.#target
    if (target === null) return
    // The last ones of the batch are as likely as any.
    if (this.#left <= KEPT) this.#recent.push({ isReply: target.lastWasReply, bytes: this.#packet.copy() })
    if (--this.#left > 0) return
    if (this.#coverage.take()) {
      for (const { isReply, bytes } of this.#recent) target.keep(isReply, bytes)
      this.#vain = 0
      this.#batch = Math.max(1, this.#batch >> 2)
    } else if (++this.#vain > PATIENCE) {
      this.#vain = 0
      this.#batch = Math.min(LONGEST, this.#batch * 2)
    }
    this.#recent.length = 0
    this.#left = this.#batch
  }
}

function hexLines(packets: readonly Uint8Array[] = []): string {
  return packets.map((one) => `${Buffer.from(one).toString('hex')}\n`).join('')
}
