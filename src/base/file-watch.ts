/**
 * Tells when a file, or a folder of files, is another than before: rewritten in place, replaced by a rename (editors),
 * or swapped behind a symlink (mounted ConfigMaps and Secrets, systemd-resolved's resolv.conf). It watches folders, not
 * files, because what is watched must outlive what is replaced; and it looks once a minute anyway, because there are
 * file systems that tell nothing.
 */

import { type BigIntStats, type FSWatcher, readdirSync, readlinkSync, realpathSync, statSync, watch } from 'node:fs'
import { dirname, join, resolve } from 'node:path'

/** How to watch. */
export interface WatchOptions {
  /** Ends the watch, as `close` does. */
  signal?: AbortSignal
  /** Events are collected for this long before the files are looked at. */
  debounceMs?: number
  /** Look at the files this often whether or not there was an event. */
  pollMs?: number
}

/** How to watch a folder. */
export interface FolderWatchOptions extends WatchOptions {
  /** Which files count, by name; by default all. Names that begin with a dot never count. */
  accepts?: (name: string) => boolean
}

/** A watch under way. It does not keep the process alive. */
export interface FileWatch {
  close(): void
}

const DEBOUNCE_MS = 50
const POLL_MS = 60_000
/** Symlinks followed one after the other, so that a loop of them ends; rounds of looking for folders just made. */
const MOST_HOPS = 8

/**
 * Calls `onChange` after the file at `path` changed, appeared or went away: once for a burst of events, never for a
 * file that is the same as before. The file need not exist yet.
 */
export function watchFile(path: string, onChange: () => void, options: WatchOptions = {}): FileWatch {
  const file = resolve(path)
  return watchPaths(() => ({ state: stateOf(file), folders: foldersOf(file) }), onChange, options)
}

/** Calls `onChange` after any file in `folder`, or in folders below it, changed, appeared or went away. */
export function watchFolder(folder: string, onChange: () => void, options: FolderWatchOptions = {}): FileWatch {
  const root = resolve(folder)
  const accepts = options.accepts ?? ((): boolean => true)
  const look = (): View => {
    const view: View = { state: '', folders: foldersOf(root) }
    lookInto(root, accepts, view, new Set())
    return view
  }
  return watchPaths(look, onChange, options)
}

/** What a look found. */
interface View {
  /** Equal if nothing changed. */
  state: string
  /** Folders whose events may mean a change. */
  folders: Set<string>
}

function watchPaths(look: () => View, onChange: () => void, options: WatchOptions): FileWatch {
  const watchers = new Map<string, { inode: string; watcher: FSWatcher }>()
  let pending: NodeJS.Timeout | null = null
  let isClosed = false

  const lookLater = (): void => {
    // Not pushed back by further events: a folder that never rests must not keep us from looking.
    pending ??= setTimeout(check, options.debounceMs ?? DEBOUNCE_MS).unref()
  }
  const rearm = (folders: Set<string>): boolean => {
    let isNew = false
    for (const [folder, { inode, watcher }] of watchers) {
      // A folder made anew has the old one's name and none of its events.
      if (folders.has(folder) && inode === inodeOf(folder)) continue
      watcher.close()
      watchers.delete(folder)
    }
    for (const folder of folders) {
      if (watchers.has(folder)) continue
      try {
        const inode = inodeOf(folder)
        const watcher = watch(folder, { persistent: false }, lookLater)
        // A folder that went away, or too many watches on this machine: looking every minute remains.
        watcher.on('error', () => watcher.close())
        watchers.set(folder, { inode, watcher })
        isNew = true
      } catch {
        // As above.
      }
    }
    return isNew
  }
  // What happens between a look and the first event of a new watch is seen by looking again.
  const lookAndArm = (): View => {
    let view = look()
    for (let round = 0; round < MOST_HOPS && rearm(view.folders); round++) view = look()
    return view
  }
  const check = (): void => {
    pending = null
    if (isClosed) return
    const { state: now } = lookAndArm()
    if (now === state) return
    state = now
    onChange()
  }
  const close = (): void => {
    isClosed = true
    if (pending !== null) clearTimeout(pending)
    clearInterval(poll)
    for (const { watcher } of watchers.values()) watcher.close()
    watchers.clear()
    options.signal?.removeEventListener('abort', close)
  }

  let { state } = lookAndArm()
  const poll = setInterval(check, options.pollMs ?? POLL_MS).unref()
  if (options.signal?.aborted) close()
  else options.signal?.addEventListener('abort', close)
  return { close }
}

/** Identity, size and times of what `path` leads to, `-` if it leads nowhere. */
function stateOf(path: string): string {
  const stat = statOf(path)
  return stat === null ? '-' : `${stat.dev}:${stat.ino}:${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
}

function inodeOf(folder: string): string {
  const stat = statOf(folder)
  return stat === null ? '-' : `${stat.dev}:${stat.ino}`
}

/** Null for what is not there, may not be seen, or is a loop of symlinks. */
function statOf(path: string): BigIntStats | null {
  try {
    return statSync(path, { bigint: true })
  } catch {
    return null
  }
}

/** The folders in which a rename could change where `path` leads: its own, those of each symlink on the way. */
function foldersOf(path: string): Set<string> {
  const folders = new Set<string>()
  let link = path
  for (let hop = 0; hop < MOST_HOPS; hop++) {
    folders.add(existing(dirname(link)))
    try {
      link = resolve(dirname(link), readlinkSync(link))
    } catch {
      break
    }
  }
  try {
    folders.add(dirname(realpathSync(path)))
  } catch {
    // It leads nowhere yet.
  }
  return folders
}

/** The folder, or the nearest one above it that exists. */
function existing(folder: string): string {
  let nearest = folder
  while (nearest !== dirname(nearest) && inodeOf(nearest) === '-') nearest = dirname(nearest)
  return nearest
}

/** `seen`: folders looked into already, because a symlink may lead back to one. */
function lookInto(folder: string, accepts: (name: string) => boolean, view: View, seen: Set<string>): void {
  const inode = inodeOf(folder)
  if (seen.has(inode)) return
  seen.add(inode)
  let names: string[]
  try {
    names = readdirSync(folder).toSorted()
  } catch {
    return
  }
  view.folders.add(folder)
  for (const name of names) {
    if (name.startsWith('.')) continue
    const path = join(folder, name)
    if (statOf(path)?.isDirectory()) lookInto(path, accepts, view, seen)
    else if (accepts(name)) view.state += `${path} ${stateOf(path)}\n`
  }
}
