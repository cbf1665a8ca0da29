/** Before all tests: the bundle, which is what `bin/byname` runs, is made from the source as it is now. */
import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Called by vitest once, before any test file runs. */
export function setup(): void {
  const bundle = statSync(join(ROOT, 'dist', 'byname.js'), { throwIfNoEntry: false })
  if (bundle !== undefined && newestOf(join(ROOT, 'src')) <= bundle.mtimeMs) return
  const { status, stderr } = spawnSync(process.execPath, ['bin/build.mjs'], { cwd: ROOT, encoding: 'utf8' })
  if (status !== 0) throw new Error(`bin/build.mjs failed: ${stderr}`)
}

/** When anything in a folder was last changed, in ms since 1970. */
function newestOf(folder: string): number {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return Math.max(statSync(folder).mtimeMs, ...entries.map((entry) => statSync(join(folder, entry)).mtimeMs))
}
