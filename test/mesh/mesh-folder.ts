import { mkdirSync, mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A folder for a test to write mesh files into. */
export class MeshFolder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'byname-mesh-'))

  /** Writes a file as at `atMs` (Unix time); by default so long ago that it rests. */
  write(name: string, text: string, atMs: number = 1_000_000_000_000): void {
    const path = join(this.path, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
    utimesSync(path, atMs / 1000, atMs / 1000)
  }

  /** Lets another file take the place of one, as a rename does. */
  replace(name: string, text: string): void {
    this.write(`.${name}.new`, text)
    renameSync(join(this.path, `.${name}.new`), join(this.path, name))
  }

  remove(name: string): void {
    rmSync(join(this.path, name), { recursive: true })
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
