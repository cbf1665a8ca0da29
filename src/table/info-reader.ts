import { parseAddress } from '../dns/address.ts'
import { AddressSet } from './address-set.ts'
import { hashWords } from './content-hash.ts'
import { startsWithText } from './name-text.ts'
import { type NdsReader, TAG_1, TAG_2, TAG_3, TAG_4, TAG_5 } from './nds-reader.ts'

/** The counts of a record have 16 bits; no reply could carry more either. */
export const MAX_ADDRESSES = 65_535

/**
 * Reads what a name table says of a host besides its name (NameInfo) in place: addresses are parsed to where the record
 * will have them, of the other fields it is noted where they are. What was read is in the fields until the next `read`.
 */
export class InfoReader {
  v4Count = 0
  v6Count = 0
  /** Where the short name is in the table; it has no bytes if there is none. */
  shortAt = 0
  shortLength = 0
  /** The same of the namespace. */
  namespaceAt = 0
  namespaceLength = 0
  /** How many alternate names there are. */
  altHosts = 0
  /** Hash, not finished, of everything in the entry that counts but its addresses, of which it has the numbers. */
  shape = 0

  private readonly reader: NdsReader
  private readonly seed: number
  private readonly skipAddress: (at: number, length: number, isOneTooMany: boolean) => void
  private table: Uint8Array = new Uint8Array(0)
  private view: DataView = new DataView(new ArrayBuffer(0))
  private registryAt = 0
  private registryLength = 0
  private readonly address: Uint8Array = new Uint8Array(16)
  private v6: Uint8Array = new Uint8Array(1024)
  private readonly knownV4: AddressSet
  private readonly knownV6: AddressSet

  /**
   * Shares the cursor over the table. `skipAddress` is told where the table has an address that is none, or one more than a
   * host may have.
   */
  constructor(
    reader: NdsReader,
    seed: number,
    skipAddress: (at: number, length: number, isOneTooMany: boolean) => void,
  ) {
    this.reader = reader
    this.seed = seed
    this.skipAddress = skipAddress
    this.knownV4 = new AddressSet(4, seed)
    this.knownV6 = new AddressSet(16, seed)
  }

  /** Begins with another table, and lets go of the last one. The cursor is the caller's to reset. */
  reset(table: Uint8Array): void {
    this.table = table
    this.view = new DataView(table.buffer, table.byteOffset, table.byteLength)
  }

  /** Begins an entry, whose host is there. */
  beginEntry(hostAt: number, hostLength: number): void {
    this.shape = hashWords(this.seed, this.view, hostAt, hostLength)
  }

  /**
   * Reads the NameInfo between `at` and `end`. Its addresses go to `bytes` from `out` on (IPv4, then IPv6, each once).
   * Returns the offset after them, -1 if the table is malformed.
   */
  read(at: number, end: number, bytes: Uint8Array, out: number): number {
    const { reader, table, address } = this
    this.registryLength = this.shortLength = this.namespaceLength = this.altHosts = 0
    this.v4Count = this.v6Count = 0
    reader.at = at
    let to = out
    for (let tag = reader.field(end); tag !== 0; tag = reader.field(end)) {
      const from = reader.at
      const { length } = reader
      if (tag === TAG_1) {
        const size = parseAddress(table, from, length, address, 0)
        if (size === 4 && this.v4Count < MAX_ADDRESSES) {
          if (this.knownV4.add(bytes, out, this.v4Count, address)) {
            to += 4
            this.v4Count++
          }
        } else if (size === 16 && this.v6Count < MAX_ADDRESSES) this.addV6()
        else this.skipAddress(from, length, size !== 0)
      } else this.noteField(tag, from, length)
      reader.at = from + length
    }
    if (reader.malformed) return -1
    this.shape = Math.imul(Math.imul(this.shape ^ this.v4Count, 0x9e3779b1) ^ this.v6Count, 0x85ebca6b)
    const v6Bytes = this.v6Count * 16
    for (let i = 0; i < v6Bytes; i++) bytes[to + i] = this.v6[i]!
    return to + v6Bytes
  }

  isRegistry(name: Uint8Array): boolean {
    if (this.registryLength !== name.length) return false
    for (let i = 0; i < name.length; i++) if (this.table[this.registryAt + i] !== name[i]) return false
    return true
  }

  /** True if the host is of `namespace`, as text; nothing is of a namespace without a name. */
  isOfNamespace(namespace: Uint8Array): boolean {
    const length = this.namespaceLength
    return (
      length > 0 && length === namespace.length && startsWithText(this.table, this.namespaceAt, namespace, 0, length)
    )
  }

  /** Notes where a field other than an address is. Unknown ones count for nothing. */
  private noteField(tag: number, at: number, length: number): void {
    if (tag === TAG_2) {
      this.registryAt = at
      this.registryLength = length
    } else if (tag === TAG_3) {
      this.shortAt = at
      this.shortLength = length
    } else if (tag === TAG_4) {
      this.namespaceAt = at
      this.namespaceLength = length
    } else if (tag === TAG_5) this.altHosts++
    else return
    this.shape = hashWords(this.shape ^ tag, this.view, at, length)
  }

  private addV6(): void {
    const used = this.v6Count * 16
    if (used + 16 > this.v6.length) {
      const larger = new Uint8Array(this.v6.length * 2)
      larger.set(this.v6)
      this.v6 = larger
    }
    if (this.knownV6.add(this.v6, 0, this.v6Count, this.address)) this.v6Count++
  }
}
