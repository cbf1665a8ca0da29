/** Whether a record's name is one of those that are to be logged. */
import type { QueryRecord } from './ring-reader.ts'

/** True if the name asked for is at or below one of `names`, which are wire format in lower case. */
export function isBelow(record: QueryRecord, names: readonly Uint8Array[]): boolean {
  return names.some((name) => endsWith(record, name))
}

function endsWith({ bytes, nameAt, nameLength }: QueryRecord, name: Uint8Array): boolean {
  const end = nameAt + nameLength
  const from = end - name.length
  let at = nameAt
  // From label to label: else `reviews` would end with `views`.
  while (at < from) at += bytes[at]! + 1
  if (at !== from) return false
  for (let k = 0; k < name.length; k++) if (lower(bytes[from + k]!) !== name[k]) return false
  return true
}

function lower(byte: number): number {
  return byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte
}
