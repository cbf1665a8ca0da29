/** The control thread's side of the name table: the real keeper and compiler, fed with the episode's tables. */
import { TableCompiler } from '../../src/table/compile.ts'
import type { Image } from '../../src/table/image.ts'
import { encodeNameTable } from '../../src/table/nds.ts'
import { TableKeeper } from '../../src/tables/table-keeper.ts'
import type { Episode } from './episode.ts'
import { mix, Random } from './random.ts'
import { Violation } from './violation.ts'

/** Before the number of a table. */
const VERSION = 'table '
const SILENT = { debug: (): void => {}, info: (): void => {}, warn: (): void => {} }

/** What an image was made of: a table, and the identity that it is for. */
export interface MadeOf {
  table: number
  identity: number
}

export class TableSource {
  readonly seed: number
  readonly compiler: TableCompiler
  private readonly keeper: TableKeeper
  private readonly episode: Episode
  private published: Image[] = []
  private readonly made: Map<number, MadeOf> = new Map()
  private identity = 0
  /** The identity was set since an image was last made of a table: the next table counts as another one. */
  private isTouched = false
  /** The table pushed last waits for a slot. */
  private isWaiting = false
  /** Generation that the worker adopted last. */
  private adopted = -1

  constructor(episode: Episode) {
    this.episode = episode
    this.seed = mix(episode.seed, 0x7ab1e)
    this.compiler = new TableCompiler({ identity: episode.identities[0]!, seed: this.seed, now: () => 0 })
    this.keeper = new TableKeeper({
      compiler: this.compiler,
      publish: (image) => {
        // A table that waits may have been overtaken by an identity: the image's version says which table it has.
        this.made.set(image.generation, { table: Number(image.version.slice(VERSION.length)), identity: this.identity })
        this.published.push(image)
      },
      onUpdate: () => {},
      log: SILENT,
      file: '',
      now: () => 0,
    })
  }

  /** Pushes a table, its hosts in some order. Returns the images that came of it for the worker. */
  push(table: number, shuffle: number): Image[] {
    const { held } = this.compiler
    const isOther = held === null || this.isTouched || this.madeOf(held.generation).table !== table
    const random = new Random(shuffle)
    const hosts = [...this.episode.tables[table]!]
      .map((entry) => ({ entry, order: random.next() }))
      .toSorted((a, b) => a.order - b.order)
    const verdict = this.keeper.accept(encodeNameTable(new Map(hosts.map(({ entry }) => entry))), `${VERSION}${table}`)
    if (!verdict.accepted) throw new Violation(`a table was refused: ${verdict.reason}`)
    if (verdict.changed !== isOther)
      throw new Violation(`table ${table} counts as ${verdict.changed ? 'changed' : 'equal'}, which it is not`)
    this.isWaiting = verdict.changed && this.published.length === 0
    if (this.published.length > 0) this.isTouched = false
    return this.published.splice(0)
  }

  /** The identity is another. Returns the images that came of it for the worker. */
  setIdentity(identity: number): Image[] {
    this.identity = identity
    this.isTouched = true
    this.keeper.setIdentity(this.episode.identities[identity]!)
    return this.published.splice(0)
  }

  madeOf(generation: number): MadeOf {
    return this.made.get(generation)!
  }

  /** The worker has adopted an image; `publish` is told of a table that waited for its slot. */
  acknowledged(worker: number, generation: number, publish: (image: Image) => void): void {
    this.compiler.pool.acknowledged(worker, generation)
    this.adopted = generation
    this.keeper.slotFreed()
    if (this.isWaiting && this.published.length > 0) {
      this.isWaiting = false
      this.isTouched = false
    }
    if (this.published.length === 0) this.checkNothingWaits()
    for (const image of this.published.splice(0)) publish(image)
  }

  /** With room for another image, as the worker has the newest, neither a table nor an identity waits. */
  checkNothingWaits(): void {
    if (this.adopted !== this.compiler.held?.generation) return
    if (this.isWaiting) throw new Violation('a table waits, although there is a free slot')
    const { identities } = this.episode
    const seen = identities[this.madeOf(this.adopted).identity]!
    const wanted = identities[this.identity]!
    // Another namespace needs another table.
    if (seen.namespace === wanted.namespace && seen.searchDomain !== wanted.searchDomain)
      throw new Violation(`names are for the search domain ${seen.searchDomain} instead of ${wanted.searchDomain}`)
  }
}
