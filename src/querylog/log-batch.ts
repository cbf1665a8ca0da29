/** Entries of the query log that leave together, one behind the other. */
import type { QueryRecord } from './ring-reader.ts'

/** Where encoders write entries. Grows as it must, and is used again once what is in it has been copied. */
export class LogBatch {
  bytes: Buffer = Buffer.allocUnsafe(8192)
  /** Bytes and entries so far. */
  used = 0
  entries = 0

  /** Makes room for so many bytes more. */
  reserve(bytes: number): void {
    const needed = this.used + bytes
    if (needed <= this.bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(needed, this.bytes.length * 2))
    this.bytes.copy(larger, 0, 0, this.used)
    this.bytes = larger
  }

  /** Empties it and returns what was in it, as a copy. */
  take(): Entries {
    const entries = { bytes: Buffer.from(this.bytes.subarray(0, this.used)), count: this.entries }
    this.used = 0
    this.entries = 0
    return entries
  }
}

/** Whole entries, encoded; whoever has them owns them. */
export interface Entries {
  bytes: Buffer
  count: number
}

/** Writes one answer into a batch; `server`: label of the upstream server that it is from, null if none or not known. */
export type EntryEncoder = (batch: LogBatch, record: QueryRecord, server: string | null) => void
