import type { FileReading } from '../../src/base/bounded-file.ts'
import type { Clock } from '../../src/base/clock.ts'
import type { FileWatch } from '../../src/base/file-watch.ts'
import type { Files } from '../../src/base/files.ts'

/** Text, a link to another path, or something that is no regular file. */
type Node = { text: string } | { link: string } | { problem: string }

/** So long after a change the watches tell of it, as those of the machine do. */
const TOLD_AFTER_MS = 50

/** A file system in memory, with links, whose watches tell of changes on a virtual clock. */
export class MemoryFiles implements Files {
  readonly #clock: Clock
  readonly #nodes: Map<string, { node: Node; identity: number; stamp: number }> = new Map()
  readonly #watches: Set<{ path: string; seen: string; isPending: boolean; onChange: () => void }> = new Set()
  #stamps = 0
  /** Called before each read, so that a test can change a file under a reader. */
  beforeRead: (path: string) => void = () => {}

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Makes a file, or writes over what stands there, links followed. */
  write(path: string, text: string): void {
    const at = this.#resolve(path)
    this.#put(at, { text }, this.#nodes.get(at)?.identity)
  }

  append(path: string, text: string): void {
    this.write(path, this.textOf(path) + text)
  }

  /** Replaces in one step whatever stands there, a link included. */
  replace(path: string, text: string): void {
    this.#put(path, { text })
  }

  /** Makes a symbolic link, or swaps one. */
  link(path: string, target: string): void {
    this.#put(path, { link: target })
  }

  /** Puts something there that is no regular file, with what the reader says of it. */
  special(path: string, problem: string): void {
    this.#put(path, { problem })
  }

  remove(path: string): void {
    this.#nodes.delete(path)
    this.#tell()
  }

  /** What `path` leads to, '' if that is no text. */
  textOf(path: string): string {
    const node = this.#nodes.get(this.#resolve(path))?.node
    return node !== undefined && 'text' in node ? node.text : ''
  }

  get watched(): string[] {
    return [...this.#watches].map(({ path }) => path)
  }

  read(path: string, maxBytes: number): FileReading {
    this.beforeRead(path)
    const node = this.#nodes.get(this.#resolve(path))?.node
    if (node === undefined) return { problem: { code: 'ENOENT', reason: 'does not exist; name an existing file' } }
    if ('problem' in node) return { problem: { code: 'ENOTREG', reason: node.problem } }
    if ('link' in node) return { problem: { code: 'ELOOP', reason: 'is a loop of symbolic links; mend the link' } }
    const bytes = Buffer.from(node.text)
    if (bytes.length > maxBytes) return { problem: { code: 'EFBIG', reason: 'is too large; name a smaller file' } }
    return { bytes }
  }

  stamp(path: string): string {
    const found = this.#nodes.get(this.#resolve(path))
    return found === undefined || 'link' in found.node ? '-' : `${found.identity} ${found.stamp}`
  }

  watch(path: string, onChange: () => void): FileWatch {
    const watch = { path, seen: this.stamp(path), isPending: false, onChange }
    this.#watches.add(watch)
    return { close: () => void this.#watches.delete(watch) }
  }

  #put(path: string, node: Node, identity?: number): void {
    const stamp = ++this.#stamps
    this.#nodes.set(path, { node, identity: identity ?? stamp, stamp })
    this.#tell()
  }

  #resolve(path: string): string {
    let at = path
    for (let hop = 0; hop < 8; hop++) {
      const node = this.#nodes.get(at)?.node
      if (node === undefined || !('link' in node)) break
      at = node.link
    }
    return at
  }

  #tell(): void {
    for (const watch of this.#watches) {
      if (watch.isPending) continue
      watch.isPending = true
      this.#clock.after(TOLD_AFTER_MS, () => {
        watch.isPending = false
        const now = this.stamp(watch.path)
        if (now === watch.seen || !this.#watches.has(watch)) return
        watch.seen = now
        watch.onChange()
      })
    }
  }
}
