import { readYaml } from '../yaml/plain-yaml.ts'
import { quote } from './address.ts'
import { configSchema } from './schema.ts'
import { type Leaf, type LeafKind, leavesOf } from './schema-keys.ts'
import type { Setting } from './layer.ts'
import { nearestOf } from './spelling.ts'

/** Environment variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>

/** Variables that start with BYNAME_ and are no keys of the configuration. */
const OTHERS = new Set(['BYNAME_ADMIN_TOKEN_FILE', 'BYNAME_CONFIG', 'BYNAME_DEBUG', 'BYNAME_GUARD', 'BYNAME_HANDOVER'])

/**
 * What Kubernetes sets in every pod beside a service called `byname`: BYNAME_PORT=tcp://10.96.7.7:53,
 * BYNAME_PORT_53_TCP_ADDR, BYNAME_SERVICE_HOST and so on.
 */
const SERVICE_LINK = /^BYNAME_(?:PORT|PORT_.*|SERVICE_.*)$/

/** The environment variable of a key: `mesh.ttlSeconds` is BYNAME_MESH_TTL_SECONDS. */
export function variableOf(path: readonly string[]): string {
  return ['byname', ...path].map((key) => key.replace(/([a-z0-9])([A-Z])/g, '$1_$2').toUpperCase()).join('_')
}

/**
 * Reads BYNAME_<PATH_IN_CAPITALS>. Unknown variables are warnings. An empty one counts as unset, but for keys that empty
 * text turns off; two quotation marks are empty text for every key.
 */
export function readEnvironment(env: Environment): { settings: Setting[]; warnings: string[] } {
  const leaves = new Map(leavesOf(configSchema).map((leaf): [string, Leaf] => [variableOf(leaf.path), leaf]))
  const settings: Setting[] = []
  const warnings: string[] = []
  for (const name of Object.keys(env).toSorted()) {
    const value = env[name]
    if (!name.startsWith('BYNAME_') || value === undefined || OTHERS.has(name)) continue
    const leaf = leaves.get(name)
    if (leaf === undefined) {
      if (SERVICE_LINK.test(name)) continue
      const near = nearestOf(name, [...leaves.keys()])
      const hint = near === null ? '' : ` (did you mean ${near}?)`
      warnings.push(`${shown(name)}: unknown environment variable, ignored${hint}`)
    } else if (value.trim() !== '' || leaf.notes.isOffWhenEmpty === true) {
      settings.push({ path: leaf.path, value: readValue(value, leaf.kind), from: name })
    }
  }
  return { settings, warnings }
}

function shown(name: string): string {
  return /^\w{1,80}$/.test(name) ? name : quote(name)
}

/**
 * A value of a key from one line of text: lists are separated by commas, maps are `a=b,c=d`, lists of sections are YAML.
 * Text that does not fit the kind stays text: the schema then says what was expected.
 */
export function readValue(text: string, kind: LeafKind): unknown {
  const written = text.trim()
  const trimmed = written === '""' || written === "''" ? '' : written
  switch (kind) {
    case 'number':
      return /^[+-]?\d+(?:\.\d+)?$/.test(trimmed) ? Number(trimmed) : text
    case 'boolean':
      return readBoolean(trimmed) ?? text
    case 'list':
      return items(trimmed)
    case 'map of texts': {
      const pairs = items(trimmed).map((item) => item.split(/=(.*)/s, 2))
      return Object.fromEntries(pairs.map(([key, value]) => [key!.trim(), (value ?? '').trim()]))
    }
    case 'list of sections': {
      const [document, second] = readYaml(trimmed)
      return document?.problems.length !== 0 || second !== undefined ? text : document.values
    }
    default:
      return trimmed
  }
}

/** `[]` is a list without any, which an empty variable is not. */
function items(text: string): string[] {
  if (text === '[]') return []
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** True or false as Go's strconv.ParseBool and YAML 1.1 write them, null for anything else. */
export function readBoolean(text: string): boolean | null {
  if (/^(?:true|t|1|yes|on)$/i.test(text)) return true
  if (/^(?:false|f|0|no|off)$/i.test(text)) return false
  return null
}
