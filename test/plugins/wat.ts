/** Plug-ins for tests, written as WebAssembly text. */
import makeWabt from 'wabt'
import type { PluginSettings } from '../../src/engine/plugins/plugin-abi.ts'
import { type LoadedPlugin, loadPlugin, type PluginSource } from '../../src/plugins/plugin-loader.ts'

const wabt = await makeWabt()
const FEATURES = {
  bulk_memory: true,
  exceptions: true,
  multi_value: true,
  mutable_globals: true,
  reference_types: true,
  sat_float_to_int: true,
  sign_extension: true,
  simd: true,
  tail_call: true,
  threads: true,
  memory64: true,
  multi_memory: true,
  extended_const: true,
  relaxed_simd: true,
}

/** The binary module of a text. */
export function assemble(text: string): Uint8Array {
  const parsed = wabt.parseWat('test.wat', text, FEATURES)
  try {
    return parsed.toBinary({ write_debug_names: false }).buffer.slice()
  } finally {
    parsed.destroy()
  }
}

/** What a plug-in of a test is made of; the rest is as it should be. */
export interface PluginParts {
  /** Before all else: imports. */
  imports?: string
  /** Body of `byname_query`, whose parameter is $length. */
  query?: string
  /** Body of `byname_configure`. */
  configure?: string
  /** The whole of `byname_reply`. */
  reply?: string
  /** Other parts of the module. */
  more?: string
  memory?: string
  buffer?: string
  abi?: string
}

/** A plug-in as text. Its buffer is at 1,024. */
export function pluginText(parts: PluginParts = {}): string {
  const { imports = '', query = '(i32.const 0)', configure = '', reply = '', more = '' } = parts
  const { memory = '(memory (export "memory") 2)', buffer = '(i32.const 1024)', abi = '(i32.const 1)' } = parts
  return `(module ${imports} ${memory} ${more}
    (func (export "byname_abi") (result i32) ${abi})
    (func (export "byname_buffer") (result i32) ${buffer})
    (func (export "byname_configure") (param $length i32) ${configure})
    (func $query (export "byname_query") (param $length i32) (result i32) ${query})
    ${reply})`
}

/** The same, assembled. */
export function pluginBytes(parts: PluginParts = {}): Uint8Array {
  return assemble(pluginText(parts))
}

/** What the configuration says of a plug-in. */
const SOURCE: PluginSource = {
  file: 'test.wasm',
  config: '',
  timeoutUs: 1000,
  maxMemoryBytes: 1 << 24,
  onError: 'pass',
}

let ids = 0

/** Loads a module. */
export function load(
  bytes: Uint8Array,
  source: Partial<PluginSource> = {},
  name = 'test',
): LoadedPlugin | { problem: string } {
  return loadPlugin(bytes, { ...SOURCE, ...source }, ++ids, name)
}

/** A plug-in that can be loaded, for an engine. */
export function loaded(parts: PluginParts = {}, source: Partial<PluginSource> = {}, name = 'test'): PluginSettings {
  const result = load(pluginBytes(parts), source, name)
  if ('problem' in result) throw new Error(result.problem)
  return result.settings
}

/** Why a module is refused, '' if it is not. */
export function problemOf(bytes: Uint8Array, source: Partial<PluginSource> = {}): string {
  const result = load(bytes, source)
  return 'problem' in result ? result.problem : ''
}
