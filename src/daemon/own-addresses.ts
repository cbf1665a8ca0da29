/**
 * This machine's addresses, and whether IPv6 leads out of it. They change while byname runs: DHCP, IPv6 privacy addresses, a VPN. A query that was
 * redirected to byname carries one of them as its source. Node tells nobody when they change, so they are looked up
 * every few seconds, and at once where somebody was refused who may be one of us or a server has begun to fail.
 */
import type { Clock } from '../base/clock.ts'

/** A look of an idle process costs half a millisecond. Until then queries to servers leave by sockets whose address may be gone, and are answered by a later attempt. */
const LOOK_EVERY_MS = 5000

/** What the addresses are followed with. */
export interface OwnAddressesOptions {
  /** Literal addresses of this machine's interfaces. */
  look: () => readonly string[]
  /** Whether IPv6 leads out of this machine, null where that is not known; asked as often as the addresses. */
  lookForIpv6Route?: () => boolean | null
  clock: Clock
  /** They are others now; both lists are empty if only the way out by IPv6 came or went. */
  onChange: (gained: readonly string[], lost: readonly string[]) => void
}

/** Follows the addresses from `start` to `stop`. */
export class OwnAddresses {
  readonly #options: OwnAddressesOptions
  #addresses: readonly string[]
  #isIpv6Routed: boolean | null
  #cancel: (() => void) | null = null

  constructor(options: OwnAddressesOptions) {
    this.#options = options
    this.#addresses = options.look()
    this.#isIpv6Routed = options.lookForIpv6Route?.() ?? null
  }

  /** As of the last look, in no particular order. */
  get current(): readonly string[] {
    return this.#addresses
  }

  /** As of the last look. */
  get isIpv6Routed(): boolean | null {
    return this.#isIpv6Routed
  }

  start(): void {
    this.#cancel ??= this.#options.clock.after(LOOK_EVERY_MS, () => {
      this.#cancel = null
      this.start()
      this.lookAgain()
    })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  /** Looks now. True, and `onChange` was called, if they are others than before. */
  lookAgain(): boolean {
    const before = new Set(this.#addresses)
    const now = new Set(this.#options.look())
    const gained = [...now.difference(before)]
    const lost = [...before.difference(now)]
    const isIpv6Routed = this.#options.lookForIpv6Route?.() ?? null
    if (gained.length + lost.length === 0 && isIpv6Routed === this.#isIpv6Routed) return false
    this.#addresses = [...now]
    this.#isIpv6Routed = isIpv6Routed
    this.#options.onChange(gained, lost)
    return true
  }
}
