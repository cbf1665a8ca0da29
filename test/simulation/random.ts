/** Numbers that follow from a seed alone. */

/** Mixes numbers into one 32-bit hash: what happens to a message depends on what it is, not on how many came before. */
export function mix(...parts: number[]): number {
  let h = 0x9e3779b9
  for (const part of parts) {
    h = Math.imul(h ^ (part | 0), 0x85ebca6b)
    h ^= h >>> 13
    h = Math.imul(h ^ ((part / 4_294_967_296) | 0), 0xc2b2ae35)
    h ^= h >>> 16
  }
  return h | 0
}

/** Hash of a string. */
export function hashText(text: string): number {
  let h = 0x811c9dc5
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193)
  return mix(h)
}

/** The sfc32 generator (Chris Doty-Humphrey, PractRand): small, quick, long period. */
export class Random {
  private a = 0
  private b = 0
  private c = 0
  private counter = 1

  constructor(seed: number) {
    this.a = mix(seed, 1)
    this.b = mix(seed, 2)
    this.c = mix(seed, 3)
    for (let i = 0; i < 8; i++) this.next()
  }

  /** A signed 32-bit number. */
  next(): number {
    const sum = (this.a + this.b + this.counter) | 0
    this.counter = (this.counter + 1) | 0
    this.a = this.b ^ (this.b >>> 9)
    this.b = (this.c + (this.c << 3)) | 0
    this.c = ((this.c << 21) | (this.c >>> 11)) + sum
    this.c |= 0
    return sum
  }

  /** At least 0, less than 1. */
  fraction(): number {
    return (this.next() >>> 0) / 4_294_967_296
  }

  /** A whole number of 0 … n − 1. */
  below(n: number): number {
    return Math.floor(this.fraction() * n)
  }

  between(low: number, high: number): number {
    return low + this.fraction() * (high - low)
  }

  chance(probability: number): boolean {
    return this.fraction() < probability
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!
  }

  /** One of the values, each as often as its weight says. */
  weighted<T>(choices: readonly (readonly [number, T])[]): T {
    let left = this.fraction() * choices.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of choices) {
      left -= weight
      if (left < 0) return value
    }
    return choices.at(-1)![1]
  }

  /** Time to the next of events that come at random, `mean` apart. */
  interval(mean: number): number {
    return -Math.log(1 - this.fraction()) * mean
  }
}
