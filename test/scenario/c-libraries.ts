/** Programs that look names up with glibc and with musl, in namespaces whose /etc/resolv.conf is the test's own. */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { WAIT_MS } from '../wait.ts'

/** Builds `look-up-all.c` with each library, as `folder/glibc` and `folder/musl`. What is missing for that, or null. */
export function buildLookUps(folder: string): string | null {
  const source = join(import.meta.dirname, 'look-up-all.c')
  for (const [libc, compiler] of [
    ['glibc', 'gcc'],
    ['musl', 'musl-gcc'],
  ] as const) {
    const isStatic = libc === 'musl' ? ['-static'] : []
    if (spawnSync(compiler, ['-o', join(folder, libc), source, ...isStatic]).status !== 0) return `no ${compiler}`
  }
  const isolated = spawnSync('unshare', ['-nm', 'sh', '-c', 'ip link set lo up && mount --bind /etc/hosts /etc/hosts'])
  return isolated.status === 0 ? null : 'no namespaces'
}

/** Runs a script of this folder in namespaces of its own, given `folder`, and returns what it prints. */
export function runInside(folder: string, script: string): string {
  writeFileSync(join(folder, 'resolv.conf'), '')
  const setUp = `ip link set lo up && mount --bind ${folder}/resolv.conf /etc/resolv.conf && exec "$@"`
  const args = ['-nm', 'sh', '-c', setUp, 'sh', process.execPath, join(import.meta.dirname, script), folder]
  const { stdout, stderr } = spawnSync('unshare', args, { encoding: 'utf8', timeout: 4 * WAIT_MS })
  expect(stderr).toBe('')
  return stdout
}
