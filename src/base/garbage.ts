/**
 * Collects all garbage of this thread, and the code of functions that have not run lately. Takes 20 to 80 ms of CPU. Does
 * nothing where Node was started without --expose-gc.
 */
export function collectGarbage(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync', flavor: 'last-resort' })
}

/** Collects what is garbage now, memory of WebAssembly above all, and no code: some ms where the heap is small. Needs --expose-gc as well. */
export function collectBuffers(): void {
  globalThis.gc?.({ type: 'major', execution: 'sync' })
}
