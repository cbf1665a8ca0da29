/** A set of servers for each pending query: a bit each, as settings have at most 32 of them (MAX_SERVERS). */
export class ServerSets {
  readonly #bits: Uint32Array

  /** `capacity`: pending queries are 0 … capacity − 1. */
  constructor(capacity: number) {
    this.#bits = new Uint32Array(capacity)
  }

  has(p: number, server: number): boolean {
    return (this.#bits[p]! & (1 << server)) !== 0
  }

  add(p: number, server: number): void {
    this.#bits[p] = this.#bits[p]! | (1 << server)
  }

  /** The whole set: bit = index. */
  of(p: number): number {
    return this.#bits[p]!
  }

  clear(p: number): void {
    this.#bits[p] = 0
  }
}
