import { createHash } from 'node:crypto'
import { type Dirent, statSync } from 'node:fs'
import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { isReplaced, stampOf } from '../base/files.ts'
import { lineOf } from '../base/log.ts'
import { SETTLE_MS } from '../base/watched-file.ts'
import type { MeshResource } from './mesh-resources.ts'
import { describeResource, type MeshYaml, type PlacedResource, readMeshYaml } from './mesh-yaml.ts'

/** Folders below the one that is read, so that a loop of symlinks ends; as deep as the folder watch looks. */
const MOST_DEPTH = 8

/** Stands for the stamp of a file that the folder does not list. */
const GONE = 'gone'

/**
 * Which files are left for the next look, because they may be half written or gone for a moment. NONE: each is read as it is.
 * YOUNG: what was written to a moment ago. CHANGED: what is another than at the last look. REWRITTEN: the same, but not a file
 * that took the place of another one, as a rename lets it: that one is whole.
 */
export const Left = { NONE: 0, YOUNG: 1, CHANGED: 2, REWRITTEN: 3 } as const

/** What the files of a folder say together. */
export interface MeshReading {
  /** In the order of files and of documents in them; no two of the same kind, namespace and name. */
  resources: MeshResource[]
  /** What is wrong now, one line each, with file, document and line. The last good state stands in for it. */
  problems: string[]
  /** What is odd and no error, one line each. */
  notes: string[]
  /** Kinds that are not used, and how often they occur. */
  ignoredKinds: ReadonlyMap<string, number>
  /** Number of files in use. */
  files: number
  /** Files that may still be being written: what they last said stands in for them. */
  unsettled: string[]
}

interface HeldFile {
  /** What the file was when its content was last seen. */
  stamp: string
  /** Of the content last seen, '' if it could not be read. */
  hash: string
  /** What it last said without a problem. */
  good: PlacedResource[]
  problems: string[]
  notes: string[]
  ignoredKinds: string[]
}

/**
 * A folder of `*.yaml`, `*.yml` and `*.json` files, with the folders below it; names that begin with a dot are passed over, as
 * they are in mounted ConfigMaps. Each file keeps its last good state: while it is bad, or cannot be read, what it last
 * said holds on, and the other files are not concerned. A file that is gone takes its resources with it.
 */
export class MeshFiles {
  readonly #folder: string
  readonly #unixNow: () => number
  #held: Map<string, HeldFile> = new Map()
  /** Files that were others at the last look than when their content was seen: what they were then. */
  #seen: ReadonlyMap<string, string> = new Map()

  /** `unixNow`: Unix time in ms, to know how old a file is. */
  constructor(folder: string, unixNow: () => number = Date.now) {
    this.#folder = folder
    this.#unixNow = unixNow
  }

  /**
   * Reads what changed since the last time. `failure`: the folder cannot be read; what it last said is kept for later.
   * `left`: a Left.
   */
  async read(left: number = Left.NONE): Promise<MeshReading | { failure: string }> {
    const listing: Listing = { files: [], failures: new Map() }
    await list(this.#folder, '', 0, listing)
    const rootFailure = listing.failures.get('')
    if (rootFailure !== undefined) return { failure: `${this.#folder}: ${rootFailure}` }
    const held = new Map<string, HeldFile>()
    for (const [name, file] of this.#held) if (isBelowAny(name, listing.failures.keys())) held.set(name, file)
    const listed = new Set(listing.files)
    const seen = new Map<string, string>()
    const unsettled: string[] = []
    for (const name of listed.union(new Set(this.#held.keys()))) {
      if (held.has(name)) continue
      const before = this.#held.get(name)
      const stamp = listed.has(name) ? stampOf(join(this.#folder, name)) : GONE
      if (before !== undefined && before.hash !== '' && before.stamp === stamp) {
        held.set(name, before)
        continue
      }
      seen.set(name, stamp)
      const file = this.#isLeft(name, stamp, left) ? 'unsettled' : this.#readFile(name, stamp, left)
      if (file === 'unsettled') {
        unsettled.push(name)
        if (before !== undefined) held.set(name, before)
      } else if (file !== null) held.set(name, file)
    }
    this.#seen = seen
    this.#held = new Map([...held].toSorted(([a], [b]) => (a < b ? -1 : 1)))
    const failures = [...listing.failures].map(([name, reason]) => `${name}: ${reason}`)
    return { ...this.#sum(failures), unsettled }
  }

  #isLeft(name: string, stamp: string, left: number): boolean {
    const seen = this.#seen.get(name)
    if (left === Left.NONE || seen === stamp) return false
    if (left === Left.YOUNG) return seen !== undefined || ageMs(join(this.#folder, name), this.#unixNow()) < SETTLE_MS
    return left === Left.CHANGED || !isReplaced(seen ?? '', stamp)
  }

  /** Null: it is gone. `unsettled`: it changed meanwhile. */
  #readFile(name: string, stamp: string, left: number): HeldFile | 'unsettled' | null {
    if (stamp === GONE) return null
    const before = this.#held.get(name)
    const read = readBoundedText(join(this.#folder, name), MAX_FILE_BYTES.meshFile)
    if ('problem' in read) {
      const { code, reason } = read.problem
      if (code === 'ENOENT') return null
      const problem = `${name}: cannot be read: ${code}: ${reason}`
      return { stamp, hash: '', good: before?.good ?? [], problems: [problem], notes: [], ignoredKinds: [] }
    }
    // What was written between the look and the reading may have been read half.
    if (left === Left.YOUNG || left === Left.CHANGED) {
      if (stampOf(join(this.#folder, name)) !== stamp) return 'unsettled'
    }
    const { text } = read
    const hash = createHash('sha256').update(text).digest('base64')
    if (before?.hash === hash) return { ...before, stamp }
    const { resources, ...rest }: MeshYaml = readMeshYaml(text, name)
    return { ...rest, stamp, hash, good: rest.problems.length === 0 ? resources : (before?.good ?? []) }
  }

  #sum(failures: string[]): Omit<MeshReading, 'unsettled'> {
    const resources = new Map<string, PlacedResource>()
    const problems = [...failures]
    const notes: string[] = []
    const ignoredKinds = new Map<string, number>()
    for (const file of this.#held.values()) {
      problems.push(...file.problems)
      for (const note of file.notes) notes.push(note)
      for (const kind of file.ignoredKinds) ignoredKinds.set(kind, (ignoredKinds.get(kind) ?? 0) + 1)
      for (const placed of file.good) {
        const name = describeResource(placed.resource)
        const first = resources.get(name)
        if (first === undefined) resources.set(name, placed)
        else problems.push(`${placed.place}: ${name} stands in ${first.place} already: that one counts`)
      }
    }
    const all = [...resources.values()].map(({ resource }) => resource)
    return { resources: all, problems, notes, ignoredKinds, files: this.#held.size }
  }
}

/** For how long nobody has written to a file; Infinity where that cannot be said. */
function ageMs(path: string, nowMs: number): number {
  try {
    const age = nowMs - statSync(path).mtimeMs
    // A clock that was set back says nothing.
    return age < 0 ? Number.POSITIVE_INFINITY : age
  } catch {
    return Number.POSITIVE_INFINITY
  }
}

/** True for the names of files that are read: YAML, and JSON, which is YAML. */
function isMeshFile(name: string): boolean {
  return /\.(?:ya?ml|json)$/.test(name)
}

interface Listing {
  /** Names relative to the folder, with `/`. */
  files: string[]
  /** Folder that could not be listed → why; '' is the root. */
  failures: Map<string, string>
}

async function list(root: string, below: string, depth: number, listing: Listing): Promise<void> {
  let entries: Dirent[]
  try {
    entries = await readdir(join(root, below), { withFileTypes: true })
  } catch (error) {
    if (below === '' || !isGone(error)) listing.failures.set(below, `cannot be read: ${lineOf(error)}`)
    return
  }
  for (const entry of entries) {
    if (entry.name.startsWith('.')) continue
    const name = below === '' ? entry.name : `${below}/${entry.name}`
    if (await isFolder(entry, join(root, name))) {
      if (depth < MOST_DEPTH) await list(root, name, depth + 1, listing)
    } else if (isMeshFile(entry.name)) listing.files.push(name)
  }
}

async function isFolder(entry: Dirent, path: string): Promise<boolean> {
  if (!entry.isSymbolicLink()) return entry.isDirectory()
  try {
    return (await stat(path)).isDirectory()
  } catch {
    return false
  }
}

function isBelowAny(name: string, folders: Iterable<string>): boolean {
  for (const folder of folders) if (name.startsWith(`${folder}/`)) return true
  return false
}

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT'
}
