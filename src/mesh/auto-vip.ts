import ipaddr from 'ipaddr.js'
import type { ServiceEntryResource } from './mesh-resources.ts'

/** The automatic addresses of a host. */
export interface Vip {
  v4: string
  v6: string
}

/** Last octets .0 and .255 are left out, as Istio does: some stacks take them for a network or a broadcast. */
const HOSTS_PER_OCTET = 254
const SLOTS = 256 * HOSTS_PER_OCTET

/**
 * Gives hosts without addresses automatic ones, in 240.240.0.0/16 and 2001:2::/48 (as Istio: the former is reserved, the
 * latter for benchmarks, so neither leads anywhere by itself). Each host has a slot, which is both:
 *
 * ```
 *  slot = a × 254 + (b − 1)      a 0…255, b 1…254      240.240.a.b      2001:2::f0f0:aabb
 * ```
 *
 * A host's slot is the one that its hash names, or the next free one. The first needs no memory to be the same for
 * ever; a host that had to move on ("displaced") must be remembered, or it would move back once the other is gone.
 * Hosts that went away keep their slot until there is no other left, so that they find it again when they come back.
 */
export class AutoVips {
  readonly #slotOf: Map<string, number> = new Map()
  readonly #hostOf: Map<number, string> = new Map()

  /** `displaced`: what `displaced()` returned earlier; entries that are none are passed over. */
  constructor(displaced: Iterable<readonly [host: string, v4: string]> = []) {
    for (const [host, v4] of displaced) {
      const slot = slotAt(v4)
      if (slot !== null && !this.#hostOf.has(slot) && !this.#slotOf.has(host)) this.#take(host, slot)
    }
  }

  /**
   * Addresses for each of `hosts`; a host that has some keeps them, unless one of them is in `used`: addresses that
   * somebody chose. Newcomers are served in the order of their names. A host for which there is no slot has no entry.
   */
  assign(hosts: ReadonlySet<string>, used: ReadonlySet<string> = new Set()): Map<string, Vip> {
    const usedSlots = new Set([...used].map(slotAt))
    const vips = new Map<string, Vip>()
    for (const host of [...hosts].toSorted()) {
      let slot = this.#slotOf.get(host) ?? null
      if (slot !== null && usedSlots.has(slot)) {
        this.#release(host, slot)
        slot = null
      }
      slot ??= this.#freeSlot(host, hosts, usedSlots)
      if (slot === null) continue
      this.#take(host, slot)
      vips.set(host, vipAt(slot))
    }
    return vips
  }

  /** Host → IPv4 address of the hosts whose address does not follow from their name alone, sorted. */
  displaced(): [host: string, v4: string][] {
    return [...this.#slotOf]
      .filter(([host, slot]) => slot !== firstSlot(host))
      .map(([host, slot]): [string, string] => [host, vipAt(slot).v4])
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
  }

  #freeSlot(host: string, present: ReadonlySet<string>, usedSlots: ReadonlySet<number | null>): number | null {
    if (this.#hostOf.size === SLOTS) this.#forgetAbsent(present)
    if (this.#hostOf.size === SLOTS) return null
    const first = firstSlot(host)
    for (let step = 0; step < SLOTS; step++) {
      const slot = (first + step) % SLOTS
      if (!this.#hostOf.has(slot) && !usedSlots.has(slot)) return slot
    }
    return null
  }

  #forgetAbsent(present: ReadonlySet<string>): void {
    for (const [host, slot] of this.#slotOf) if (!present.has(host)) this.#release(host, slot)
  }

  #take(host: string, slot: number): void {
    this.#slotOf.set(host, slot)
    this.#hostOf.set(slot, host)
  }

  #release(host: string, slot: number): void {
    this.#slotOf.delete(host)
    this.#hostOf.delete(slot)
  }
}

/**
 * Hosts that need automatic addresses: of a ServiceEntry without addresses that does not forbid it. Not with resolution
 * NONE, as the proxy could not tell where the connection was meant to go; and a wildcard host only where each name is
 * resolved on its own (DYNAMIC_DNS).
 */
export function hostsToAllocate(entries: readonly ServiceEntryResource[]): Set<string> {
  const hosts = new Set<string>()
  for (const entry of entries) {
    if (entry.hasAddresses || !entry.mayAllocate || entry.resolution === 'NONE') continue
    for (const host of entry.hosts) {
      if (entry.allocated.has(host)) continue
      if (!host.startsWith('*') || entry.resolution === 'DYNAMIC_DNS') hosts.add(host)
    }
  }
  return hosts
}

/** Addresses in the ranges of automatic ones that ServiceEntries name already, in canonical form. */
export function usedAddresses(entries: readonly ServiceEntryResource[]): Set<string> {
  const addresses = entries.flatMap((entry) => [...entry.addresses, ...[...entry.allocated.values()].flat()])
  return new Set(
    addresses
      .filter((address) => /^(240\.240\.|2001:0*2:)/.test(address))
      .map((address) => ipaddr.parse(address).toString()),
  )
}

function vipAt(slot: number): Vip {
  const a = Math.floor(slot / HOSTS_PER_OCTET)
  const b = (slot % HOSTS_PER_OCTET) + 1
  return { v4: `240.240.${a}.${b}`, v6: `2001:2::f0f0:${((a << 8) | b).toString(16)}` }
}

/** Null for an address that is not one of a slot. */
function slotAt(address: string): number | null {
  const v4 = /^240\.240\.(\d{1,3})\.(\d{1,3})$/.exec(address)
  const v6 = /^2001:2::f0f0:([0-9a-f]{1,4})$/.exec(address)
  const low = v6 === null ? 0 : Number.parseInt(v6[1]!, 16)
  const [a, b] = v4 === null ? [low >> 8, low & 0xff] : [Number(v4[1]), Number(v4[2])]
  return a <= 255 && b >= 1 && b <= HOSTS_PER_OCTET ? a * HOSTS_PER_OCTET + b - 1 : null
}

/** FNV-1a over the name. It must never change: it is what keeps addresses the same from one start to the next. */
function firstSlot(host: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < host.length; i++) hash = Math.imul(hash ^ host.charCodeAt(i), 0x01000193)
  return (hash >>> 0) % SLOTS
}
