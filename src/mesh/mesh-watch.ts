import { join } from 'node:path'
import { removeLeftOvers } from '../base/atomic-file.ts'
import { type Clock, steadyClock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { ReadingLoop } from '../base/reading-loop.ts'
import { MAX_LOOKS, NEVER_RESTS, SETTLE_MS } from '../base/watched-file.ts'
import { AutoVips, hostsToAllocate, usedAddresses } from './auto-vip.ts'
import { Debounce, type DebounceSettings, DEFAULT_DEBOUNCE } from './debounce.ts'
import { Left, MeshFiles, type MeshReading } from './mesh-files.ts'
import { indexMesh, type Mesh } from './name-table-builder.ts'
import { readVipFile, VIP_FILE, writeVipFile } from './vip-file.ts'

/** Watches a folder, and those below it, until closed: `onChange` after any file changed, appeared or went away. */
export type WatchFolder = (folder: string, onChange: () => void) => { close(): void }

/** What is watched, and who is told. */
export interface MeshWatchOptions {
  /** YAML or JSON of Service, EndpointSlice, Pod, ServiceEntry and WorkloadEntry. */
  folder: string
  log: Log
  watchFolder: WatchFolder
  /** File that keeps automatic addresses; `.byname-vips.json` in the folder if not given. */
  vipFile?: string
  debounce?: DebounceSettings
  clock?: Clock
  /** Unix time in ms. */
  unixNow?: () => number
}

/** What is known of the folder, for people. */
export interface MeshWatchState {
  folder: string
  /** Files in use. */
  files: number
  services: number
  serviceEntries: number
  /** What is wrong now, one line each; empty: nothing. */
  problems: string[]
  /** Since when anything has been wrong (Unix time in ms); null: nothing is. */
  problemsSinceMs: number | null
}

/**
 * Keeps a mesh in step with a folder of YAML. A burst of changes is one reading. Whatever is bad is logged once, with
 * file, document and line, and the last good state of that file (or of all, if the folder cannot be read) goes on.
 */
export class MeshWatch {
  readonly #options: MeshWatchOptions
  readonly #onMesh: (mesh: Mesh) => void
  readonly #files: MeshFiles
  readonly #loop: ReadingLoop
  readonly #debounce: Debounce
  readonly #vipFile: string
  #vips: AutoVips | null = null
  /** What the file of automatic addresses holds, as text. */
  #savedVips = '[]'
  #isVipFileReported = false
  #watch: { close(): void } | null = null
  #hasRead = false
  /** Resolved once the files were read, to whatever end, or are read no more. */
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers()
  /** Looks in a row at files that may still be being written. */
  #looks = 0
  #cancelLook: (() => void) | null = null
  /** As far as the log has told. */
  #told: Set<string> = new Set()
  #hasProblems = false
  readonly #state: MeshWatchState

  /** `onMesh` gets the mesh after each reading that gave one, whether or not it is another than before. */
  constructor(options: MeshWatchOptions, onMesh: (mesh: Mesh) => void) {
    this.#options = options
    this.#onMesh = onMesh
    const clock = options.clock ?? steadyClock
    this.#files = new MeshFiles(options.folder, options.unixNow)
    this.#loop = new ReadingLoop(() => this.#read(), clock)
    this.#debounce = new Debounce(() => this.#look(), options.debounce ?? DEFAULT_DEBOUNCE, clock)
    this.#vipFile = options.vipFile ?? join(options.folder, VIP_FILE)
    this.#state = {
      folder: options.folder,
      files: 0,
      services: 0,
      serviceEntries: 0,
      problems: [],
      problemsSinceMs: null,
    }
  }

  /**
   * Begins to watch, and resolves when the folder was read once, to whatever end: files that somebody has written to a moment
   * ago are read once they rest, or after five seconds without them.
   */
  async start(): Promise<void> {
    // Before the reading: a change between the two would be lost.
    this.#watch ??= this.#options.watchFolder(this.#options.folder, () => this.#debounce.poke())
    void this.#loop.read()
    await this.#first.promise
    await this.#loop.settled()
  }

  /** Ends the watch; waits for a reading under way, for at most `deadlineMs`. No mesh comes afterwards. */
  async stop(deadlineMs: number): Promise<void> {
    this.#watch?.close()
    this.#watch = null
    this.#debounce.cancel()
    this.#cancelLook?.()
    this.#first.resolve()
    await this.#loop.stop(deadlineMs)
  }

  state(): MeshWatchState {
    return { ...this.#state }
  }

  /** A later look that is planned already sees the change, too; an earlier one would not let the files rest. */
  #look(): void {
    if (this.#cancelLook === null) void this.#loop.read()
  }

  async #read(): Promise<void> {
    const left = this.#looks >= MAX_LOOKS - 1 ? Left.REWRITTEN : this.#hasRead ? Left.CHANGED : Left.YOUNG
    const reading = await this.#files.read(left)
    if (this.#watch === null) return
    try {
      if (this.#mustLookAgain(reading)) return
      this.#hasRead = true
      if ('failure' in reading) this.#takeFailure(reading.failure)
      else await this.#take(reading)
    } catch (err) {
      // A bug of ours: it must not end the process, nor cost the mesh that is served.
      this.#options.log.error({ folder: this.#options.folder, err }, 'taking the mesh files in failed')
    }
    this.#first.resolve()
  }

  /** True if all is left for a later look, because files may still be being written. */
  #mustLookAgain(reading: MeshReading | { failure: string }): boolean {
    if ('failure' in reading || reading.unsettled.length === 0) {
      this.#looks = 0
      return false
    }
    const clock = this.#options.clock ?? steadyClock
    this.#cancelLook = clock.after(SETTLE_MS, () => {
      this.#cancelLook = null
      void this.#loop.read()
    })
    if (++this.#looks < MAX_LOOKS) return true
    for (const name of reading.unsettled) reading.problems.push(`${name}: ${NEVER_RESTS}`)
    return false
  }

  #takeFailure(failure: string): void {
    this.#setProblems([failure])
    this.#tell(new Set([failure]), new Set(), new Set())
  }

  async #take(reading: MeshReading): Promise<void> {
    const mesh = indexMesh(reading.resources)
    this.#tell(new Set(reading.problems), notesOf(reading, mesh), ignoredIn(reading))
    const vips = await this.#allocate(mesh)
    if (this.#watch === null) return
    this.#state.files = reading.files
    this.#state.services = mesh.services.length
    this.#state.serviceEntries = mesh.serviceEntries.length
    this.#setProblems(reading.problems)
    const { files, services, serviceEntries } = this.#state
    this.#options.log.debug({ files, services, serviceEntries }, 'read the mesh files')
    this.#onMesh({ ...mesh, vips })
  }

  #setProblems(problems: string[]): void {
    const { unixNow = Date.now } = this.#options
    this.#state.problems = problems
    this.#state.problemsSinceMs = problems.length === 0 ? null : (this.#state.problemsSinceMs ?? unixNow())
  }

  async #allocate(mesh: Mesh): Promise<Mesh['vips']> {
    this.#vips ??= await this.#recallVips()
    const hosts = hostsToAllocate(mesh.serviceEntries)
    const vips = this.#vips.assign(hosts, usedAddresses(mesh.serviceEntries))
    if (vips.size < hosts.length)
      this.#options.log.error({ hosts: hosts.length }, 'there are no automatic addresses left: some hosts have none')
    await this.#saveVips(this.#vips)
    return vips
  }

  async #recallVips(): Promise<AutoVips> {
    await removeLeftOvers(this.#vipFile)
    const { kept, problem } = readVipFile(this.#vipFile)
    if (problem !== null)
      this.#options.log.warn({ file: this.#vipFile, reason: problem }, 'cannot use the file of automatic addresses')
    const vips = new AutoVips(kept)
    this.#savedVips = JSON.stringify(vips.entries())
    return vips
  }

  async #saveVips(vips: AutoVips): Promise<void> {
    const entries = vips.entries()
    const text = JSON.stringify(entries)
    if (text === this.#savedVips) return
    try {
      await writeVipFile(this.#vipFile, entries)
      this.#savedVips = text
      this.#isVipFileReported = false
    } catch (error) {
      if (this.#isVipFileReported) return
      this.#isVipFileReported = true
      const fields = { file: this.#vipFile, reason: lineOf(error), hosts: entries.length }
      this.#options.log.warn(fields, 'automatic addresses cannot be kept: a restart may give hosts other ones')
    }
  }

  /** Logs what was not so before. */
  #tell(problems: Set<string>, notes: Set<string>, ignored: Set<string>): void {
    const { log } = this.#options
    for (const problem of problems)
      if (!this.#told.has(problem))
        log.error({ folder: this.#options.folder }, `${problem}; the last good state goes on`)
    for (const note of notes) if (!this.#told.has(note)) log.warn({ folder: this.#options.folder }, note)
    for (const kinds of ignored) if (!this.#told.has(kinds)) log.info({ folder: this.#options.folder }, kinds)
    const hadProblems = this.#hasProblems
    this.#hasProblems = problems.size > 0
    if (hadProblems && !this.#hasProblems) log.info({ folder: this.#options.folder }, 'the mesh files are good again')
    this.#told = problems.union(notes).union(ignored)
  }
}

function notesOf({ notes }: MeshReading, mesh: Mesh): Set<string> {
  const all = new Set(notes)
  for (const { namespace, name, endpoints } of [...mesh.slices.values()].flat()) {
    const missing = endpoints.filter(({ pod }) => pod !== '' && !mesh.pods.has(pod))
    if (missing.length > 0)
      all.add(
        `EndpointSlice ${namespace}/${name}: ${missing.length} endpoints are left out: no Pod ${missing[0]!.pod} in the files`,
      )
  }
  return all
}

/** Kinds of which nothing is used, in one line. */
function ignoredIn({ ignoredKinds }: MeshReading): Set<string> {
  const kinds = [...ignoredKinds].map(([kind, count]) => (count === 1 ? kind : `${count} ${kind}`))
  return new Set(kinds.length > 0 ? [`not used for names: ${kinds.toSorted().join(', ')}`] : [])
}
