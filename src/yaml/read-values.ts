/** Reads plain values by a schema, however much of them is wrong. */
import type * as z from 'zod/mini'

/** Entries of each list and mapping that are looked at again where more are wrong than zod can tell of. */
const FIRST_ENTRIES = 1000

/**
 * As `schema.safeParse(values, params)`, which zod ends with a RangeError where some 100,000 values are wrong: it hands all issues on
 * as the arguments of one call. Then the issues are those of the first entries of each list and mapping, or one at the largest.
 */
export function readValues<T extends z.ZodMiniType>(
  schema: T,
  values: unknown,
  params: z.core.ParseContext<z.core.$ZodIssue> = {},
): { data: z.output<T>; issues: null } | { data: null; issues: readonly z.core.$ZodIssue[] } {
  try {
    const result = schema.safeParse(values, params)
    return result.success ? { data: result.data, issues: null } : { data: null, issues: result.error.issues }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error
    const { error: wrong } = schema.safeParse(firstOf(values), params)
    const message = `has more wrong values than can be told, and none among the first ${FIRST_ENTRIES}`
    return { data: null, issues: wrong?.issues ?? [{ code: 'custom', path: largestOf(values, []).path, message }] }
  }
}

/** The values with the first entries of each list and mapping, at the same paths. */
function firstOf(values: unknown): unknown {
  if (typeof values !== 'object' || values === null) return values
  if (Array.isArray(values)) return values.slice(0, FIRST_ENTRIES).map(firstOf)
  const entries = Object.entries(values).slice(0, FIRST_ENTRIES)
  return Object.fromEntries(entries.map(([key, value]) => [key, firstOf(value)]))
}

/** Where the list or mapping of most entries is. */
function largestOf(values: unknown, path: readonly PropertyKey[]): { path: PropertyKey[]; size: number } {
  let largest = { path: [...path], size: 0 }
  if (typeof values !== 'object' || values === null) return largest
  const entries: [PropertyKey, unknown][] = Array.isArray(values) ? [...values.entries()] : Object.entries(values)
  largest.size = entries.length
  for (const [key, value] of entries) {
    const inner = largestOf(value, [...path, key])
    if (inner.size > largest.size) largest = inner
  }
  return largest
}
