/**
 * The one way in which byname writes a file: beside it under a random name, which must be new, then renamed over it. A
 * reader, or a crash at any moment, sees the old file or the new one, and nothing that lies in wait at a name that could
 * be guessed (a symbolic link to another file) is ever written to.
 */
import { randomBytes } from 'node:crypto'
import { open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Owner only: a name table and addresses are nobody else's business. */
const MODE = 0o600
const RANDOM_BYTES = 8
/** `NAME.PID.RANDOM.tmp`; earlier versions wrote without RANDOM. */
const TEMPORARY = /^\.(\d{1,10})(?:\.[0-9a-f]{16})?\.tmp$/

/**
 * Replaces the file at `path` (mode 0600), or makes it; its folder must exist. Once it resolves, the bytes outlive a power
 * failure. A symbolic link at `path` itself is replaced, not followed. @throws the error of the file call that failed; nothing is left behind then
 */
export async function writeAtomicFile(path: string, content: Uint8Array | string): Promise<void> {
  const folder = dirname(path)
  const beside = join(folder, `${basename(path)}.${process.pid}.${randomBytes(RANDOM_BYTES).toString('hex')}.tmp`)
  // `wx`: fails where anything has that name, a link that leads nowhere included.
  const file = await open(beside, 'wx', MODE)
  try {
    try {
      await file.writeFile(content)
      await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
  } catch (error) {
    await rm(beside, { force: true })
    throw error
  }
  await syncFolder(folder)
}

/**
 * Removes what writers of `path` that were killed have left beside it; what a process that is alive is writing stays. Call
 * it before this process writes. Never throws.
 */
export async function removeLeftOvers(path: string): Promise<void> {
  const folder = dirname(path)
  const name = basename(path)
  let names: string[]
  try {
    names = await readdir(folder)
  } catch {
    return
  }
  for (const other of names) {
    const writer = other.startsWith(name) ? TEMPORARY.exec(other.slice(name.length))?.[1] : undefined
    if (writer === undefined || isAlive(Number(writer))) continue
    // A folder of that name is nobody's left-over, and `rm` refuses it.
    await rm(join(folder, other), { force: true }).catch(() => {})
  }
}

/** Another process that is alive. One with this process's id was the one before it in a container. */
function isAlive(pid: number): boolean {
  if (pid === process.pid || pid === 0) return false
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // EPERM: it is there, and belongs to somebody else.
    return !(error instanceof Error && 'code' in error && error.code === 'ESRCH')
  }
}

/** So that the rename outlives a power failure, too. There are file systems whose folders cannot be synced. */
async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await open(folder, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  } catch {
    // The new content is in place; only a power failure could bring the old one back.
  }
}
