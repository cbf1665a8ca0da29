/**
 * Where everything is in a compiled name table ("image"): one stretch of bytes that workers read in place and that is
 * at the same time the last-known-good file. All numbers are 32 bits in the machine's byte order (the magic tells), all
 * offsets count bytes from the start, and every section starts at a multiple of 4.
 *
 * ```
 *  header          HEADER_BYTES, the fields named AT_…; then the search domain in wire format (256 bytes)
 *  strings         namespace, domain, version (UTF-8), the last with room for a longer one
 *  records         one after the other, see below
 *  name index      slots × (hash, reference)            a reference of 0 is an empty slot
 *  wildcard index  slots × (hash of x, record)          for the hosts *.x
 *  address index   slots × (record | family, address)   for PTR; bit 0 of the first: the address is IPv6
 * ```
 *
 * A record of a host, padded to a multiple of 4 in front of and behind its addresses:
 *
 * ```
 *  0  flags       FLAG_…
 *  1  name length of the whole name on the wire, root included
 *  2  short       length of the labels that make `short`, 0 if the host does not begin with them
 *  3  namespace   length of the label(s) after them that make `ns`, 0 if they do not follow
 *  4  v4 count    16 bits          6  v6 count   16 bits
 *  8  name        lower case; padding; v4 count × 4 bytes; v6 count × 16 bytes
 * ```
 *
 * Most names of rule 2 (`short.`, `short.ns.`, `short.ns.svc.`) are the first labels of the host's own name. They have no
 * bytes of their own: their reference is the record's offset plus KEY_…, and a look-up compares that many labels. Any
 * other one has an alias record right behind its host's:
 *
 * ```
 *  0  FLAG_ALIAS   1  name length   2  0   4  offset of the host's record, low byte first   8  name, padding
 * ```
 */

/** `BYNT` in the byte order of the machine that wrote it. */
export const MAGIC = 0x544e5942
/** Raised whenever a reader of the old format would misread the new one. */
export const FORMAT_VERSION = 1

// Indices into the header as 32-bit words.
export const AT_MAGIC = 0
export const AT_FORMAT = 1
/** Bytes of the whole image. */
export const AT_BYTES = 2
/** Covers everything after this word. Made when the image becomes a file, meaningless before. */
export const AT_CHECKSUM = 3
export const AT_SEED = 4
export const AT_GENERATION = 5
export const AT_HOSTS = 6
export const AT_SKIPPED_HOSTS = 7
export const AT_SKIPPED_ADDRESSES = 8
/** Content hash of the name table, two words. */
export const AT_CONTENT = 9
/** Milliseconds since 1970 as a 64-bit float: at byte 48, a multiple of 8. */
export const AT_TIME = 12
export const AT_RECORDS = 14
export const AT_RECORDS_END = 15
export const AT_NAME_INDEX = 16
/** Slots of an index: a power of two, at least one of them empty. */
export const AT_NAME_SLOTS = 17
export const AT_WILDCARD_INDEX = 18
export const AT_WILDCARD_SLOTS = 19
export const AT_ADDRESS_INDEX = 20
export const AT_ADDRESS_SLOTS = 21
/** Fewest and most labels of x among the hosts `*.x`; 0 and 0 if there are none. */
export const AT_WILDCARD_MIN = 22
export const AT_WILDCARD_MAX = 23
/** Labels and wire length of the search domain, root included; 0 and 0 if there is none. */
export const AT_SEARCH_LABELS = 24
export const AT_SEARCH_LENGTH = 25
/** Offset and length of each string. */
export const AT_VERSION = 26
export const AT_NAMESPACE = 28
export const AT_DOMAIN = 30
export const HEADER_WORDS = 32

/** Byte offset of the search domain in wire format. */
export const SEARCH_AT: number = HEADER_WORDS * 4
/** Bytes of header and search domain. */
export const HEADER_BYTES: number = SEARCH_AT + 256

/** Bytes of a record before its name. */
export const RECORD_HEADER = 8

/** The host is `*.x`; the name is stored with its `*`. */
export const FLAG_WILDCARD = 1
export const FLAG_ALIAS = 2
export const FLAG_KUBERNETES = 4
/** Registry `External`. Other registries are not told apart. */
export const FLAG_EXTERNAL = 8
/** The host's namespace is the identity's. */
export const FLAG_OWN_NAMESPACE = 16
/** Another host of the same name came first: in no index. */
export const FLAG_SHADOWED = 32

/** Low bits of a reference in the name index: which labels of the record's name are the key. */
export const KEY_MASK = 3
const KEY_WHOLE = 0
export const KEY_SHORT = 1
export const KEY_SHORT_NS = 2
/** `short.ns` and the label after it. */
export const KEY_SHORT_NS_SVC = 3

/** The next multiple of 4. */
export function align4(offset: number): number {
  return (offset + 3) & ~3
}

/** Length without root of the key that `kind` (KEY_…) means in the record at `record`. */
export function keyLength(bytes: Uint8Array, record: number, kind: number): number {
  if (kind === KEY_WHOLE) return bytes[record + 1]! - 1
  const short = bytes[record + 2]!
  if (kind === KEY_SHORT) return short
  const shortNs = short + bytes[record + 3]!
  return kind === KEY_SHORT_NS ? shortNs : shortNs + 1 + bytes[record + RECORD_HEADER + shortNs]!
}

/** Offset of the host's record that the alias record at `alias` points to. */
export function aliasTarget(bytes: Uint8Array, alias: number): number {
  return bytes[alias + 4]! | (bytes[alias + 5]! << 8) | (bytes[alias + 6]! << 16) | (bytes[alias + 7]! << 24)
}

/** Bytes that the record at `record` takes. */
export function recordBytes(bytes: Uint8Array, record: number): number {
  const named = RECORD_HEADER + align4(bytes[record + 1]!)
  if (bytes[record]! & FLAG_ALIAS) return named
  const v4Count = bytes[record + 4]! | (bytes[record + 5]! << 8)
  const v6Count = bytes[record + 6]! | (bytes[record + 7]! << 8)
  return named + v4Count * 4 + v6Count * 16
}

/** Checksum of an image's words from the one behind AT_CHECKSUM to its end. Four lanes, so that the multiplications overlap. */
export function checksum(words: Int32Array, lengthWords: number): number {
  let a = 1
  let b = 2
  let c = 3
  let d = 4
  let i = AT_CHECKSUM + 1
  for (; i + 4 <= lengthWords; i += 4) {
    a = Math.imul(a ^ words[i]!, 0x9e3779b1)
    b = Math.imul(b ^ words[i + 1]!, 0x85ebca6b)
    c = Math.imul(c ^ words[i + 2]!, 0xc2b2ae35)
    d = Math.imul(d ^ words[i + 3]!, 0x27d4eb2f)
  }
  for (; i < lengthWords; i++) a = Math.imul(a ^ words[i]!, 0x9e3779b1)
  // Multiplication only carries upwards: each lane is turned before the next joins, so that no high bit is lost.
  let sum = a ^ (a >>> 15)
  sum = Math.imul(sum, 0x2c1b3c6d) ^ b ^ (b >>> 13)
  sum = Math.imul(sum, 0x297a2d39) ^ c ^ (c >>> 16)
  sum = Math.imul(sum, 0x165667b1) ^ d ^ (d >>> 14)
  return sum ^ (sum >>> 16)
}
