/** The man page and the completions of the shells, made of the commands themselves so that they stay true. */
import type { Command } from '../src/cli/command.ts'
import { commandHelp } from '../src/cli/help.ts'

/** Page byname(1) in man's language. */
export async function manPage(commands: readonly Command[], version: string): Promise<string> {
  const sections = await Promise.all(
    commands.map(async (command) => `.SS byname ${escape(command.name)}\n${verbatim(await commandHelp(command))}`),
  )
  return `.\\" Made of the help of each command: byname COMMAND --help shows the same.
.TH BYNAME 1 "" "byname ${version}" "User Commands"
.SH NAME
byname \\- DNS proxy for one workload in a service mesh
.SH SYNOPSIS
.B byname
.I COMMAND
[options]
.SH DESCRIPTION
byname answers mesh names from the name table of the control plane, and all other names from upstream resolvers through a
cache.
.SH COMMANDS
${sections.join('')}.SH FILES
.TP
.I /etc/byname/byname.yaml
Configuration, as the service that the Debian package brings reads it.
.SH EXIT STATUS
0: done; 1: failed at run time; 2: bad usage or configuration.
`
}

/** Lines as they are, in a fixed font. */
function verbatim(text: string): string {
  return `.nf\n${text.trimEnd().split('\n').map(escape).join('\n')}\n.fi\n`
}

/** A line without meaning to man. */
function escape(line: string): string {
  const plain = line.replaceAll('\\', '\\e').replaceAll('-', '\\-')
  return /^[.']/.test(plain) ? `\\&${plain}` : plain
}

/** What may follow a command's name: words that it knows as positional arguments, in lower case. */
function wordsOf({ positionals = '' }: Command): string[] {
  return positionals.match(/[a-z][a-z-]*/g) ?? []
}

/** Long options of a command, each with its help; and whether a value follows. */
function optionsOf(command: Command): { flag: string; help: string; value: string | undefined }[] {
  const options = Object.entries(command.options).map(([name, { help, value }]) => ({ flag: `--${name}`, help, value }))
  return [...options, { flag: '--help', help: 'show this help', value: undefined }]
}

function takesPath(value: string | undefined): boolean {
  return /^(?:FILE|DIR)\b/.test(value ?? '')
}

/** For bash. */
export function bashCompletion(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const words = [...wordsOf(command), ...optionsOf(command).map(({ flag }) => flag)]
    return `    ${command.name}) words='${words.join(' ')}' ;;`
  })
  const paths = new Set(
    commands.flatMap((command) => optionsOf(command).filter(({ value }) => takesPath(value))).map(({ flag }) => flag),
  )
  return `# Completion of byname for bash.
_byname() {
  local current=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]} words
  case $previous in
    ${[...paths].join('|')})
      mapfile -t COMPREPLY < <(compgen -f -- "$current")
      return
      ;;
  esac
  case \${COMP_WORDS[1]} in
${cases.join('\n')}
    *) words='' ;;
  esac
  [ "$COMP_CWORD" -gt 1 ] || words='${commands.map(({ name }) => name).join(' ')} --help --version'
  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -o filenames -F _byname byname
`
}

/** Between single quotes of zsh's, where colons and brackets have a meaning. */
function quoteForZsh(text: string): string {
  return text.replaceAll(/[[\]\\:]/g, '\\$&').replaceAll("'", "'\\''")
}

/** With its quotes. */
function quoteForFish(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`
}

/** For zsh. */
export function zshCompletion(commands: readonly Command[]): string {
  const cases = commands.map((command) => {
    const options = optionsOf(command).map(({ flag, help, value }) => {
      const action =
        value === undefined ? '' : `:${value.toLowerCase().replaceAll(':', ' ')}:${takesPath(value) ? '_files' : ''}`
      return `'*${flag}[${quoteForZsh(help)}]${action}'`
    })
    const words = wordsOf(command)
    if (words.length > 0) options.push(`'*:argument:(${words.join(' ')})'`)
    return `    ${command.name}) _arguments ${options.join(' ')} ;;`
  })
  return `#compdef byname
# Completion of byname for zsh.
_byname() {
  local -a commands
  commands=(
${commands.map(({ name, summary }) => `    '${name}:${quoteForZsh(summary)}'`).join('\n')}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${cases.join('\n')}
  esac
}
_byname "$@"
`
}

/** For fish. */
export function fishCompletion(commands: readonly Command[]): string {
  const lines = commands.flatMap((command) => {
    const { name, summary } = command
    const after = `-n '__fish_seen_subcommand_from ${name}'`
    return [
      `complete -c byname -n __fish_use_subcommand -f -a ${name} -d ${quoteForFish(summary)}`,
      ...wordsOf(command).map((word) => `complete -c byname ${after} -f -a ${word}`),
      ...optionsOf(command).map(({ flag, help, value }) => {
        const argument = value === undefined ? '' : takesPath(value) ? ' -r -F' : ' -x'
        return `complete -c byname ${after} -l ${flag.slice(2)}${argument} -d ${quoteForFish(help)}`
      }),
    ]
  })
  return `# Completion of byname for fish.\n${lines.join('\n')}\n`
}
