/**
 * Layers of configuration (a file, the environment, flags) before they are read: plain values, and for every value
 * where somebody wrote it, so that a problem can be shown there.
 */

/** Keys and list indices from the root. */
export type KeyPath = readonly (string | number)[]

/** Plain values as YAML gives them. */
export type PlainMap = { [key: string]: unknown }

/** One value from the environment or from a flag. */
export interface Setting {
  path: KeyPath
  value: unknown
  /** `BYNAME_WORKERS`, `--listen`. */
  from: string
}

/** One layer. */
export interface Layer {
  values: PlainMap
  /**
   * Where `path` was written (`byname.yaml:12:5`, `BYNAME_WORKERS`), the nearest part of it that was, or null if none
   * was. `wantsKey` asks for the key's place instead of the value's.
   */
  whereIs(path: KeyPath, wantsKey: boolean): string | null
}

/** A layer of single settings; a later one wins. */
export function layerOf(settings: readonly Setting[]): Layer {
  let values: PlainMap = {}
  for (const { path, value } of settings) {
    const nested = path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value)
    if (isMap(nested)) values = mergeMaps(values, nested)
  }
  return {
    values,
    whereIs(path): string | null {
      const depth = depthOf(values, path)
      if (depth === 0) return null
      const isNear = (setting: Setting): boolean => {
        const shared = Math.min(depth, setting.path.length)
        return setting.path.slice(0, shared).every((key, index) => key === path[index])
      }
      return settings.findLast(isNear)?.from ?? null
    },
  }
}

/**
 * `upper` over `lower`: maps are merged, everything else is replaced; an undefined or null in `upper` says nothing.
 * Naming one kind of mesh source replaces whatever kind `lower` named.
 */
export function mergeMaps(lower: PlainMap, upper: PlainMap, path: KeyPath = []): PlainMap {
  const entries = Object.entries(upper).filter(([, value]) => value !== undefined && value !== null)
  // Most layers say nothing, and the file's may be large.
  if (entries.length === 0) return lower
  // A Map and fromEntries, because a key of `__proto__` must stay a key.
  const merged = new Map(Object.entries(lower))
  if (path.join('.') === 'mesh.source' && entries.length > 0) {
    for (const key of merged.keys()) if (!entries.some(([named]) => named === key)) merged.delete(key)
  }
  for (const [key, value] of entries) {
    const below = merged.get(key)
    if (isMap(value)) merged.set(key, mergeMaps(isMap(below) ? below : {}, value, [...path, key]))
    else merged.set(key, value)
  }
  return Object.fromEntries(merged)
}

/** The value at `path`, undefined if there is none. */
export function valueAt(values: unknown, path: KeyPath): unknown {
  let value = values
  for (const key of path) {
    if (Array.isArray(value)) value = value[Number(key)]
    else if (isMap(value) && Object.hasOwn(value, key)) value = value[key]
    else return undefined
  }
  return value
}

/** How many keys of `path` exist in `values`. */
export function depthOf(values: unknown, path: KeyPath): number {
  for (let depth = path.length; depth > 0; depth--) {
    if (valueAt(values, path.slice(0, depth)) !== undefined) return depth
  }
  return 0
}

/** True for a plain map of keys. */
export function isMap(value: unknown): value is PlainMap {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
