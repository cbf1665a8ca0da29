/**
 * Keeps the name table: takes what an origin brings, has it compiled, publishes the images, and keeps the last good one on disk so
 * that a restart without control plane has names to answer.
 */
import { removeLeftOvers, writeAtomicFile } from '../base/atomic-file.ts'
import { MAX_FILE_BYTES, readOwnFile } from '../base/bounded-file.ts'
import { lineOf } from '../base/log.ts'
import { onePass } from '../base/one-pass.ts'
import type { CompileResult, TableCompiler } from '../table/compile.ts'
import type { TableIdentity } from '../table/identity.ts'
import { type Image, imageBytes } from '../table/image.ts'
import { type HostPage, searchHosts } from '../table/host-search.ts'
import { listHosts } from '../table/image-listing.ts'
import type { TableSink, TableVerdict } from '../table/nds.ts'

/** A burst of pushes is written once. */
const SAVE_AFTER_MS = 1000

/** What the keeper is made with. */
export interface TableKeeperOptions {
  compiler: TableCompiler
  /** Hands an image to the workers. `hasSameNames`: only addresses differ from the image before it. */
  publish: (image: Image, hasSameNames: boolean) => void
  /** Told of every table: what became of it, and how long that took. */
  onUpdate: (result: 'changed' | 'unchanged' | 'refused', compileSeconds: number) => void
  log: {
    debug(fields: object, message: string): void
    info(fields: object, message: string): void
    warn(fields: object, message: string): void
  }
  /** Last known good; '' for none. */
  file: string
  /** Milliseconds since 1970. */
  now: () => number
}

/** The keeper of the name table; runs on the control thread. */
export class TableKeeper implements TableSink {
  readonly #options: TableKeeperOptions
  /** The latest table that found no free slot; compiled as soon as one may be free. */
  #waiting: { bytes: Uint8Array; version: string } | null = null
  /** The image in use must still be made again for the present identity: there was no free slot for that either. */
  #refreshWaits = false
  /** Hosts of the table in use; 0 before the first. */
  #hosts = 0
  /** It is empty, and was not always. */
  #wasEmptied = false
  #saveTimer: NodeJS.Timeout | null = null
  #saving: Promise<void> = Promise.resolve()
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers()
  readonly #firstFromOrigin: PromiseWithResolvers<void> = Promise.withResolvers()
  /** The table in use came from disk, and the origin has sent none since. */
  isFromLastKnownGood = false
  /** When a table was last taken into use, or found equal to the one in use; null before. */
  updatedAtMs: number | null = null
  /** The origin has brought a table. */
  hasTable = false
  /** Why the last known good table cannot be written, and since when (as `now` counts); null: it can. */
  saveProblem: { reason: string; sinceMs: number } | null = null

  constructor(options: TableKeeperOptions) {
    this.#options = options
  }

  get image(): Image | null {
    return this.#options.compiler.held
  }

  accept(bytes: Uint8Array, version: string): TableVerdict {
    const { compiler, log, now, onUpdate } = this.#options
    const compile = (): CompileResult => compiler.compile(bytes, version)
    const result = this.hasTable ? compile() : onePass(bytes.length, compile)
    switch (result.kind) {
      case 'refused':
        onUpdate('refused', 0)
        log.warn({ version, reason: result.reason }, 'a name table was refused; the one in use stays')
        return { accepted: false, reason: result.reason }
      case 'busy':
        // A copy: the bytes may be a view of a message that is freed next.
        this.#waiting = { bytes: Uint8Array.from(bytes), version }
        break
      case 'unchanged':
        onUpdate('unchanged', 0)
        break
      case 'image':
        this.#take(result, version)
    }
    this.#waiting = result.kind === 'busy' ? this.#waiting : null
    this.hasTable = true
    // A table that waits is not in use: the age is that of the table in use.
    if (result.kind !== 'busy') {
      this.updatedAtMs = now()
      this.isFromLastKnownGood = false
      this.#firstFromOrigin.resolve()
    }
    return { accepted: true, changed: result.kind === 'image' || result.kind === 'busy' }
  }

  /** A slot of the image pool may have become free. */
  slotFreed(): void {
    const waiting = this.#waiting
    this.#waiting = null
    if (waiting !== null) this.accept(waiting.bytes, waiting.version)
    else if (this.#refreshWaits) this.#refresh()
  }

  /** The identity or the search domain is another: the image in use is made anew for it. */
  setIdentity(identity: TableIdentity): void {
    this.#options.compiler.setIdentity(identity)
    this.#refresh()
  }

  #refresh(): void {
    const { compiler, log } = this.#options
    const result = compiler.refresh()
    this.#refreshWaits = result.kind === 'busy'
    if (result.kind === 'image') this.#take(result, result.image.version)
    else if (result.kind === 'refused') log.warn({ reason: result.reason }, 'the name table waits for the next push')
  }

  /** Loads the last known good table, if there is one. Call it before the origin starts. */
  loadLastKnownGood(): void {
    const { compiler, file, log } = this.#options
    if (file === '') return
    // Before this process writes: what is written waits for it.
    this.#saving = removeLeftOvers(file)
    const read = readOwnFile(file, MAX_FILE_BYTES.lastKnownGood)
    if ('problem' in read) {
      const { code, reason } = read.problem
      if (code !== 'ENOENT') log.warn({ file, error: `${code}: ${reason}` }, 'the last known good table cannot be read')
      return
    }
    const result = compiler.load(read.bytes)
    if (result.kind !== 'image') {
      const reason = result.kind === 'refused' ? result.reason : result.kind
      return log.warn({ file, reason }, 'the last known good table is of no use')
    }
    this.isFromLastKnownGood = true
    this.updatedAtMs = result.image.timeMs
    this.#hosts = result.hosts
    this.#options.publish(result.image, false)
    log.info(
      { file, hosts: result.hosts, ageSeconds: Math.round((this.#options.now() - result.image.timeMs) / 1000) },
      'answering from the last known good table',
    )
  }

  /**
   * The table in use as proto3 JSON, a host at a time: that of the moment in which the first piece is taken, whatever
   * comes later. It holds a copy, and no slot, so that a slow reader keeps no push waiting.
   */
  *json(): Generator<string, void, undefined> {
    const { held } = this.#options.compiler
    let before = '{"table":{'
    for (const { host, ...info } of held === null ? [] : listHosts(held)) {
      yield `${before}${JSON.stringify(host)}:${JSON.stringify(info)}`
      before = ',\n'
    }
    yield before === ',\n' ? '}}\n' : '{"table":{}}\n'
  }

  /** Hosts of the table in use, see `searchHosts`. */
  search(text: string, offset: number, limit: number): HostPage {
    const { held } = this.#options.compiler
    return held === null ? { hosts: 0, found: 0, shown: [] } : searchHosts(held, text, offset, limit)
  }

  /** Resolves once there is a table, the one from disk included; after `timeoutMs`, or on `signal`, without one. */
  async firstTable(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.image === null) await within(this.#first.promise, timeoutMs, signal)
  }

  /** Resolves once a table of the origin is in use; after `timeoutMs`, or on `signal`, without one. */
  async firstFromOrigin(timeoutMs: number, signal: AbortSignal): Promise<void> {
    await within(this.#firstFromOrigin.promise, timeoutMs, signal)
  }

  /** Writes what is still to be written. */
  async stop(): Promise<void> {
    do {
      if (this.#saveTimer !== null) {
        clearTimeout(this.#saveTimer)
        this.#save()
      }
      await this.#saving
      // A write that ended may have made room for a table that waited: that one is the last good one now.
    } while (this.#saveTimer !== null)
  }

  #take(result: CompileResult & { kind: 'image' }, version: string): void {
    const { log, onUpdate, publish } = this.#options
    this.#refreshWaits = false
    const { hosts, bytes, patchedHosts, skippedHosts, skippedAddresses, firstSkipped } = result
    publish(result.image, patchedHosts > 0)
    this.#first.resolve()
    onUpdate('changed', result.compileSeconds)
    // Pushes may come many times a second: after the first one only metrics count them.
    const level = this.hasTable ? 'debug' : 'info'
    log[level](
      { version, hosts, bytes, patchedHosts, ms: Math.round(result.compileSeconds * 1000) },
      'name table adopted',
    )
    this.#tellIfEmpty(hosts, version)
    if (skippedHosts + skippedAddresses > 0) {
      log.warn({ skippedHosts, skippedAddresses, first: firstSkipped }, 'parts of the name table were left out')
    }
    if (this.#options.file === '' || this.#saveTimer !== null) return
    this.#saveTimer = setTimeout(() => this.#save(), SAVE_AFTER_MS)
    this.#saveTimer.unref()
  }

  /** A control plane that loses its services, or a folder its files, takes every name away: somebody must hear of it. */
  #tellIfEmpty(hosts: number, version: string): void {
    const before = this.#hosts
    this.#hosts = hosts
    const { log } = this.#options
    if (hosts === 0 && before > 0)
      log.warn({ version, hostsBefore: before }, 'the name table is empty now: no mesh name is answered any more')
    else if (hosts > 0 && before === 0 && this.#wasEmptied)
      log.info({ version, hosts }, 'the name table has hosts again')
    this.#wasEmptied = hosts === 0 && (before > 0 || this.#wasEmptied)
  }

  #save(): void {
    this.#saveTimer = null
    this.#saving = this.#saving.then(() => this.#write())
  }

  async #write(): Promise<void> {
    const { compiler, file, log } = this.#options
    const image = compiler.held
    if (image === null || !compiler.pool.retain(image.generation)) return
    try {
      await writeAtomicFile(file, imageBytes(image))
      this.saveProblem = null
    } catch (error) {
      log.warn({ file, ...lineAbout(error) }, 'the last known good table cannot be written')
      this.saveProblem = { reason: lineOf(error), sinceMs: this.saveProblem?.sinceMs ?? this.#options.now() }
    } finally {
      this.#release(image.generation)
    }
  }

  /** What is not retained any more may be the slot that the latest table waits for: no acknowledgement need follow. */
  #release(generation: number): void {
    this.#options.compiler.pool.release(generation)
    this.slotFreed()
  }
}

/** Folders are not made: one that was not mounted, or is misspelt, would go unnoticed. */
function lineAbout(error: unknown): { error: string; remedy?: string } {
  const isFolderMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
  return { error: lineOf(error), ...(isFolderMissing && { remedy: 'make its folder' }) }
}

async function within(done: Promise<void>, timeoutMs: number, signal: AbortSignal): Promise<void> {
  const over = Promise.withResolvers<void>()
  const timer = setTimeout(over.resolve, timeoutMs)
  const onAbort = (): void => over.resolve()
  signal.addEventListener('abort', onAbort)
  if (signal.aborted) onAbort()
  await Promise.race([done, over.promise])
  clearTimeout(timer)
  signal.removeEventListener('abort', onAbort)
}
