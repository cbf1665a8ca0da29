/** The control thread's side of the name table: the real keeper and compiler, fed with the episode's tables. */
import { TableCompiler } from '../../src/table/compile.ts'
import type { Image } from '../../src/table/image.ts'
import { encodeNameTable } from '../../src/table/nds.ts'
import { TableKeeper } from '../../src/table/table-keeper.ts'
import type { Episode } from './episode.ts'
import { mix, Random } from './random.ts'
import { Violation } from './violation.ts'

const SILENT = { debug: (): void => {}, info: (): void => {}, warn: (): void => {} }

export class TableSource {
  readonly seed: number
  readonly compiler: TableCompiler
  private readonly keeper: TableKeeper
  private readonly episode: Episode
  private published: Image[] = []
  /** Table by image generation. */
  private readonly tables: Map<number, number> = new Map()
  /** The table that was accepted last, and the one before it that an image was made of. */
  private latest = -1

  constructor(episode: Episode) {
    this.episode = episode
    this.seed = mix(episode.seed, 0x7ab1e)
    this.compiler = new TableCompiler({ identity: episode.identity, seed: this.seed, now: () => 0 })
    this.keeper = new TableKeeper({
      compiler: this.compiler,
      publish: (image) => {
        this.tables.set(image.generation, this.latest)
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
    const before = held === null ? -1 : this.tableOf(held.generation)
    this.latest = table
    const random = new Random(shuffle)
    const hosts = [...this.episode.tables[table]!]
      .map((entry) => ({ entry, order: random.next() }))
      .toSorted((a, b) => a.order - b.order)
    const verdict = this.keeper.accept(encodeNameTable(new Map(hosts.map(({ entry }) => entry))), `table ${table}`)
    if (!verdict.accepted) throw new Violation(`a table was refused: ${verdict.reason}`)
    if (verdict.changed !== (before !== table)) {
      throw new Violation(`table ${table} after table ${before} counts as ${verdict.changed ? 'changed' : 'equal'}`)
    }
    return this.published.splice(0)
  }

  tableOf(generation: number): number {
    return this.tables.get(generation)!
  }

  /** The worker has adopted an image; `publish` is told of a table that waited for its slot. */
  acknowledged(worker: number, generation: number, publish: (image: Image) => void): void {
    this.compiler.pool.acknowledged(worker, generation)
    this.keeper.slotFreed()
    for (const image of this.published.splice(0)) publish(image)
  }
}
