import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'

/** A folder for a test to write mesh files into. */
export class MeshFolder implements Disposable {
  readonly path: string = mkdtempSync(join(tmpdir(), 'byname-mesh-'))

  write(name: string, text: string): void {
    const path = join(this.path, name)
    mkdirSync(dirname(path), { recursive: true })
    writeFileSync(path, text)
  }

  remove(name: string): void {
    rmSync(join(this.path, name), { recursive: true })
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true, force: true })
  }
}
