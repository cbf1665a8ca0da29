/** The man page and the completions: made of the commands, so that nothing of them is missing; and read by the shells. */
import { spawnSync } from 'node:child_process'
import { describe, expect, test } from 'vitest'
import { bashCompletion, fishCompletion, manPage, zshCompletion } from '../../packaging/command-docs.ts'
import { COMMANDS } from '../../src/main.ts'

const commands = await Promise.all([...COMMANDS.values()].map(async (load) => await load()))

/** What bash offers after these words; the last one may be incomplete. */
function completions(...words: string[]): string[] {
  const script = `${bashCompletion(commands)}
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    _byname
    printf '%s\\n' "\${COMPREPLY[@]}"`
  const { stdout, stderr } = spawnSync('bash', ['-c', script, 'bash', 'byname', ...words], { encoding: 'utf8' })
  expect(stderr).toBe('')
  return stdout.split('\n').filter((line) => line !== '')
}

describe('bash completes', () => {
  test('all commands', () => expect(completions('')).toEqual([...COMMANDS.keys(), '--help', '--version']))
  test.each([
    ['a command', ['cap'], ['capture']],
    ['what a command does', ['capture', 're'], ['remove']],
    ['an option of that command alone', ['capture', '--all'], ['--all-dns']],
    ['nothing of an unknown command', ['nothing', ''], []],
    ['a file after an option that takes one', ['run', '--config', 'package.js'], ['package.json']],
  ])('%s', (_what, words, offered) => expect(completions(...words)).toEqual(offered))
})

test.each([
  ['zsh', zshCompletion(commands)],
  ['fish', fishCompletion(commands)],
])('%s is told every command and option', (_shell, text) => {
  for (const { name, options } of commands) {
    expect(text).toContain(name)
    for (const option of Object.keys(options)) expect(text).toMatch(new RegExp(`(--|-l )${option}\\b`))
  }
})

test('a quote in a help text ends no word of the shell', () => {
  const command = { ...commands[0]!, summary: "byname's", options: { all: { help: "all that's [there]: yes" } } }
  expect(fishCompletion([command])).toContain(String.raw`-d 'all that\'s [there]: yes'`)
  expect(zshCompletion([command])).toContain(String.raw`'*--all[all that'\''s \[there\]\: yes]'`)
})

test('the man page has the help of every command, with nothing that man would take for its own', async () => {
  const page = await manPage(commands, '1.2.3')
  for (const { name } of commands) expect(page).toContain(`.SS byname ${name.replaceAll('-', '\\-')}`)
  expect(page).not.toMatch(/^'/m)
  const unknown = page
    .split('\n')
    .filter((line) => line.startsWith('.') && !/^\.(\\"|TH|SH|SS|B|I|TP|nf|fi)( |$)/.test(line))
  expect(unknown).toEqual([])
})
