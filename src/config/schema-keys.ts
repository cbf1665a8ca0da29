import * as z from 'zod'
import type { KeyPath } from './setting.ts'

/** What kind of value a key takes, as far as reading one from a line of text needs to know. */
export type LeafKind = 'text' | 'number' | 'boolean' | 'list' | 'list of sections' | 'map of texts'

/** A key that takes a value. */
export interface Leaf {
  path: readonly string[]
  kind: LeafKind
}

/** Every key of the schema that takes a value, in its order. */
export function leavesOf(schema: z.core.$ZodType, path: readonly string[] = []): Leaf[] {
  const inner = bare(schema)
  if (inner instanceof z.ZodObject) {
    return Object.entries(shapeOf(inner)).flatMap(([key, value]) => leavesOf(value, [...path, key]))
  }
  return [{ path, kind: kindOf(inner) }]
}

/** The keys there are in the section at `path`; empty if it is no section. */
export function keysAt(schema: z.core.$ZodType, path: KeyPath): string[] {
  let inner = bare(schema)
  for (const segment of path) {
    if (inner instanceof z.ZodObject) {
      const next = shapeOf(inner)[segment]
      if (next === undefined) return []
      inner = bare(next)
    } else if (inner instanceof z.ZodArray) inner = bare(inner.element)
    else return []
  }
  return inner instanceof z.ZodObject ? Object.keys(inner.shape) : []
}

function shapeOf(schema: z.ZodObject): Readonly<Record<string | number, z.core.$ZodType>> {
  return schema.shape
}

/** The schema of what is written, less its default and whatever is made of it afterwards. */
function bare(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema
  for (;;) {
    if (inner instanceof z.ZodPipe) inner = inner.in instanceof z.ZodTransform ? inner.out : inner.in
    else if (inner instanceof z.ZodDefault || inner instanceof z.ZodPrefault || inner instanceof z.ZodOptional) {
      inner = inner.unwrap()
    } else return inner
  }
}

function kindOf(schema: z.core.$ZodType): LeafKind {
  if (schema instanceof z.ZodNumber) return 'number'
  if (schema instanceof z.ZodBoolean) return 'boolean'
  if (schema instanceof z.ZodRecord) return 'map of texts'
  if (schema instanceof z.ZodArray) {
    return bare(schema.element) instanceof z.ZodObject ? 'list of sections' : 'list'
  }
  return 'text'
}
