/** Looks that memory does not grow and that no batch of packets takes long. */
import { Violation } from '../simulation/violation.ts'

/** CPU time that 1,024 packets may take; they take about 50 ms. */
const BATCH_CPU_MS = 10_000
/** Looks until memory is what it will stay. */
const WARM_LOOKS = 6
const GROWTH_BYTES = 192 << 20

export class MemoryWatch {
  #cpu: NodeJS.CpuUsage = process.cpuUsage()
  #looks = 0
  #base = 0
  #most = 0
  #last = 0
  slowestMs = 0

  /** After each 1,024 packets. */
  batch(): void {
    const { user, system } = process.cpuUsage(this.#cpu)
    this.#cpu = process.cpuUsage()
    const milliseconds = (user + system) / 1000
    if (milliseconds > this.slowestMs) this.slowestMs = milliseconds
    if (milliseconds > BATCH_CPU_MS) throw new Violation(`1,024 packets took ${Math.round(milliseconds)} ms of CPU`)
  }

  /** Now and then. */
  look(_packets: number): void {
    this.#last = process.memoryUsage.rss()
    if (++this.#looks <= WARM_LOOKS) this.#base = Math.max(this.#base, this.#last)
    this.#most = Math.max(this.#most, this.#last)
    if (this.#looks > WARM_LOOKS && this.#last > this.#base + GROWTH_BYTES)
      throw new Violation(`memory has grown from ${this.#base >> 20} to ${this.#last >> 20} MiB`)
  }

  end(): void {
    this.look(0)
  }

  get text(): string {
    return `${this.#last >> 20} MiB (most ${this.#most >> 20}), slowest 1,024 packets ${Math.round(this.slowestMs)} ms of CPU`
  }
}
