/**
 * From the bytes of a file to a plug-in that can be posted to the data workers: made safe, compiled, and tried here first,
 * where a failure costs nobody an answer.
 */
import { nameToWire } from '../dns/name.ts'
import { readQuery } from '../dns/query.ts'
import { ClientQuery } from '../engine/client-query.ts'
import {
  CONFIGURE_MICROSECONDS,
  NO_SOURCE,
  PLUGIN_ERRORS,
  type PluginImport,
  type PluginSettings,
  UNITS_PER_MICROSECOND,
} from '../engine/plugins/plugin-abi.ts'
import { writeBuffer } from '../engine/plugins/plugin-buffer.ts'
import type { PluginHost } from '../engine/plugins/plugin-host.ts'
import { FAILED, PluginFailure, PluginInstance } from '../engine/plugins/plugin-instance.ts'
import { type FunctionType, makeSafe, type SafeModule, ValueType } from './wasm-module.ts'

/** What is to be loaded: an entry of `plugins` in the configuration. */
export interface PluginSource {
  file: string
  config: string
  timeoutUs: number
  maxMemoryBytes: number
  onError: 'pass' | 'servfail'
}

/** A plug-in that was tried, and what it said while it was configured. */
export interface LoadedPlugin {
  settings: PluginSettings
  /** Names of its counters, by their number. */
  counters: ReadonlyMap<number, string>
}

/** Loads what `bytes` are. `id`, `name`: as PluginSettings has them. Never throws. */
export function loadPlugin(
  bytes: Uint8Array,
  { config, timeoutUs, maxMemoryBytes, onError }: PluginSource,
  id: number,
  name: string,
): LoadedPlugin | { problem: string } {
  if (!hasWebAssembly())
    return { problem: 'cannot be run: this Node.js has no WebAssembly; start it without --jitless' }
  if (!WebAssembly.validate(bytes)) {
    const given = compile(bytes)
    return { problem: `is no WebAssembly module: ${'problem' in given ? given.problem : 'it is not valid'}` }
  }
  const safe = makeSafe(bytes, { maxMemoryBytes, startUnits: CONFIGURE_MICROSECONDS * UNITS_PER_MICROSECOND })
  if ('problem' in safe) return safe
  const { exports, imports, budgetName, setBudgetName } = safe.module
  const problem = importProblem(safe.module) ?? exportProblem(exports)
  if (problem !== null) return { problem }
  const compiled = compile(safe.module.bytes)
  if ('problem' in compiled) return { problem: `cannot be bounded: ${compiled.problem}` }
  const settings: PluginSettings = {
    id,
    name,
    module: compiled.module,
    imports: imports.map(({ module, name: each, type }): PluginImport => {
      return { module, name: each, result: type.results[0] ?? null }
    }),
    budgetName,
    setBudgetName,
    config: new TextEncoder().encode(config),
    timeoutUs,
    onError,
  }
  return tryOut(settings)
}

function hasWebAssembly(): boolean {
  return 'WebAssembly' in globalThis
}

/** @returns the module, or what V8 says is wrong with it */
function compile(bytes: Uint8Array): { module: WebAssembly.Module } | { problem: string } {
  try {
    return { module: new WebAssembly.Module(bytes) }
  } catch (error) {
    if (!(error instanceof WebAssembly.CompileError) && !(error instanceof RangeError)) throw error
    return {
      problem: error.message
        .replace(/^WebAssembly\.Module\(\):\s*/, '')
        .replace(/\s+/g, ' ')
        .slice(0, 200),
    }
  }
}

const { I32, I64, F64 } = ValueType

/** What may be imported from `byname`: types of parameters, by place, and of the result. */
const HOST_FUNCTIONS: Readonly<Record<string, { params: readonly number[][]; results: readonly number[] }>> = {
  log: { params: [[I32], [I32]], results: [I32] },
  now: { params: [], results: [I64, F64] },
  counter: { params: [[I32], [I32, I64]], results: [I32] },
  counter_name: { params: [[I32], [I32], [I32]], results: [I32] },
  random: { params: [], results: [I32, I64, F64] },
}
const WASI = 'wasi_snapshot_preview1'
const WASI_FUNCTIONS: ReadonlySet<string> = new Set(
  `args_get args_sizes_get environ_get environ_sizes_get clock_res_get clock_time_get fd_advise fd_allocate fd_close
  fd_datasync fd_fdstat_get fd_fdstat_set_flags fd_fdstat_set_rights fd_filestat_get fd_filestat_set_size
  fd_filestat_set_times fd_pread fd_prestat_get fd_prestat_dir_name fd_pwrite fd_read fd_readdir fd_renumber fd_seek
  fd_sync fd_tell fd_write path_create_directory path_filestat_get path_filestat_set_times path_link path_open
  path_readlink path_remove_directory path_rename path_symlink path_unlink_file poll_oneoff proc_exit proc_raise
  sched_yield random_get sock_accept sock_recv sock_send sock_shutdown`.split(/\s+/),
)

/** Why the imports cannot be given, in one line; null if they can. */
function importProblem({ imports }: SafeModule): string | null {
  for (const { module, name, type } of imports) {
    const shown = printable(`${module}.${name}`)
    if (module === WASI) {
      if (!WASI_FUNCTIONS.has(name)) return `imports ${shown}, which WASI does not have`
      if (type.results.length > 0 && !isOne(type.results, [I32]))
        return `imports ${shown} with another type than WASI has`
      continue
    }
    const host = module === 'byname' ? HOST_FUNCTIONS[name] : undefined
    if (host === undefined || !Object.hasOwn(HOST_FUNCTIONS, name)) {
      const hint = shown === 'env.abort' ? '; build with --use abort= (AssemblyScript)' : ''
      return `imports ${shown}, and byname gives only ${Object.keys(HOST_FUNCTIONS).join(', ')} of "byname" and WASI${hint}`
    }
    const { params, results } = host
    const isTaken = type.params.length === params.length && params.every((types, k) => types.includes(type.params[k]!))
    const mayBeNothing = name !== 'now' && name !== 'random'
    if (!isTaken || !((mayBeNothing && type.results.length === 0) || isOne(type.results, results))) {
      return `imports ${shown} with the type ${typeText(type)}, which is another than byname's`
    }
  }
  return null
}

const EXPORTED_FUNCTIONS: readonly {
  name: string
  params: number
  results: 'one' | 'none or one' | 'none'
  isOptional?: true
}[] = [
  { name: 'byname_abi', params: 0, results: 'one' },
  { name: 'byname_buffer', params: 0, results: 'one' },
  { name: 'byname_configure', params: 1, results: 'none or one' },
  { name: 'byname_query', params: 1, results: 'one' },
  { name: 'byname_reply', params: 1, results: 'none or one', isOptional: true },
  { name: '_initialize', params: 0, results: 'none', isOptional: true },
]

/** Which export is missing, or another thing than it must be, in one line; null if none is. */
function exportProblem(exports: SafeModule['exports']): string | null {
  const memory = exports.get('memory')
  if (memory?.kind !== 'memory') return 'does not export its memory as "memory"'
  for (const { name, params, results, isOptional } of EXPORTED_FUNCTIONS) {
    const found = exports.get(name)
    if (found === undefined) {
      if (isOptional) continue
      return `does not export ${name}`
    }
    if (found.type === null) return `exports ${name}, and it is no function`
    const { type } = found
    const isGiven = type.params.length === params && type.params.every((each) => each === I32)
    const isNothing = type.results.length === 0 && results !== 'one'
    if (!isGiven || !(isNothing || (results !== 'none' && isOne(type.results, [I32])))) {
      const want = `(${'i32'.repeat(params)}) → ${results === 'none' ? 'nothing' : results === 'one' ? 'i32' : 'i32 or nothing'}`
      return `exports ${name} with the type ${typeText(type)}; it must be ${want}`
    }
  }
  return null
}

function isOne(types: readonly number[], allowed: readonly number[]): boolean {
  return types.length === 1 && allowed.includes(types[0]!)
}

const TYPE_NAMES: Readonly<Record<number, string>> = {
  0x7f: 'i32',
  0x7e: 'i64',
  0x7d: 'f32',
  0x7c: 'f64',
  0x7b: 'v128',
  0x70: 'funcref',
  0x6f: 'externref',
}

function typeText({ params, results }: FunctionType): string {
  return `(${namesOf(params)}) → ${namesOf(results) || 'nothing'}`.slice(0, 100)
}

function namesOf(types: readonly number[]): string {
  return types.map((type) => TYPE_NAMES[type]).join(', ')
}

/** A name of a module's, which may be anything, for a message. */
function printable(text: string): string {
  // oxlint-disable-next-line no-control-regex -- that is what is taken out
  const shown = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')
  return shown.length > 80 ? `${shown.slice(0, 80)}…` : shown
}

/** Queries that each plug-in is tried with: an ordinary one, and one with the longest name. */
const TRIALS: readonly [name: string, type: number][] = [
  ['byname-trial.example', 1],
  [`${'a'.repeat(63)}.${'b'.repeat(63)}.${'c'.repeat(63)}.${'d'.repeat(61)}`, 28],
]

/** Makes an instance, configures it and asks it. */
function tryOut(settings: PluginSettings): LoadedPlugin | { problem: string } {
  const counters = new Map<number, string>()
  const host: PluginHost = {
    log: () => undefined,
    now: () => Date.now(),
    count: () => undefined,
    nameCounter: (counter, bytes) => counters.set(counter, printable(new TextDecoder().decode(bytes))),
    random: () => (Math.random() * 2 ** 32) | 0,
  }
  try {
    const instance = new PluginInstance(settings, host)
    for (const [name, type] of TRIALS) {
      const query = trialQuery(name, type)
      const facts = { nowLow: 0, nowHigh: 0, isSameMachine: true, ttlSeconds: 30, source: NO_SOURCE }
      const bytes = writeBuffer(instance, query, facts, query.packet, 0, query.end, false)
      if (bytes < 0) return { problem: `has a buffer of ${instance.capacity} bytes, into which a query does not fit` }
      const action = instance.query(bytes)
      if (action !== FAILED && action <= 4) continue
      const why =
        action === FAILED
          ? `${PLUGIN_ERRORS[instance.failure]}: ${instance.failureText}`
          : `it returned ${action}, which is no action`
      return { problem: `fails when it is tried with ${name} (${why})` }
    }
  } catch (error) {
    if (error instanceof PluginFailure) return { problem: error.message }
    throw error
  }
  return { settings, counters }
}

function trialQuery(name: string, type: number): ClientQuery {
  const wire = nameToWire(name)!
  const packet = new Uint8Array(12 + wire.length + 4 + 11)
  packet.set([0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1])
  packet.set(wire, 12)
  // Class IN, and an OPT that takes 1,232 bytes.
  packet.set([0, type, 0, 1, 0, 0, 41, 0x04, 0xd0], 12 + wire.length)
  const query = new ClientQuery()
  readQuery(packet, 0, packet.length, 0, query)
  query.address = Uint8Array.of(127, 0, 0, 1)
  query.limit = 1232
  return query
}
