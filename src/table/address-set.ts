/** Keeps equal addresses of one host from being stored twice, in linear time however many a host has. */
import { hashAddress } from './image.ts'

/** Up to this many addresses are compared one by one, which needs no set. */
const FEW = 12

/** The addresses of the host at hand. */
export class AddressSet {
  private readonly size: 4 | 16
  private readonly seed: number
  /** Ordinals plus one, by hash; 0 is free. Scratch that is filled afresh for each host with many addresses. */
  private slots: Int32Array = new Int32Array(64)

  constructor(size: 4 | 16, seed: number) {
    this.size = size
    this.seed = seed
  }

  /** Appends `address` to the `count` addresses at `at` unless it is among them. Returns false if it is. */
  add(bytes: Uint8Array, at: number, count: number, address: Uint8Array): boolean {
    const { size } = this
    const end = at + count * size
    if (count < FEW) {
      for (let known = at; known < end; known += size) if (this.equal(bytes, known, address)) return false
    } else {
      if (count === FEW) this.refill(bytes, at, count, 64)
      else if (count * 2 >= this.slots.length) this.refill(bytes, at, count, this.slots.length * 2)
      const slot = this.slotOf(bytes, at, address)
      if (this.slots[slot] !== 0) return false
      this.slots[slot] = count + 1
    }
    for (let i = 0; i < size; i++) bytes[end + i] = address[i]!
    return true
  }

  private refill(bytes: Uint8Array, at: number, count: number, capacity: number): void {
    const { size } = this
    if (this.slots.length === capacity) this.slots.fill(0)
    else this.slots = new Int32Array(capacity)
    for (let k = 0; k < count; k++) {
      const from = at + k * size
      this.slots[this.slotOf(bytes, at, bytes.subarray(from, from + size))] = k + 1
    }
  }

  /** The slot that holds `address`, or the free one that it would take. */
  private slotOf(bytes: Uint8Array, at: number, address: Uint8Array): number {
    const { slots, size } = this
    const mask = slots.length - 1
    let slot = hashAddress(this.seed, address, 0, size) & mask
    while (slots[slot] !== 0 && !this.equal(bytes, at + (slots[slot]! - 1) * size, address)) slot = (slot + 1) & mask
    return slot
  }

  private equal(bytes: Uint8Array, at: number, address: Uint8Array): boolean {
    for (let i = 0; i < this.size; i++) if (bytes[at + i] !== address[i]) return false
    return true
  }
}
