/**
 * What a plug-in may call, all of it optional: four functions of byname's, one that names a counter, and those of WASI, which
 * refuse. So modules of ordinary toolchains can be loaded, and no plug-in reaches a file, a socket or the environment.
 */
import { MAX_COUNTER_NAME, MAX_LOG_BYTES, MAX_PLUGIN_COUNTERS, type PluginImport } from './plugin-abi.ts'

/** What plug-ins are given. Bytes are copies. */
export interface PluginHost {
  /** A line of text, UTF-8, as the plug-in wrote it. */
  log(text: Uint8Array): void
  /** Milliseconds since 1970. */
  now(): number
  /** Adds to counter 0 … MAX_PLUGIN_COUNTERS − 1. */
  count(counter: number, delta: number): void
  nameCounter(counter: number, name: Uint8Array): void
  /** Unpredictable 32 bits. */
  random(): number
}

const I64 = 0x7e
const F64 = 0x7c
/** WASI: function not supported. */
const ENOSYS = 52

/** The imports of one instance. `memory`: the instance's, null as long as it is being made. */
export function importsFor(
  imports: readonly PluginImport[],
  host: PluginHost,
  memory: () => Uint8Array | null,
): Record<string, Record<string, (...args: never[]) => unknown>> {
  const functionsOf = (from: string): Record<string, (...args: never[]) => unknown> =>
    Object.fromEntries(
      imports
        .filter(({ module }) => module === from)
        .map(({ module, name, result }) => [
          name,
          module === 'byname' ? hostFunction(name, result, host, memory) : wasiFunction(name),
        ]),
    )
  return Object.fromEntries([...new Set(imports.map(({ module }) => module))].map((from) => [from, functionsOf(from)]))
}

function wasiFunction(name: string): () => number {
  if (name !== 'proc_exit') return () => ENOSYS
  return () => {
    throw new WebAssembly.RuntimeError('it called proc_exit')
  }
}

function hostFunction(
  name: string,
  result: number | null,
  host: PluginHost,
  memory: () => Uint8Array | null,
): (...args: never[]) => unknown {
  switch (name) {
    case 'log':
      return (pointer: number, length: number): number => {
        const text = textAt(memory(), pointer, length, MAX_LOG_BYTES)
        if (text !== null) host.log(text)
        return 0
      }
    case 'now':
      return result === I64 ? () => BigInt(host.now()) : () => host.now()
    case 'random':
      if (result === I64) return () => (BigInt(host.random()) << 32n) | BigInt(host.random() >>> 0)
      // As Math.random: 0 or more, below 1.
      return result === F64 ? () => (host.random() >>> 0) / 2 ** 32 : () => host.random() | 0
    case 'counter':
      return (counter: number, delta: number | bigint): number => {
        const by = Number(delta)
        // A counter never falls.
        if (counter >= 0 && counter < MAX_PLUGIN_COUNTERS && by > 0) host.count(counter, Math.min(by, 2 ** 32))
        return 0
      }
    default:
      return (counter: number, pointer: number, length: number): number => {
        const text = textAt(memory(), pointer, length, MAX_COUNTER_NAME)
        if (text !== null && counter >= 0 && counter < MAX_PLUGIN_COUNTERS) host.nameCounter(counter, text)
        return 0
      }
  }
}

/** A copy of what the plug-in points to, cut to `most` bytes; null where that is not in its memory. */
function textAt(memory: Uint8Array | null, pointer: number, length: number, most: number): Uint8Array | null {
  if (memory === null) return null
  const from = pointer >>> 0
  const bytes = Math.min(length >>> 0, most)
  return from + bytes > memory.length ? null : memory.slice(from, from + bytes)
}
