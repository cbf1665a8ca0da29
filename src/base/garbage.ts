import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

/** Collects all garbage of this thread, and the code of functions that have not run lately. Takes 20 to 80 ms of CPU. */
export function collectGarbage(): void {
  collector()?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}

/** Collects what is garbage now, memory of WebAssembly above all, and no code: some ms where the heap is small. */
export function collectBuffers(): void {
  collector()?.({ type: 'major', execution: 'sync' })
}

/**
 * V8's `gc`, which only a context has that is made while the flag stands. On the command line it would cost more than it
 * brings: V8 refuses code that was compiled with other flags, and so all that Node brings of its own, a third of the CPU
 * time of a start. Null if another thread has just taken the flag back.
 */
function collector(): NodeJS.GCFunction | null {
  setFlagsFromString('--expose-gc')
  const collect: NodeJS.GCFunction | undefined = runInNewContext('globalThis.gc')
  setFlagsFromString('--no-expose-gc')
  return collect ?? null
}
