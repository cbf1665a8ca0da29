import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  type FileWatch,
  type FolderWatchOptions,
  watchFile,
  watchFolder,
  type WatchOptions,
} from '../../src/base/file-watch.ts'

let folder: string
let ending: AbortController
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-watch-'))
  ending = new AbortController()
})
afterEach(() => {
  ending.abort()
  rmSync(folder, { recursive: true, force: true })
})

/** Waits for the calls that follow a change. */
class Changes {
  count = 0
  #notify: (() => void) | null = null

  readonly note = (): void => {
    this.count++
    this.#notify?.()
  }

  /** Makes a change and resolves when it is told. */
  async after(change: () => void): Promise<void> {
    const told = new Promise<void>((resolve) => (this.#notify = resolve))
    change()
    await told
  }
}

function file(name: string, text: string): string {
  const path = join(folder, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return path
}

/** Swaps what a symlink points to as the kubelet does: a new link beside it, renamed over the old one. */
function swapLink(target: string, link: string): void {
  symlinkSync(target, `${link}.new`)
  renameSync(`${link}.new`, link)
}

/** Only events tell: a poll would hide a missing one. */
const NEVER_MS = 2 ** 30

function watchingFile(path: string, options: WatchOptions = {}): Changes {
  const changes = new Changes()
  watchFile(path, changes.note, { signal: ending.signal, debounceMs: 5, pollMs: NEVER_MS, ...options })
  return changes
}

function watchingFolder(path: string, options: FolderWatchOptions = {}): Changes {
  const changes = new Changes()
  watchFolder(path, changes.note, { signal: ending.signal, debounceMs: 5, pollMs: NEVER_MS, ...options })
  return changes
}

describe('watchFile', () => {
  test('a file written in place', async () => {
    const path = file('a', 'one')
    const changes = watchingFile(path)
    await changes.after(() => writeFileSync(path, 'three'))
    await changes.after(() => writeFileSync(path, 'eleven'))
  })

  test('a file replaced by a rename, and again: the watch outlives the file', async () => {
    const path = file('a', 'one')
    const changes = watchingFile(path)
    for (const text of ['two', 'three', 'four']) {
      await changes.after(() => renameSync(file('a.tmp', text), path))
    }
  })

  test('a file that goes away and comes back', async () => {
    const path = file('a', 'one')
    const changes = watchingFile(path)
    await changes.after(() => unlinkSync(path))
    await changes.after(() => file('a', 'one'))
  })

  test('a file that is not there yet, in a folder that is not there yet', async () => {
    const changes = watchingFile(join(folder, 'later', 'deep', 'a'))
    await changes.after(() => file('later/deep/a', 'one'))
    await changes.after(() => file('later/deep/a', 'three'))
  })

  test('a mounted ConfigMap: the folder behind ..data is swapped', async () => {
    file('..v1/a', 'same size')
    symlinkSync('..v1', join(folder, '..data'))
    symlinkSync('..data/a', join(folder, 'a'))
    const changes = watchingFile(join(folder, 'a'))
    for (const version of ['..v2', '..v3']) {
      file(`${version}/a`, 'same size')
      await changes.after(() => swapLink(version, join(folder, '..data')))
    }
  })

  test('a symlink into another folder: what it points to is replaced', async () => {
    const target = file('run/stub.conf', 'one')
    mkdirSync(join(folder, 'etc'))
    symlinkSync('../run/stub.conf', join(folder, 'etc', 'resolv.conf'))
    const changes = watchingFile(join(folder, 'etc', 'resolv.conf'))
    await changes.after(() => renameSync(file('run/stub.conf.tmp', 'two'), target))
    await changes.after(() => writeFileSync(target, 'three'))
  })

  test('a chain of symlinks: each of them may be swapped', async () => {
    for (const name of ['c/file', 'd/file', 'e/file']) file(name, 'same size')
    for (const name of ['a', 'b']) mkdirSync(join(folder, name))
    symlinkSync('../c/file', join(folder, 'b', 'second'))
    symlinkSync('../b/second', join(folder, 'a', 'first'))
    const changes = watchingFile(join(folder, 'a', 'first'))
    await changes.after(() => swapLink('../d/file', join(folder, 'b', 'second')))
    await changes.after(() => swapLink('../e/file', join(folder, 'a', 'first')))
  })

  test('a folder that is made anew', async () => {
    const path = file('sub/a', 'one')
    const changes = watchingFile(path)
    await changes.after(() => rmSync(join(folder, 'sub'), { recursive: true }))
    await changes.after(() => file('sub/a', 'two'))
    await changes.after(() => writeFileSync(path, 'three'))
  })

  test('other files of the folder do not matter, and a burst is told once', async () => {
    const path = file('a', '')
    const changes = watchingFile(path, { debounceMs: 100 })
    file('b', 'other')
    await changes.after(() => {
      for (let i = 1; i <= 20; i++) writeFileSync(path, 'x'.repeat(i))
    })
    expect(changes.count).toBe(1)
  })

  test('where nothing tells, looking now and then does', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    try {
      // Events are collected for so long that they count for nothing.
      const path = join(folder, 'a')
      const changes = watchingFile(path, { pollMs: 60_000, debounceMs: NEVER_MS })
      file('a', 'one')
      await setImmediate()
      expect(changes.count).toBe(0)
      vi.advanceTimersByTime(60_000)
      expect(changes.count).toBe(1)
    } finally {
      vi.useRealTimers()
    }
  })

  test('an aborted signal ends it', async () => {
    const path = file('a', 'one')
    const ended = watchingFile(path)
    ending.abort()
    ending = new AbortController()
    const other = watchingFile(path)
    await other.after(() => writeFileSync(path, 'three'))
    expect(ended.count).toBe(0)
  })

  test('a loop of symlinks is a file that is not there', async () => {
    symlinkSync('b', join(folder, 'a'))
    symlinkSync('a', join(folder, 'b'))
    const changes = watchingFile(join(folder, 'a'))
    await changes.after(() => {
      unlinkSync(join(folder, 'b'))
      file('b', 'one')
    })
  })
})

describe('watchFolder', () => {
  let watch: FileWatch
  afterEach(() => vi.useRealTimers())

  /** A watch of the folder that only looks, when it is told to: its events count for nothing. */
  function polling(options: FolderWatchOptions = {}): { changes: Changes; look: () => void } {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const changes = new Changes()
    watch = watchFolder(folder, changes.note, {
      signal: ending.signal,
      debounceMs: NEVER_MS,
      pollMs: 60_000,
      ...options,
    })
    return { changes, look: () => vi.advanceTimersByTime(60_000) }
  }

  test('files added, changed, renamed and removed', async () => {
    const changes = watchingFolder(folder)
    await changes.after(() => file('a.yaml', 'one'))
    await changes.after(() => file('a.yaml', 'three'))
    await changes.after(() => renameSync(join(folder, 'a.yaml'), join(folder, 'b.yaml')))
    await changes.after(() => unlinkSync(join(folder, 'b.yaml')))
  })

  test('folders below, those made later included', async () => {
    const changes = watchingFolder(folder)
    await changes.after(() => file('x/y/a.yaml', 'one'))
    await changes.after(() => file('x/y/a.yaml', 'three'))
    await changes.after(() => rmSync(join(folder, 'x'), { recursive: true }))
  })

  test('files that do not count are not told', () => {
    const { changes, look } = polling({ accepts: (name) => name.endsWith('.yaml') })
    for (const name of ['.a.yaml.swp', '.b.yaml', '.git/c.yaml', 'notes.txt', 'a.yaml.old']) {
      file(name, 'x')
      look()
    }
    expect(changes.count).toBe(0)
    for (const name of ['a.yaml', 'ends.with.dot.yaml', 'sub/b.yaml']) file(name, 'one')
    look()
    look()
    expect(changes.count).toBe(1)
  })

  test.each([
    ['closed', (): void => watch.close()],
    ['aborted', (): void => ending.abort()],
  ])('nothing is told once the watch is %s', (_, end) => {
    const { changes, look } = polling()
    file('a', 'one')
    look()
    end()
    end()
    file('a', 'two and more')
    look()
    expect([changes.count, vi.getTimerCount()]).toEqual([1, 0])
  })

  test('nothing is told where the signal was aborted before', () => {
    ending.abort()
    const { changes, look } = polling()
    file('a', 'one')
    look()
    expect([changes.count, vi.getTimerCount()]).toEqual([0, 0])
  })

  test('a mounted ConfigMap is told by its swap', async () => {
    file('..v1/a.yaml', 'same size')
    symlinkSync('..v1', join(folder, '..data'))
    symlinkSync('..data/a.yaml', join(folder, 'a.yaml'))
    const changes = watchingFolder(folder)
    file('..v2/a.yaml', 'same size')
    await changes.after(() => swapLink('..v2', join(folder, '..data')))
  })

  test('a folder that is not there yet', async () => {
    const changes = watchingFolder(join(folder, 'later'))
    await changes.after(() => file('later/a.yaml', 'one'))
  })

  test('a symlink to a folder, swapped', async () => {
    file('v1/a.yaml', 'x')
    file('v2/a.yaml', 'x')
    symlinkSync('v1', join(folder, 'current'))
    const changes = watchingFolder(join(folder, 'current'))
    await changes.after(() => swapLink('v2', join(folder, 'current')))
    await changes.after(() => file('v2/b.yaml', 'x'))
  })

  test('a folder that contains itself through a symlink ends', async () => {
    mkdirSync(join(folder, 'sub'))
    symlinkSync('..', join(folder, 'sub', 'up'))
    const changes = watchingFolder(folder)
    await changes.after(() => file('sub/a.yaml', 'one'))
  })
})
