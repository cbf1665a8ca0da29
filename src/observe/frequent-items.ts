/**
 * The most frequent of many items in bounded space: the SpaceSaving algorithm (Metwally, Agrawal, El Abbadi: "Efficient
 * computation of frequent and top-k elements in data streams", 2005), with weights.
 *
 * Of an item held, `weight - error ≤ true weight ≤ weight`, and `error ≤ total / capacity`. An item whose true weight is
 * above `total / capacity` is held.
 */

/** An item that is held. */
export interface FrequentItem {
  item: string
  /** At most too large by `error`. */
  weight: number
  error: number
}

/** Holds `capacity` items. An item that is new takes the place of the least frequent one, and its weight as its error. */
export class FrequentItems {
  readonly #capacity: number
  readonly #places: Map<string, number> = new Map()
  readonly #items: string[] = []
  readonly #weights: Float64Array
  readonly #errors: Float64Array
  #total = 0

  constructor(capacity: number) {
    this.#capacity = capacity
    this.#weights = new Float64Array(capacity)
    this.#errors = new Float64Array(capacity)
  }

  /** Weight of all that was added, held or not. */
  get total(): number {
    return this.#total
  }

  add(item: string, weight: number): void {
    this.#total += weight
    const place = this.#places.get(item) ?? this.#newPlace(item)
    this.#weights[place]! += weight
  }

  /** Multiplies all weights by `factor` (0…1): what was added before counts for less. */
  fade(factor: number): void {
    this.#total *= factor
    for (let place = 0; place < this.#items.length; place++) {
      this.#weights[place]! *= factor
      this.#errors[place]! *= factor
    }
  }

  /** The `most` most frequent, the most frequent first. */
  top(most: number): FrequentItem[] {
    return this.#items
      .map((item, place) => ({ item, weight: this.#weights[place]!, error: this.#errors[place]! }))
      .toSorted((one, other) => other.weight - one.weight)
      .slice(0, most)
  }

  #newPlace(item: string): number {
    if (this.#items.length < this.#capacity) {
      this.#places.set(item, this.#items.length)
      return this.#items.push(item) - 1
    }
    // Some hundred places, some dozens of times a second: a heap would not be faster.
    const weights = this.#weights
    let least = 0
    for (let place = 1; place < this.#capacity; place++) if (weights[place]! < weights[least]!) least = place
    this.#places.delete(this.#items[least]!)
    this.#items[least] = item
    this.#places.set(item, least)
    this.#errors[least] = weights[least]!
    return least
  }
}
