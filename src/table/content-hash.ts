/**
 * A fingerprint of a name table that does not depend on the order of its hosts: istiod marshals a Go map, so the same
 * table may come in another order. Each entry's bytes are hashed by themselves and the hashes are added up.
 */
import { finishHash } from '../dns/name.ts'
import { NdsReader, TAG_1 } from './nds-reader.ts'

/** What was found by `surveyTable`. `low` and `high` are the hash's 64 bits. */
export interface TableSurvey {
  entries: number
  bytes: number
  low: number
  high: number
}

/** Counts and fingerprints the entries of a serialized NameTable; returns the offset where it is malformed, if it is. */
export function surveyTable(table: Uint8Array, seed: number): TableSurvey | number {
  const reader = new NdsReader()
  reader.reset(table)
  const view = new DataView(table.buffer, table.byteOffset, table.byteLength)
  const survey: TableSurvey = { entries: 0, bytes: 0, low: 0, high: 0 }
  for (let tag = reader.field(table.length); tag !== 0; tag = reader.field(table.length)) {
    if (tag === TAG_1) {
      survey.entries++
      survey.bytes += reader.length
      addEntry(view, reader.at, reader.length, seed, survey)
    }
    reader.at += reader.length
  }
  return reader.malformed ? reader.at : survey
}

function addEntry(view: DataView, at: number, length: number, seed: number, survey: TableSurvey): void {
  let a = seed ^ length
  let b = ~seed
  let i = at
  for (const end = at + length - 3; i < end; i += 4) {
    const word = view.getInt32(i, true)
    a = Math.imul(a ^ word, 0x9e3779b1)
    a ^= a >>> 15
    b = Math.imul(((b << 13) | (b >>> 19)) ^ word, 0x85ebca6b)
  }
  for (; i < at + length; i++) {
    const byte = view.getUint8(i)
    a = Math.imul(a ^ byte, 0x9e3779b1)
    a ^= a >>> 15
    b = Math.imul(((b << 13) | (b >>> 19)) ^ byte, 0x85ebca6b)
  }
  survey.low = (survey.low + finishHash(a)) | 0
  survey.high = (survey.high + finishHash(b ^ Math.imul(a, 0xc2b2ae35))) | 0
}

/** True if the two surveys are of tables with the same entries, in whatever order. */
export function isSameContent(a: TableSurvey, b: TableSurvey): boolean {
  return a.low === b.low && a.high === b.high && a.entries === b.entries && a.bytes === b.bytes
}
