import { setFlagsFromString } from 'node:v8'

/** Beyond, the most thorough compiler pays for itself even if its code runs once. */
const MOST_BYTES = 4 * 1024 * 1024
/** Flags by which somebody has chosen V8's compilers already. */
const CHOSEN = /--[a-z-]*(?:jit|opt|turbo|maglev|sparkplug)/

/**
 * What `run` returns, which goes once through an input of that many bytes; it may throw. Where the input is small, V8's most
 * thorough compiler stays out of it: it would take more CPU time, on other cores, than all else (10,000 hosts of a file: 89 ms
 * instead of 53).
 *
 * It stays out of all threads, and V8 refuses code that was compiled under other flags, what Node brings of its own included:
 * this is for work at the start, and not for work that loads much. Where somebody chose compilers by flags nothing is changed.
 */
export function onePass<T>(inputBytes: number, run: () => T): T {
  if (inputBytes > MOST_BYTES || CHOSEN.test([...process.execArgv, process.env['NODE_OPTIONS']].join(' '))) return run()
  setFlagsFromString('--no-turbofan')
  try {
    return run()
  } finally {
    setFlagsFromString('--turbofan')
  }
}
