/** What a new configuration changes in a daemon that runs, and what waits for another process. Pure. */
import { type Config, configSchema } from '../config/schema.ts'
import { reloadUnits } from '../config/schema-keys.ts'
import type { EngineSettings, UpstreamServer } from '../engine/settings.ts'

/** A configuration that can be taken over as it is, and what of the new one it lacks. */
export interface Takeover {
  /** The new configuration with the old values of all that is made once for each process. */
  config: Config
  /** Paths of the keys whose new values wait for a new process. */
  waiting: string[]
  /** Paths of the keys whose new values count now. */
  changed: string[]
}

/** What becomes of `next` where `old` is in use: what each key is declared to take decides (schema.ts). */
export function takeOver(next: Config, old: Config): Takeover {
  const reloadOf = new Map(reloadUnits(configSchema).map(({ path, reload }) => [path.join('.'), reload]))
  const waiting: string[] = []
  const changed: string[] = []
  const merge = <T>(value: T, before: T, path: string): T => {
    const reload = reloadOf.get(path)
    if (reload === undefined && isSection(value) && isSection(before)) return mergeSections(value, before, path)
    if (isSame(value, before)) return before
    if (reload === 'live') changed.push(path)
    else waiting.push(path)
    return reload === 'live' ? value : before
  }
  const mergeSections = <T extends object>(section: T, before: T, path: string): T => {
    const merged = { ...section }
    for (const key in section) merged[key] = merge(section[key], before[key], path === '' ? key : `${path}.${key}`)
    return merged
  }
  // Istio's environment is that of the process.
  const config = merge({ ...next, istio: old.istio }, old, '')
  return { config, waiting, changed }
}

function isSection<T>(value: T): value is T & object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** A part that is told of new settings. */
interface Told<T extends unknown[]> {
  configure(...settings: T): void
}

/**
 * Hands settings to the threads that run already. The stream thread comes first, so that it knows the servers that data
 * workers then ask over it.
 */
export function handOut(
  settings: EngineSettings,
  rootCertificates: string | null,
  stream: Told<[UpstreamServer[], string | null]> | null,
  workers: Told<[EngineSettings]> | null,
): void {
  stream?.configure(settings.servers, rootCertificates)
  workers?.configure(settings)
}
