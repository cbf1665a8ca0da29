/** Before all tests: the bundle, which is what `bin/byname` runs, is made from the source as it is now; and a cache for threads. */
import { spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** Called by vitest once, before any test file runs. */
export function setup(): void {
  // Tests start hundreds of threads from source: stripping types anew for each would take most of their time.
  process.env['NODE_COMPILE_CACHE'] ??= join(ROOT, 'node_modules', '.cache', 'byname-tests')
  const bundle = statSync(join(ROOT, 'dist', 'byname.cjs'), { throwIfNoEntry: false })
  if (bundle !== undefined && newestOf(join(ROOT, 'src')) <= bundle.mtimeMs) return
  const { status, stderr } = spawnSync(process.execPath, ['bin/build.mjs'], { cwd: ROOT, encoding: 'utf8' })
  // No reason to stop: without a bundle `bin/byname` runs the source, and a test that needs it says what is wrong.
  if (status !== 0) console.error(`bin/build.mjs failed: ${stderr}`)
}

/** When anything in a folder was last changed, in ms since 1970. */
function newestOf(folder: string): number {
  const entries = readdirSync(folder, { recursive: true, encoding: 'utf8' })
  return Math.max(statSync(folder).mtimeMs, ...entries.map((entry) => statSync(join(folder, entry)).mtimeMs))
}
