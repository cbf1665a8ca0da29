/** What settings take: the kinds of values that the schema is made of. Messages complete the sentence "KEY: …". */
import { isIP } from 'node:net'
import * as z from 'zod/mini'
import { isHostName, type Parsed, parseSocketAddress, quote, type SocketAddress } from './address.ts'
import { parseGoDuration } from './go-duration.ts'
import { parseSize } from './size.ts'

/** What fits into the buffer of every plug-in that keeps to the interface. */
const MAX_PLUGIN_CONFIG = 65_535

/** What a plain number means. */
export type Unit = 'ms' | 'seconds' | 'bytes'

const UNITS: Readonly<Record<Unit, { parse: (text: string) => number | null; name: string; examples: string }>> = {
  ms: { parse: parseGoDuration, name: 'milliseconds', examples: 'a duration such as 500ms or 1m30s' },
  seconds: {
    parse: (text) => inSeconds(parseGoDuration(text)),
    name: 'seconds',
    examples: 'a duration such as 30s or 1h30m',
  },
  bytes: { parse: parseSize, name: 'bytes', examples: 'a size such as 64Ki or 8Mi' },
}

/** A value of `type`, as `make` returns it. What `make` finds wrong it adds to `context.issues`; its result is then not used. */
export function transformed<T extends z.ZodMiniType, R>(
  type: T,
  make: (read: z.output<T>, context: z.core.ParsePayload) => R,
): z.ZodMiniPipe<T, z.ZodMiniTransform<Awaited<R>, z.output<T>>> {
  return z.pipe(type, z.transform(make))
}

/** Any text that `parse` can read. `what` is what it must be, for a value that is no text. */
export function parsed<T>(parse: (text: string) => Parsed<T>, what: string): z.ZodMiniType<T, string> {
  return transformed(z.string({ error: `must be ${what}` }), (written, context) => {
    const result = parse(written)
    if ('value' in result) return result.value
    context.issues.push({ code: 'custom', message: result.reason, input: written })
    return z.NEVER
  })
}

/** A whole number. */
export function wholeNumber(least: number, most: number): z.ZodMiniInt {
  const error = `must be a whole number from ${least} to ${most}`
  return z.int({ error }).check(z.minimum(least, { error }), z.maximum(most, { error }))
}

/** A whole number of `unit`, or a duration or size in words (`30s`, `8Mi`) that is one. */
export function quantity(unit: Unit, least: number, most: number): z.ZodMiniType<number, number | string> {
  const { parse, name, examples } = UNITS[unit]
  const error = `must be a whole number from ${least} to ${most} (${name}) or ${examples}`
  return transformed(z.union([z.number(), z.string()], { error }), (written, context) => {
    const number = typeof written === 'number' ? written : read(written, parse)
    if (Number.isInteger(number) && number >= least && number <= most) return number
    context.issues.push({
      code: 'custom',
      message: `${error}, not ${typeof written === 'string' ? quote(written) : written}`,
      input: written,
    })
    return z.NEVER
  })
}

/** Plain digits are in the key's unit. Fractions of binary floating point (1.1 s) are rounded off. */
function read(text: string, parse: (text: string) => number | null): number {
  if (/^\s*\d{1,16}\s*$/.test(text)) return Number(text)
  const number = parse(text) ?? NaN
  const whole = Math.round(number)
  return Math.abs(number - whole) < 1e-6 ? whole : number
}

/** The system takes any byte but NUL; other control characters are mistakes that no message could show. */
function pathIn(written: string): Parsed<string> {
  return /\p{Cc}/u.test(written)
    ? { reason: `${quote(written)} is no path: it has control characters` }
    : { value: written }
}

function inSeconds(ms: number | null): number | null {
  return ms === null ? null : ms / 1000
}

/** One of a few words. */
export function oneOf<const T extends string>(...values: T[]): z.ZodMiniType<T, T> {
  return z.enum(values, { error: `must be ${values.slice(0, -1).join(', ')} or ${values.at(-1)}` })
}

/** A list. `what` its elements are called. */
export function listOf<T, I>(element: z.ZodMiniType<T, I>, what: string): z.ZodMiniType<T[], I[]> {
  const error = `must be a list of ${what}`
  return z.array(element, { error: (issue) => (issue.input === undefined ? `is missing; it ${error}` : error) })
}

/** A list of texts; one text stands for a list of one. */
export function oneOrMore<T extends z.ZodMiniType<unknown, string[]>>(list: T): z.ZodMiniPipe<z.ZodMiniTransform, T> {
  return z.pipe(
    z.transform((written: unknown) => (typeof written === 'string' ? [written] : written)),
    list,
  )
}

/** Keys, all of them known. */
export function section<T extends z.core.$ZodShape>(shape: T): z.ZodMiniObject<T, z.core.$strict> {
  return z.strictObject(shape, {
    // Undefined leaves unknown keys to the reader of the issues, which knows the keys there are.
    error: (issue) => (issue.code === 'invalid_type' ? 'must be a section of keys' : undefined),
  })
}

/** An issue at a key below the section it is found in, for what only several keys together show. */
export function issueAt(path: (string | number)[], message: string, input: unknown): z.core.$ZodRawIssue {
  return { code: 'custom', path, message, input }
}

const FRACTION = 'must be a number over 0 and at most 1, such as 0.01'
/** Any text. */
export const text: z.ZodMiniString = z.string({ error: 'must be a text' })
/** On, off or `auto`; true and false are what YAML 1.1 makes of the first two. */
export const onOffOrAuto: z.ZodMiniType<'auto' | 'on' | 'off', 'auto' | 'on' | 'off' | boolean> = transformed(
  z.union([z.boolean(), z.enum(['auto', 'on', 'off'])], { error: 'must be auto, on or off' }),
  (written) => (typeof written === 'string' ? written : written ? 'on' : 'off'),
)
/** `auto` or off; false is what YAML 1.1 makes of the latter. */
export const autoOrOff: z.ZodMiniType<'auto' | 'off', 'auto' | 'off' | false> = transformed(
  z.union([z.literal(false), z.enum(['auto', 'off'])], { error: 'must be auto or off' }),
  (written) => (written === false ? 'off' : written),
)
/** True or false. */
export const flag: z.ZodMiniBoolean = z.boolean({ error: 'must be true or false' })
/** A part of a whole: more than 0, at most 1. */
export const fraction: z.ZodMiniNumber = z
  .number({ error: FRACTION })
  .check(z.gt(0, { error: FRACTION }), z.maximum(1, { error: FRACTION }))
/** True, false or `auto`. In the environment these are texts. */
export const flagOrAuto: z.ZodMiniType<boolean | 'auto', boolean | string> = transformed(
  z.union([z.boolean(), z.enum(['auto', 'true', 'false'])], { error: 'must be auto, true or false' }),
  (written) => (written === 'auto' ? written : written === true || written === 'true'),
)
/** A file; empty for none. */
export const file: z.ZodMiniType<string, string> = parsed(pathIn, 'the name of a file')
/** A file or folder that must be named. */
export const requiredPath: z.ZodMiniType<string, string> = parsed(
  (written) => (written.trim() === '' ? { reason: 'must not be empty' } : pathIn(written)),
  'a path',
)
/** Lower case, without a trailing dot. */
export const domainName: z.ZodMiniType<string, string> = parsed<string>((written) => {
  const name = written.toLowerCase().replace(/\.$/, '')
  return isHostName(written) ? { value: name } : { reason: `${quote(written)} is no domain name` }
}, 'a domain name')
/** A literal address; empty for none. */
export const ipOrEmpty: z.ZodMiniType<string, string> = parsed<string>(
  (written) =>
    written === '' || isIP(written) !== 0
      ? { value: written }
      : { reason: `must be an IP address, not ${quote(written)}` },
  'an IP address',
)
/** An address to listen on, null for `""` and `off`. */
export const listenOrOff: z.ZodMiniType<SocketAddress | null, string> = parsed<SocketAddress | null>(
  (written) => (/^(?:|off|none)$/i.test(written.trim()) ? { value: null } : parseSocketAddress(written)),
  'an address and port, or off',
)
/** What a plug-in is told: a text as it is, nothing for null, anything else as JSON. */
export const pluginConfig: z.ZodMiniType<string> = transformed(z.json(), (written, context) => {
  const given = typeof written === 'string' ? written : written === null ? '' : JSON.stringify(written)
  const bytes = new TextEncoder().encode(given).length
  if (bytes <= MAX_PLUGIN_CONFIG) return given
  const message = `must be at most ${MAX_PLUGIN_CONFIG} bytes, and has ${bytes}`
  context.issues.push({ code: 'custom', message, input: written })
  return z.NEVER
})
