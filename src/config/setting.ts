/** What a key of the schema is declared with beside the values that it takes. */
import * as z from 'zod/mini'

/** What it takes to change a setting: it counts at once after a reload, or needs a new process (SIGUSR2, a restart). */
export type Reload = 'live' | 'handover'

/** What is known of one setting. */
export interface SettingNotes {
  /** What it means, in a sentence or a few. */
  about: string
  reload: Reload
  /** Variable of Istio's environment that sets it as well. */
  istio?: string
  /** A value to show for a setting without a default, as YAML. */
  example?: string
  /** Empty text turns it off, also in the environment, where an empty variable is else no value. */
  isOffWhenEmpty?: true
  /** The section that it stands in makes no sense without it. */
  isRequired?: true
}

/** What is known of a section that is no more than the settings in it. */
export interface SectionNotes {
  about: string
}

/** Filled while the schema is declared, and read only afterwards. */
const NOTES = z.registry<SettingNotes | SectionNotes>()

/** A setting that is `byDefault` (as it would be written) unless it is set. */
export function setting<T extends z.ZodMiniType>(
  type: T,
  byDefault: z.input<T>,
  notes: SettingNotes,
): z.ZodMiniPrefault<T> {
  return noted(z.prefault(type, byDefault), notes)
}

/** A setting without a default. */
export function optionalSetting<T extends z.ZodMiniType>(type: T, notes: SettingNotes): z.ZodMiniOptional<T> {
  return noted(z.optional(type), notes)
}

/** A setting that must be written where its section is. */
export function requiredSetting<T extends z.ZodMiniType>(type: T, notes: SettingNotes): T {
  return noted(type, { ...notes, isRequired: true })
}

/** A section of settings, each of which has a default. `unwritten`: what it is without any, `{}`. */
export function group<T extends z.ZodMiniType>(type: T, unwritten: z.input<T>, about: string): z.ZodMiniPrefault<T> {
  return noted(z.prefault(type, unwritten), { about })
}

/** A section that changes something by being there. */
export function optionalGroup<T extends z.ZodMiniType>(type: T, about: string): z.ZodMiniOptional<T> {
  return noted(z.optional(type), { about })
}

/** What `setting` or `group` declared of this part of the schema; null for any other. */
export function notesOf(schema: z.core.$ZodType): SettingNotes | SectionNotes | null {
  return NOTES.get(schema) ?? null
}

function noted<T extends z.ZodMiniType>(type: T, notes: SettingNotes | SectionNotes): T {
  NOTES.add<z.core.$ZodType>(type, notes)
  return type
}
