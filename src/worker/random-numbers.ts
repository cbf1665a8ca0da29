import type { Syscalls } from '../os/syscalls.ts'

/** Numbers drawn from the system at a time. */
const RANDOM_POOL = 1024

/**
 * Unpredictable 32-bit numbers, drawn in bulk: ids and ports must not be guessed (RFC 5452 §4.5). From the system where
 * there are calls to it, as to load Node's cryptography takes 4 ms.
 */
export function randomNumbers(sys: Pick<Syscalls, 'random'> | null): () => number {
  const memory = new SharedArrayBuffer(RANDOM_POOL * 4)
  const bytes = Buffer.from(memory)
  const pool = new Int32Array(memory)
  let next = RANDOM_POOL
  return () => {
    if (next === RANDOM_POOL) {
      if (sys === null || !sys.random(bytes)) process.getBuiltinModule('node:crypto').randomFillSync(bytes)
      next = 0
    }
    return pool[next++]!
  }
}
