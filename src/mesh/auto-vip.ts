import { addressText, literalBytes } from '../dns/address.ts'
import type { ServiceEntryResource } from './mesh-resources.ts'

/** The automatic addresses of one host of one ServiceEntry. */
export interface Vip {
  v4: string
  v6: string
}

/** Last octets .0 and .255 are left out: some stacks take them for a network or a broadcast address. */
const HOSTS_PER_OCTET = 254
const SLOTS = 256 * HOSTS_PER_OCTET

/**
 * Gives hosts of ServiceEntries without addresses automatic ones, in 240.240.0.0/16 and 2001:2::/48 as istiod does (the
 * former is reserved, the latter for benchmarks, so neither leads anywhere by itself). They count up in the order in
 * which the hosts arrive, both addresses together:
 *
 * ```
 *  slot = a × 254 + (b − 1)      a 0…255, b 1…254      240.240.a.b      2001:2::ab (hexadecimal)
 * ```
 *
 * A host keeps its slot for ever, also while it is away; only when there is no slot left are those of absent hosts
 * given to others. istiod keeps them in the status of the ServiceEntry; here the caller saves what `entries` returns.
 */
export class AutoVips {
  readonly #slotOf: Map<string, number> = new Map()
  readonly #keyOf: Map<number, string> = new Map()
  /** Every slot before it is taken, or was when it was looked at. */
  #next = 0

  /** `kept`: what `entries` returned earlier; items that are none are passed over. */
  constructor(kept: Iterable<readonly [key: string, v4: string]> = []) {
    for (const [key, v4] of kept) {
      const slot = slotAt(v4)
      if (slot !== null && !this.#keyOf.has(slot) && !this.#slotOf.has(key)) this.#take(key, slot)
    }
  }

  /**
   * Addresses for each of `keys` (`vipKey`), newcomers in their order. A host that has some keeps them, unless one of them
   * is in `used`: addresses that somebody chose. A host for which there is no slot left is not in the result.
   */
  assign(keys: Iterable<string>, used: ReadonlySet<string> = new Set()): Map<string, Vip> {
    const present = new Set(keys)
    const usedSlots = new Set([...used].map(slotAt))
    const vips = new Map<string, Vip>()
    let isFull = false
    for (const key of present) {
      let slot = this.#slotOf.get(key) ?? null
      if (slot !== null && usedSlots.has(slot)) {
        this.#release(key, slot)
        slot = null
      }
      if (slot === null && !isFull) slot = this.#freeSlot(present, usedSlots)
      isFull ||= slot === null
      if (slot === null) continue
      this.#take(key, slot)
      vips.set(key, vipAt(slot))
    }
    return vips
  }

  /** Key and IPv4 address of every host that has addresses, in the order of the addresses. */
  entries(): [key: string, v4: string][] {
    return [...this.#slotOf]
      .toSorted(([, a], [, b]) => a - b)
      .map(([key, slot]): [string, string] => [key, vipAt(slot).v4])
  }

  #freeSlot(present: ReadonlySet<string>, usedSlots: ReadonlySet<number | null>): number | null {
    const slot = this.#nextFree(usedSlots)
    if (slot !== null || !this.#forgetAbsent(present)) return slot
    this.#next = 0
    return this.#nextFree(usedSlots)
  }

  #nextFree(usedSlots: ReadonlySet<number | null>): number | null {
    while (this.#next < SLOTS) {
      const slot = this.#next++
      if (!this.#keyOf.has(slot) && !usedSlots.has(slot)) return slot
    }
    return null
  }

  /** False if all hosts that have addresses are present. */
  #forgetAbsent(present: ReadonlySet<string>): boolean {
    const before = this.#slotOf.size
    for (const [key, slot] of this.#slotOf) if (!present.has(key)) this.#release(key, slot)
    return this.#slotOf.size < before
  }

  #take(key: string, slot: number): void {
    this.#slotOf.set(key, slot)
    this.#keyOf.set(slot, key)
  }

  #release(key: string, slot: number): void {
    this.#slotOf.delete(key)
    this.#keyOf.delete(slot)
  }
}

/** Names one host of one ServiceEntry: two entries of one host have automatic addresses each. */
export function vipKey({ namespace, name }: ServiceEntryResource, host: string): string {
  return `${namespace}/${name}/${host}`
}

/**
 * Keys of the hosts that need automatic addresses, in the order of the entries: those of a ServiceEntry without addresses
 * that does not forbid it. Not with resolution NONE, as the proxy could not tell where the connection was meant to go;
 * and a wildcard host only where each name is resolved on its own (DYNAMIC_DNS).
 */
export function hostsToAllocate(entries: readonly ServiceEntryResource[]): string[] {
  return entries.flatMap((entry) =>
    entry.hosts
      .filter((host) => isAllocated(entry, host) && !entry.allocated.has(host))
      .map((host) => vipKey(entry, host)),
  )
}

/** True if the host has automatic addresses, by istiod's hand (the entry's status) or by ours. */
export function isAllocated(entry: ServiceEntryResource, host: string): boolean {
  if (entry.hasAddresses || !entry.mayAllocate || entry.resolution === 'NONE') return false
  return !host.startsWith('*') || entry.resolution === 'DYNAMIC_DNS'
}

/** Addresses in the ranges of automatic ones that ServiceEntries name already, in canonical form. */
export function usedAddresses(entries: readonly ServiceEntryResource[]): Set<string> {
  const addresses = entries.flatMap((entry) => [...entry.addresses, ...[...entry.allocated.values()].flat()])
  return new Set(
    addresses
      .filter((address) => /^(240\.240\.|2001:0*2:)/.test(address))
      .map((address) => addressText(literalBytes(address))),
  )
}

function vipAt(slot: number): Vip {
  const a = Math.floor(slot / HOSTS_PER_OCTET)
  const b = (slot % HOSTS_PER_OCTET) + 1
  return { v4: `240.240.${a}.${b}`, v6: `2001:2::${((a << 8) | b).toString(16)}` }
}

/** Null for an address that is not one of a slot. */
function slotAt(address: string): number | null {
  const v4 = /^240\.240\.(\d{1,3})\.(\d{1,3})$/.exec(address)
  const v6 = /^2001:2::([0-9a-f]{1,4})$/.exec(address)
  if (v4 === null && v6 === null) return null
  const low = v6 === null ? 0 : Number.parseInt(v6[1]!, 16)
  const [a, b] = v4 === null ? [low >> 8, low & 0xff] : [Number(v4[1]), Number(v4[2])]
  return a <= 255 && b >= 1 && b <= HOSTS_PER_OCTET ? a * HOSTS_PER_OCTET + b - 1 : null
}
