/**
 * Finds the few entries in which two name tables differ, whatever order each has them in, by the hashes of their
 * surveys. In step, which is usual, it takes one comparison an entry.
 */
import { HASH_STRIDE, type TableSurvey } from './content-hash.ts'
import { IntList } from './int-list.ts'

/** With more changes the table is compiled anew: comparing them in pairs takes quadratic time. */
const MAX_CHANGES = 256
/** Steps from slot to slot that an entry may take, on average: many times what hashes need. */
const MOST_STEPS = 16

/** The differences of the two tables compared last. */
export class EntryChanges {
  /** Ordinals of the held table's entries that the next one has not, rising. As many as `added`. */
  readonly gone: IntList = new IntList(MAX_CHANGES * 4)
  /** Ordinals of the next table's entries that the held one has not, rising. */
  readonly added: IntList = new IntList(MAX_CHANGES * 4)

  /** True if the tables have as many entries and differ in few of them, which are in the lists then. */
  find(held: TableSurvey, next: TableSurvey): boolean {
    if (held.entries !== next.entries) return false
    const { gone, added } = this
    const a = held.entryHashes.items
    const b = next.entryHashes.items
    gone.clear()
    added.clear()
    for (let k = 0, i = 0; k < held.entries; k++, i += HASH_STRIDE) {
      if (a[i] !== b[i] || a[i + 1] !== b[i + 1]) {
        gone.push(k)
        added.push(k)
      }
    }
    if (gone.length > MAX_CHANGES && !this.dropMoved(a, b)) return false
    return gone.length <= MAX_CHANGES
  }

  /** Takes off the lists what is in both, at different places. False if that would take too long. */
  private dropMoved(a: Int32Array, b: Int32Array): boolean {
    const { gone, added } = this
    let capacity = 2
    while (capacity < gone.length * 2) capacity *= 2
    const mask = capacity - 1
    // Places in `gone` plus one, by hash. One that was met again is negative from then on: of entries that a table has
    // twice, each counts once.
    const slots = new Int32Array(capacity)
    // Entries that a table has many times over all want the same slot.
    let steps = gone.length * MOST_STEPS
    for (let k = 0; k < gone.length; k++) {
      let slot = a[gone.items[k]! * HASH_STRIDE]! & mask
      while (slots[slot] !== 0) {
        if (--steps < 0) return false
        slot = (slot + 1) & mask
      }
      slots[slot] = k + 1
    }
    let left = 0
    for (let k = 0; k < added.length; k++) {
      const entry = added.items[k]!
      const i = entry * HASH_STRIDE
      let slot = b[i]! & mask
      for (;;) {
        if (--steps < 0) return false
        const place = slots[slot]!
        if (place === 0) {
          added.items[left++] = entry
          break
        }
        const j = place > 0 ? gone.items[place - 1]! * HASH_STRIDE : -1
        if (j !== -1 && a[j] === b[i] && a[j + 1] === b[i + 1]) {
          slots[slot] = -1
          gone.items[place - 1] = -1
          break
        }
        slot = (slot + 1) & mask
      }
    }
    added.length = left
    let kept = 0
    for (let k = 0; k < gone.length; k++) if (gone.items[k] !== -1) gone.items[kept++] = gone.items[k]!
    gone.length = kept
    return true
  }
}
