/** Upper bounds, in seconds, for the time that compiling a name table takes. */
export const COMPILE_BOUNDS: readonly number[] = [0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** A histogram's counts, for what the control thread itself measures (data workers count in shared memory). */
export class BucketCounts {
  /** Upper bounds, ascending, inclusive. */
  readonly bounds: readonly number[]
  /** Not cumulative; the last bucket is +Inf. */
  readonly counts: Float64Array
  sum = 0

  constructor(bounds: readonly number[]) {
    this.bounds = bounds
    this.counts = new Float64Array(bounds.length + 1)
  }

  observe(value: number): void {
    let bucket = 0
    while (bucket < this.bounds.length && value > this.bounds[bucket]!) bucket++
    this.counts[bucket]!++
    this.sum += value
  }
}
