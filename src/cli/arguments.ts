import { type ParseArgsOptionsConfig, parseArgs } from 'node:util'
import { nearestOf } from '../config/spelling.ts'

/** An option of a command. */
export interface CommandOption {
  /** One letter that may be written for it: `p` is `-p`. */
  short?: string
  /** What its value is called in the help (`FILE`, `ADDR:PORT`); without it the option takes none. */
  value?: string
  /** May be given more than once. */
  isMultiple?: boolean
  help: string
}

/** What a command takes. */
export interface ArgumentShape {
  /** At most so many positional arguments; none if not given. */
  mostPositionals?: number
  options: Readonly<Record<string, CommandOption>>
}

/** A command line that means nothing. Exit code 2. */
export class UsageError extends Error {
  readonly code = 'USAGE'
  override readonly name = 'UsageError'
}

/** What was given to a command. */
export interface CommandArguments {
  positionals: readonly string[]
  /** True if the option was given. */
  has(option: string): boolean
  /** The option's value, undefined if it was not given; the last one of several. */
  text(option: string): string | undefined
  /** All values of an option that may be repeated. */
  texts(option: string): readonly string[]
}

/**
 * Reads the arguments of a command. `--help` and `-h` are every command's.
 * @throws UsageError in one line, with the nearest option there is.
 */
export function parseArguments(command: ArgumentShape, argv: readonly string[]): CommandArguments {
  const options: ParseArgsOptionsConfig = { help: { type: 'boolean', short: 'h' } }
  for (const [name, { value, short }] of Object.entries(command.options)) {
    const letter = short === undefined ? {} : { short }
    options[name] = value === undefined ? { type: 'boolean', ...letter } : { type: 'string', multiple: true, ...letter }
  }
  const { tokens } = parseArgs({ args: [...argv], options, allowPositionals: true, strict: false, tokens: true })
  const positionals: string[] = []
  const values = new Map<string, string[]>()
  for (const token of tokens) {
    if (token.kind === 'positional') positionals.push(token.value)
    if (token.kind !== 'option') continue
    const option = options[token.name]
    if (option === undefined) {
      const near = nearestOf(token.name, Object.keys(options))
      throw new UsageError(`unknown option ${token.rawName}${near === null ? '' : ` (did you mean --${near}?)`}`)
    }
    const name = command.options[token.name]?.value
    if (name === undefined && token.value !== undefined) throw new UsageError(`${token.rawName} takes no value`)
    // `--config --listen …` is a value forgotten, not a file of that name (`--config=--listen` is).
    const isForgotten = token.value === undefined || (!token.inlineValue && /^-./.test(token.value))
    if (name !== undefined && isForgotten) throw new UsageError(`${token.rawName} needs a value: ${name}`)
    values.set(token.name, [...(values.get(token.name) ?? []), token.value ?? ''])
  }
  const most = command.mostPositionals ?? 0
  if (positionals.length > most && !values.has('help')) {
    throw new UsageError(`unexpected argument ${JSON.stringify(positionals[most])}`)
  }
  return {
    positionals,
    has: (option) => values.has(option),
    text: (option) => values.get(option)?.at(-1),
    texts: (option) => values.get(option) ?? [],
  }
}
