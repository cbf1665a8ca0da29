import type { Command } from './command.ts'
import { alignColumns } from './text-columns.ts'

/** Longest line, in characters, of what is filled. */
const WIDTH = 100

/** Help of one command, ready to print. */
export async function commandHelp(command: Command): Promise<string> {
  const options = Object.entries(command.options).map(([name, { short, value, isMultiple, help }]) => [
    `  ${short === undefined ? '' : `-${short}, `}--${name}${value === undefined ? '' : ` ${value}`}${isMultiple ? ' …' : ''}`,
    help,
  ])
  const usage = ['byname', command.name, command.positionals, options.length > 0 ? '[options]' : undefined]
  const parts = [
    `${command.summary}\n`,
    `Usage: ${usage.filter((part) => part !== undefined).join(' ')}\n`,
    ...(command.details === undefined ? [] : [`${filled(command.details)}\n`]),
    `Options:\n${alignColumns([...options, ['  -h, --help', 'show this help']])}`,
    ...(command.settings === undefined ? [] : [`${await command.settings()}\n`]),
    ...(command.examples === undefined ? [] : [`Examples:\n${command.examples.map((line) => `  ${line}\n`).join('')}`]),
  ]
  return parts.join('\n')
}

/** Paragraphs, an empty line between them, in lines that fit a terminal. */
function filled(text: string): string {
  const paragraphs = text.split(/\n\n+/)
  return paragraphs
    .map((paragraph) => paragraph.split(/\s+/).reduce((lines, word) => lineWith(lines, word), ''))
    .join('\n\n')
}

function lineWith(lines: string, word: string): string {
  const last = lines.length - (lines.lastIndexOf('\n') + 1)
  if (lines === '') return word
  return `${lines}${last + 1 + word.length <= WIDTH ? ' ' : '\n'}${word}`
}

/** Help of `byname` itself. */
export function globalHelp(commands: readonly Command[]): string {
  const lines = commands.map(({ name, positionals, summary }) => [`  ${name} ${positionals ?? ''}`.trimEnd(), summary])
  return `byname is a DNS proxy for one workload in a service mesh: it answers mesh names from the
control plane's name table, and everything else from upstream resolvers through a cache.

Usage: byname COMMAND [options]

Commands:
${alignColumns(lines)}
Options:
${alignColumns([
  ['  -h, --help', 'show this help; after a command, its own'],
  ['  --version', "show byname's version"],
])}
Exit codes: 0 done, 1 failed at run time, 2 bad usage or configuration.
BYNAME_DEBUG=1 shows where an error comes from.
`
}
