/**
 * Plug-ins of an episode: one module that does with a query what its config says for the last five bits of the query's id.
 * It is made of WebAssembly text (test/plugins/wat.ts assembles such), and loaded as any other.
 */
import type { PluginSettings } from '../../src/engine/plugins/plugin-abi.ts'
import { PluginInstance } from '../../src/engine/plugins/plugin-instance.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { loadPlugin } from '../../src/plugins/plugin-loader.ts'
import type { Random } from './random.ts'

/** By letter of its config: what the module does with a query. All others pass. */
export const Deed = {
  PASS: 'p',
  /** 192.0.2.7 for A, else nothing. */
  ANSWER: 'a',
  /** The first letter of the name becomes an x. */
  REWRITE: 'r',
  /** The rcode is the config's last letter. */
  RCODE: 'c',
  DROP: 'd',
  TRAP: 't',
  OUT_OF_BOUNDS: 'o',
  ENDLESS: 'l',
  NONSENSE: 'n',
  OTHER_ID: 'i',
  MALFORMED_QUERY: 'm',
} as const

const MODULE: string =
  'AGFzbQEAAAABEQRgAAF/YAF/AGAAAGABfwF/AwYFAAABAgMFAwEAAgdJBQZtZW1vcnkCAApieW5hbWVfYWJpAAANYnluYW1lX2J1' +
  'ZmZlcgABEGJ5bmFtZV9jb25maWd1cmUAAgxieW5hbWVfcXVlcnkABArtAgUEAEEBCwUAQYAgCw4AQYAIQYAgIAD8CgAAC2YAQcIg' +
  'QYGBAjsBAEHIIEEAOwEAQcogQQA7AQBBxiBBADsBAEGEIEG8IC8BADYCAEGiIC8BAEEBRgRAQcYgQYACOwEAQcAgQbwgLwEAakEA' +
  'QRD8CgAAQYQgQbwgLwEAQRBqNgIACwvpAQEBf0GACEHBIC0AAEEfcWotAAAhASABQeEARgRAEANBAQ8LIAFB8gBGBEBBzCAtAABF' +
  'BEBBAA8LQc0gQfgAOgAAQQIPCyABQeMARgRAQbQgQaAILQAAQTBrOwEAQbYgQQ87AQBBuCBBHjYCAEEDDwsgAUHkAEYEQEEEDwsg' +
  'AUH0AEYEQAALIAFB7ABGBEADQAwACwsgAUHuAEYEQEHjAA8LIAFB6QBGBEAQA0HAIEHAIC0AAEEBczoAAEEBDwsgAUHtAEYEQEHM' +
  'IEHIAToAAEECDwsgAUHvAEYEQEHw////BygCABoLQQALCxYBAEEACxDADAABAAEAAAA8AATAAAIH'
const IDS = 32
const LOADED: PluginSettings = load()
const RCODES = ['0', '2', '3', '5'] as const
const FAULTS = [Deed.TRAP, Deed.OUT_OF_BOUNDS, Deed.ENDLESS, Deed.NONSENSE, Deed.OTHER_ID, Deed.MALFORMED_QUERY]

/** Gives most settings one or two plug-ins, some of them the same ones. */
export function addPlugins(random: Random, settings: readonly EngineSettings[]): void {
  const made = [0, 1, 2].map((k) => makePlugin(random, k + 1))
  for (const each of settings) {
    if (random.chance(0.2)) continue
    const first = random.pick(made)
    const second = random.pick(made)
    each.plugins = first === second || random.chance(0.5) ? [first] : [first, second]
  }
}

function makePlugin(random: Random, id: number): PluginSettings {
  const faults = random.pick([0, 0.05, 0.3, 1])
  const deeds = Array.from({ length: IDS }, () =>
    random.weighted([
      [6, Deed.PASS],
      [1, Deed.ANSWER],
      [1, Deed.REWRITE],
      [1, Deed.RCODE],
      [0.5, Deed.DROP],
      [6 * faults, random.pick(FAULTS)],
    ]),
  )
  const config = new TextEncoder().encode(deeds.join('') + random.pick(RCODES))
  return { ...LOADED, id, name: `plug-in ${id}`, config, onError: random.pick(['pass', 'servfail'] as const) }
}

/** The module with a config that passes everything: one that fails when it is tried is not loaded. */
function load(): PluginSettings {
  const config = Deed.PASS.repeat(IDS)
  const source = { file: 'episode.wasm', config, timeoutUs: 50, maxMemoryBytes: 1 << 20, onError: 'pass' } as const
  const loaded = loadPlugin(Buffer.from(MODULE, 'base64'), source, 0, '')
  if ('problem' in loaded) throw new Error(loaded.problem)
  return loaded.settings
}

/** What the plug-in does with a query that has this id. */
export function deedOf({ config }: PluginSettings, id: number): string {
  return String.fromCharCode(config[id & (IDS - 1)]!)
}

/** The rcode that it chooses. */
export function rcodeOf({ config }: PluginSettings): number {
  return config[IDS]! - 48
}

function nothing(): number {
  return 0
}

/** How long making an instance takes, by what it spends. */
export function makingMs(settings: PluginSettings): number {
  return new PluginInstance(settings, {
    log: nothing,
    now: nothing,
    count: nothing,
    nameCounter: nothing,
    random: nothing,
  }).makingMs
}
