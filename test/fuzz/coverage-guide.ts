/** Keeps packets that reach code that no packet reached before. */
import type { Coverage } from './coverage.ts'
import { EngineTarget } from './engine-target.ts'
import type { Packet } from './packet.ts'
import type { FuzzTarget } from './target.ts'

/** Looking takes a millisecond: so many times as long is fuzzed before the next look, at first and in the end. */
const FIRST_SHARE = 3
const LAST_SHARE = 60
/** Looks without a find after which the next ones come half as often. */
const PATIENCE = 500
/** Packets kept when something was found, the last ones: which of them it was nobody knows. */
const KEPT = 8

interface Recent {
  isReply: boolean
  bytes: Uint8Array
}

export class CoverageGuide {
  readonly #coverage: Coverage
  readonly #target: EngineTarget | null
  readonly #packet: Packet
  #share = FIRST_SHARE
  #lookAt = 0
  #vain = 0
  #packets = 0
  #recent: Recent[] = []

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
    const before = performance.now()
    this.#recent[this.#packets++ % KEPT] = { isReply: target.lastWasReply, bytes: this.#packet.copy() }
    if (before < this.#lookAt) return
    if (this.#coverage.take()) {
      for (const { isReply, bytes } of this.#recent) target.keep(isReply, bytes)
      this.#vain = 0
      this.#share = FIRST_SHARE
    } else if (++this.#vain > PATIENCE) {
      this.#vain = 0
      this.#share = Math.min(LAST_SHARE, this.#share * 2)
    }
    this.#recent = []
    this.#packets = 0
    const after = performance.now()
    this.#lookAt = after + (after - before) * this.#share
  }
}

function hexLines(packets: readonly Uint8Array[] = []): string {
  return packets.map((one) => `${Buffer.from(one).toString('hex')}\n`).join('')
}
