/** The schema as a list of its keys. */
import * as z from 'zod/mini'
import type { KeyPath } from './layer.ts'
import { notesOf, type SectionNotes, type SettingNotes } from './setting.ts'

/** What kind of value a key takes, as far as reading one from a line of text needs to know. */
export type LeafKind = 'text' | 'number' | 'boolean' | 'list' | 'list of sections' | 'map of texts'

/** A key that takes a value. */
export interface Leaf {
  path: readonly string[]
  kind: LeafKind
  notes: SettingNotes
  /** As it would be written; undefined if there is none. */
  byDefault: unknown
  schema: z.core.$ZodType
}

/** A section, which comes before its keys. */
export interface Section {
  path: readonly string[]
  notes: SectionNotes
  /** It is not there unless it is written. */
  isOptional: boolean
}

/** Every key of the schema that takes a value, in its order. */
export function leavesOf(schema: z.core.$ZodType): Leaf[] {
  return partsOf(schema).filter((part) => 'kind' in part)
}

/** Every section and every key that takes a value, in the schema's order; the root is not among them. */
export function partsOf(schema: z.core.$ZodType, path: readonly string[] = []): (Section | Leaf)[] {
  const inner = bare(schema)
  const notes = notesOf(schema)
  if (inner instanceof z.ZodMiniObject) {
    const below = Object.entries(shapeOf(inner)).flatMap(([key, value]) => partsOf(value, [...path, key]))
    return notes === null ? below : [{ path, notes, isOptional: schema instanceof z.ZodMiniOptional }, ...below]
  }
  if (notes === null || !('reload' in notes)) throw new Error(`${path.join('.')} is not declared as a setting`)
  return [
    {
      path,
      kind: kindOf(inner),
      notes,
      byDefault: schema instanceof z.ZodMiniPrefault ? schema.def.defaultValue : undefined,
      schema,
    },
  ]
}

/** What a key takes, in words: "a whole number from 1 to 64". */
export function valuesOf({ schema }: Leaf): string {
  // Nothing takes a symbol, and the complaint says what it should be.
  const message = z.safeParse(schema, Symbol.iterator).error?.issues[0]?.message ?? ''
  return message.replace(/^must be /, '')
}

/** All that a key takes, if that is a few words; null if it takes more. */
export function wordsOf({ schema }: Leaf): string[] | null {
  const inner = bare(schema)
  return inner instanceof z.ZodMiniEnum ? inner.options.map(String) : null
}

/**
 * Paths of what a reload takes over or leaves as a whole, with what it takes: a key, or a section that is declared as one
 * setting.
 */
export function reloadUnits(schema: z.core.$ZodType, path: readonly string[] = []): ReloadUnit[] {
  const notes = notesOf(schema)
  if (notes !== null && 'reload' in notes) return [{ path, reload: notes.reload }]
  const inner = bare(schema)
  if (!(inner instanceof z.ZodMiniObject)) return []
  return Object.entries(shapeOf(inner)).flatMap(([key, value]) => reloadUnits(value, [...path, key]))
}

/** One of `reloadUnits`. */
export interface ReloadUnit {
  path: readonly string[]
  reload: SettingNotes['reload']
}

/** The keys there are in the section at `path`; empty if it is no section. */
export function keysAt(schema: z.core.$ZodType, path: KeyPath): string[] {
  let inner = bare(schema)
  for (const segment of path) {
    if (inner instanceof z.ZodMiniObject) {
      const next = shapeOf(inner)[segment]
      if (next === undefined) return []
      inner = bare(next)
    } else if (inner instanceof z.ZodMiniArray) inner = bare(inner.def.element)
    else return []
  }
  return inner instanceof z.ZodMiniObject ? Object.keys(inner.shape) : []
}

function shapeOf(schema: z.ZodMiniObject): Readonly<Record<string | number, z.core.$ZodType>> {
  return schema.shape
}

/** The schema of what is written, less its default and whatever is made of it afterwards. */
function bare(schema: z.core.$ZodType): z.core.$ZodType {
  let inner = schema
  for (;;) {
    if (inner instanceof z.ZodMiniPipe)
      inner = inner.def.in instanceof z.ZodMiniTransform ? inner.def.out : inner.def.in
    else if (inner instanceof z.ZodMiniPrefault || inner instanceof z.ZodMiniOptional) inner = inner.def.innerType
    else return inner
  }
}

function kindOf(schema: z.core.$ZodType): LeafKind {
  if (schema instanceof z.ZodMiniNumber) return 'number'
  if (schema instanceof z.ZodMiniBoolean) return 'boolean'
  if (schema instanceof z.ZodMiniRecord) return 'map of texts'
  if (schema instanceof z.ZodMiniUnion && schema.def.options.some((option) => option instanceof z.ZodMiniNumber))
    return 'number'
  if (schema instanceof z.ZodMiniArray) {
    return bare(schema.def.element) instanceof z.ZodMiniObject ? 'list of sections' : 'list'
  }
  return 'text'
}
