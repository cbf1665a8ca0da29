/**
 * Compiles a name table into an image: serialized NameTable in, shared bytes that the workers read in place out. Runs on
 * the control thread. Three passes: the content is fingerprinted (most pushes change nothing), the entries become
 * records (record-writer.ts), the records are indexed (index-writer.ts). Where few entries differ from the table held, and
 * in nothing but which addresses they have, the image held is copied and those are laid over (image-patch.ts).
 */
import { writeAddressIndex } from './address-index.ts'
import { TableSurvey } from './content-hash.ts'
import { EntryChanges } from './entry-changes.ts'
import type { TableIdentity } from './identity.ts'
import { Image } from './image.ts'
import { verifyImage } from './image-check.ts'
import { ImageHeader } from './image-header.ts'
import { layAddresses, pairUp } from './image-patch.ts'
import { ImagePool, type ImageSlot } from './image-pool.ts'
import { IndexWriter, slotsFor } from './index-writer.ts'
import { IntList } from './int-list.ts'
import { toWireIdentity, type WireIdentity } from './name-text.ts'
import { NdsReader } from './nds-reader.ts'
import { RecordWriter } from './record-writer.ts'

const DEFAULT_MAX_BYTES = 256 * 1024 * 1024

/** What a compiler is made with. */
export interface TableCompilerOptions {
  identity: TableIdentity
  /** Random; keys the hashes of names, so that nobody outside can choose names that collide. */
  seed: number
  /** Largest name table, and largest image of one. 256 MiB if not given. */
  maxBytes?: number
  /** Milliseconds since 1970, with fractions if the compile time shall have them. */
  now: () => number
  /** Whose slots the images are written to; one of its own if not given. */
  pool?: ImagePool
}

/** What became of a table. */
export type CompileResult =
  | {
      kind: 'image'
      image: Image
      generation: number
      hosts: number
      bytes: number
      /** Hosts left out: not a domain name, without a valid address, or equal to another one but for case or a trailing dot. */
      skippedHosts: number
      /** Texts in place of an address that are not one. */
      skippedAddresses: number
      /** One of what was skipped, in words, for the log. */
      firstSkipped: string | null
      compileSeconds: number
      /** Hosts whose addresses were laid over the image held; 0 if the table was compiled anew. */
      patchedHosts: number
    }
  /** The table is the one held, perhaps with hosts, or addresses of a host, in another order or repeated. */
  | { kind: 'unchanged' }
  /** The table in use stays; the reason is one line. */
  | { kind: 'refused'; reason: string }
  /** Workers still read every slot: try again with the latest table after the next acknowledgement. */
  | { kind: 'busy' }

/** Compiles tables one after the other, and holds the newest image. */
export class TableCompiler {
  /** Tell it of workers that start, acknowledge and end. Images are published in it as they are made. */
  readonly pool: ImagePool
  /** The newest image, null before the first. */
  held: Image | null = null

  private readonly seed: number
  private readonly maxBytes: number
  private readonly now: () => number
  private readonly writer: RecordWriter
  private who: WireIdentity
  /** What `held` was compiled from, null if that no longer counts. */
  private heldSurvey: TableSurvey | null = null
  /** Of its entries, what `RecordWriter.outlines` has. Only valid with `heldSurvey`. */
  private heldOutlines: IntList = new IntList(2 * 1024)
  private heldFirstSkipped: string | null = null
  /** Of the table at hand. */
  private survey: TableSurvey = new TableSurvey()
  private readonly changes: EntryChanges = new EntryChanges()

  constructor(options: TableCompilerOptions) {
    this.pool = options.pool ?? new ImagePool()
    this.seed = options.seed | 0
    this.maxBytes = Math.min(options.maxBytes ?? DEFAULT_MAX_BYTES, 2 ** 30)
    this.now = options.now
    this.writer = new RecordWriter(this.pool, this.seed, this.maxBytes)
    this.who = toWireIdentity(options.identity)
  }

  /** Another identity: the next table counts as changed. For the search domain alone, `refresh` will do without a table. */
  setIdentity(identity: TableIdentity): void {
    this.who = toWireIdentity(identity)
    this.heldSurvey = null
  }

  /** Compiles the serialized NameTable, whose bytes are the caller's again afterwards. `version` is shown to people. */
  compile(nameTable: Uint8Array, version: string): CompileResult {
    const startedMs = this.now()
    if (nameTable.length > this.maxBytes) return this.tooLarge(nameTable.length)
    const malformedAt = this.survey.take(nameTable, this.seed)
    if (malformedAt !== -1) return malformed(malformedAt, nameTable.length)
    if (this.heldSurvey?.isSameContent(this.survey)) return { kind: 'unchanged' }
    // More than most tables need, as untouched pages cost nothing; enlarging copies.
    const slot = this.pool.acquire(Math.max(nameTable.length * 1.5, this.held?.byteLength ?? 0) + 65_536)
    if (slot === null) return { kind: 'busy' }
    try {
      return (
        this.patchImage(nameTable, version, slot, startedMs) ?? this.writeImage(nameTable, version, slot, startedMs)
      )
    } finally {
      this.writer.end()
      // Of no effect on a slot that was published.
      this.pool.abandon(slot.generation)
    }
  }

  /**
   * Takes over a last-known-good image (`imageBytes` of an earlier run): it is what is held until the first table, which
   * counts as changed in any case. Refused if it is damaged or was made for another namespace or domain.
   */
  load(bytes: Uint8Array): CompileResult {
    const startedMs = this.now()
    const reason = verifyImage(bytes)
    if (reason !== null) return { kind: 'refused', reason }
    return this.copyImage(bytes, startedMs)
  }

  /** Makes a new image of the one held with the search domain of the identity that was set last. */
  refresh(): CompileResult {
    if (this.held === null) return { kind: 'unchanged' }
    const survey = this.heldSurvey
    const result = this.copyImage(this.held.bytes.subarray(0, this.held.byteLength), this.now())
    this.heldSurvey = survey
    return result
  }

  /** The image held with the addresses of the table, or null if it differs from that in more than these. */
  private patchImage(nameTable: Uint8Array, version: string, slot: ImageSlot, startedMs: number): CompileResult | null {
    const { held, heldSurvey, heldOutlines, survey, changes, writer } = this
    if (held === null || heldSurvey === null || !changes.find(heldSurvey, survey)) return null
    // The entries that changed are compiled by themselves, to where the copy of the image will have its end.
    const entries = Array.from(changes.added.view(), (entry) => survey.entryAt(entry))
    if (writer.writeSome(nameTable, entries, this.who, slot, held.byteLength) !== null) return null
    const bytes = new Uint8Array(slot.buffer)
    if (!pairUp(held.bytes, heldOutlines, changes.gone, bytes, writer.outlines)) return null

    bytes.set(held.bytes.subarray(0, held.byteLength))
    layAddresses(bytes, heldOutlines, changes.gone, writer.outlines)
    const header = new ImageHeader(slot.buffer)
    // All of it: an address that is gone may have been another host's too.
    header.addressIndex().fill(0)
    writeAddressIndex(header.addressIndex(), bytes, header.recordsAt, header.recordsEnd, this.seed)
    header.version(version)
    header.content(this.seed, survey.low, survey.high, startedMs)
    heldSurvey.replace(changes.gone.view(), survey, changes.added.view())
    return this.publish(header, slot, startedMs, this.heldFirstSkipped, entries.length)
  }

  private writeImage(nameTable: Uint8Array, version: string, slot: ImageSlot, startedMs: number): CompileResult {
    const { writer, who, survey } = this
    const recordsAt = new ImageHeader(slot.buffer).putStrings(version, who.identity)
    const problem = writer.write(nameTable, survey.entries, who, slot, recordsAt)
    if (problem === 'malformed') return malformed(writer.malformedAt, nameTable.length)
    if (problem === 'too large') return this.tooLarge(writer.at)
    const recordsEnd = writer.at
    const nameSlots = slotsFor(writer.hosts.length / 3 - writer.wildcardHosts + writer.aliases.length / 2)
    const wildcardSlots = slotsFor(writer.wildcardHosts)
    const addressSlots = slotsFor(writer.exactAddresses)
    const byteLength = recordsEnd + (nameSlots + wildcardSlots + addressSlots) * 8
    if (byteLength > this.maxBytes) return this.tooLarge(byteLength)
    if (byteLength > slot.buffer.byteLength) this.pool.enlarge(slot, byteLength, recordsEnd)

    const header = new ImageHeader(slot.buffer)
    header.sections(recordsAt, recordsEnd, nameSlots, wildcardSlots, addressSlots)
    const hostText = (keyAt: number): Uint8Array => readHostText(nameTable, keyAt)
    const index = new IndexWriter(new Uint8Array(slot.buffer), this.seed, writer.hosts, hostText)
    index.writeNames(header.nameIndex(), writer.aliases)
    index.writeWildcards(header.wildcardIndex())
    writeAddressIndex(header.addressIndex(), new Uint8Array(slot.buffer), recordsAt, recordsEnd, this.seed)
    const hosts = writer.hosts.length / 3 - index.shadowed
    const skippedHosts = writer.skippedHosts + index.shadowed
    // An empty table is valid. A table without one usable host is a mistake, and must not take the names away.
    if (hosts === 0 && survey.entries > 0) {
      return { kind: 'refused', reason: `none of ${survey.entries} hosts is usable: ${writer.firstSkipped}` }
    }
    header.counts(hosts, skippedHosts, writer.skippedAddresses, index.wildcardMin, index.wildcardMax)
    header.content(this.seed, survey.low, survey.high, startedMs)
    header.searchDomain(who)
    this.keep(index.hasRepeated)
    return this.publish(header, slot, startedMs, writer.firstSkipped)
  }

  /** The table at hand becomes the one held. */
  private keep(hasRepeated: boolean): void {
    const { heldSurvey, survey, writer } = this
    this.heldFirstSkipped = writer.firstSkipped
    this.heldOutlines = writer.swapOutlines(this.heldOutlines)
    this.survey = heldSurvey ?? new TableSurvey()
    // The fingerprint knows no order, so it cannot vouch for a table in which the order decided.
    this.heldSurvey = hasRepeated ? null : survey
  }

  private copyImage(bytes: Uint8Array, startedMs: number): CompileResult {
    const slot = this.pool.acquire(bytes.length)
    if (slot === null) return { kind: 'busy' }
    new Uint8Array(slot.buffer).set(bytes)
    const { namespace, domain } = new Image(slot.buffer)
    const { identity } = this.who
    if (namespace !== identity.namespace || domain !== identity.domain) {
      this.pool.abandon(slot.generation)
      const [made, wanted] = [
        [namespace, domain],
        [identity.namespace, identity.domain],
      ].map((names) => JSON.stringify(names.map((name) => name.slice(0, 64))))
      const reason = `made for namespace and domain ${made}, not ${wanted}`
      return { kind: 'refused', reason }
    }
    const header = new ImageHeader(slot.buffer)
    header.searchDomain(this.who)
    this.heldSurvey = null
    return this.publish(header, slot, startedMs, null)
  }

  private publish(
    header: ImageHeader,
    slot: ImageSlot,
    startedMs: number,
    firstSkipped: string | null,
    patchedHosts: number = 0,
  ): CompileResult {
    header.seal(slot.generation)
    this.pool.published(slot.generation)
    const image = new Image(slot.buffer)
    this.held = image
    return {
      kind: 'image',
      image,
      generation: image.generation,
      hosts: image.hosts,
      bytes: image.byteLength,
      skippedHosts: image.skippedHosts,
      skippedAddresses: image.skippedAddresses,
      firstSkipped,
      compileSeconds: (this.now() - startedMs) / 1000,
      patchedHosts,
    }
  }

  private tooLarge(bytes: number): CompileResult {
    return { kind: 'refused', reason: `name table too large: ${bytes} bytes, the limit is ${this.maxBytes}` }
  }
}

function malformed(at: number, length: number): CompileResult {
  return { kind: 'refused', reason: `not a NameTable: malformed protobuf at byte ${at} of ${length}` }
}

/** The host, as spelt, in the field at `keyAt`. The table is known to be well formed. */
function readHostText(table: Uint8Array, keyAt: number): Uint8Array {
  const reader = new NdsReader()
  reader.reset(table)
  reader.at = keyAt
  reader.field(table.length)
  return table.subarray(reader.at, reader.at + reader.length)
}
