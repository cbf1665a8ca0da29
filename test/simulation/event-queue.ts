/** A binary heap of things to come; what is due at the same time comes in the order in which it was added. */
export class EventQueue<T> {
  private readonly heap: { at: number; order: number; event: T }[] = []
  private added = 0

  /** When the next is due, Infinity if there is none. */
  get nextAt(): number {
    return this.heap[0]?.at ?? Number.POSITIVE_INFINITY
  }

  add(at: number, event: T): void {
    const { heap } = this
    const entry = { at, order: this.added++, event }
    let k = heap.length
    while (k > 0) {
      const parent = (k - 1) >> 1
      if (!isBefore(entry, heap[parent]!)) break
      heap[k] = heap[parent]!
      k = parent
    }
    heap[k] = entry
  }

  /** Takes the first that is due at `now`, or null. */
  takeDue(now: number): T | null {
    const { heap } = this
    const first = heap[0]
    if (first === undefined || first.at > now) return null
    const last = heap.pop()!
    if (heap.length > 0) this.sink(last)
    return first.event
  }

  private sink(entry: { at: number; order: number; event: T }): void {
    const { heap } = this
    let k = 0
    for (;;) {
      let child = 2 * k + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && isBefore(heap[child + 1]!, heap[child]!)) child++
      if (!isBefore(heap[child]!, entry)) break
      heap[k] = heap[child]!
      k = child
    }
    heap[k] = entry
  }
}

function isBefore(a: { at: number; order: number }, b: { at: number; order: number }): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order)
}
