/** A list of 32-bit integers that grows by doubling and keeps its memory when it is emptied: scratch for the compiler. */
export class IntList {
  /** The numbers are the first `length` of these. */
  items: Int32Array
  length = 0
  private readonly minCapacity: number

  constructor(minCapacity: number) {
    this.minCapacity = minCapacity
    this.items = new Int32Array(minCapacity)
  }

  push(a: number): void {
    if (this.length === this.items.length) this.grow()
    this.items[this.length++] = a
  }

  push2(a: number, b: number): void {
    if (this.length + 2 > this.items.length) this.grow()
    this.items[this.length++] = a
    this.items[this.length++] = b
  }

  push3(a: number, b: number, c: number): void {
    if (this.length + 3 > this.items.length) this.grow()
    this.items[this.length++] = a
    this.items[this.length++] = b
    this.items[this.length++] = c
  }

  /** The numbers: a view, valid until the list grows. */
  view(): Int32Array {
    return this.items.subarray(0, this.length)
  }

  /** Empties the list, and gives memory back if the last use needed little of it. */
  clear(): void {
    if (this.items.length > this.minCapacity && this.length * 8 < this.items.length) {
      this.items = new Int32Array(Math.max(this.minCapacity, this.length * 2))
    }
    this.length = 0
  }

  /** Makes room for `capacity` numbers in all, so that nothing is copied until there are more. */
  reserve(capacity: number): void {
    if (capacity <= this.items.length) return
    const larger = new Int32Array(capacity)
    larger.set(this.view())
    this.items = larger
  }

  private grow(): void {
    this.reserve(this.items.length * 2)
  }
}
