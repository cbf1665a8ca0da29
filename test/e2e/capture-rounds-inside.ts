/**
 * `capture-rounds-inside.ts BACKEND ROUNDS`: applies, checks, applies and removes the redirect in the network namespace of this
 * process, and looks at the rules of all back ends each time. Prints what was otherwise than it should be, a line each.
 */
import { spawnSync } from 'node:child_process'
import { runCommandLine } from '../../src/main.ts'

const [backend, rounds] = process.argv.slice(2)

async function capture(...args: string[]): Promise<{ code: number; text: string }> {
  let text = ''
  const write = (more: string): void => void (text += more)
  const context = { env: process.env, out: write, err: write, signal: new AbortController().signal }
  return { code: await runCommandLine(['capture', ...args], context, () => {}), text }
}

/** Without counters. */
function ruleset(): string {
  return [['nft', '-s', 'list', 'ruleset'], ['iptables-legacy-save'], ['ip6tables-legacy-save']]
    .map(([program, ...args]) => spawnSync(program!, args, { encoding: 'utf8' }).stdout)
    .join('\n')
    .replace(/^#.*\n/gm, '')
    .replace(/\[\d+:\d+\]/g, '')
}

function claim(what: string, isSo: boolean, text: string): void {
  if (!isSo) process.stdout.write(`${what}: ${text}\n`)
}

const before = ruleset()
for (let round = 1; round <= Number(rounds); round++) {
  const exempt = ['--exclude', '192.0.2.0/24', '--exclude-interface', 'eth9']
  const options = ['--backend', backend!, ...[[], ['--all-dns', ...exempt], ['--no-ipv6', '--uid', '0']][round % 3]!]
  const applied = await capture('apply', ...options)
  claim(`round ${round}: apply`, applied.code === 0, applied.text)
  const rules = ruleset()
  claim(`round ${round}: applied`, rules !== before, rules)
  const checked = await capture('check', ...options)
  claim(`round ${round}: check`, checked.code === 0, checked.text)
  const again = await capture('apply', ...options)
  claim(`round ${round}: apply again`, again.code === 0 && ruleset() === rules, again.text)
  // Over what other options made.
  const other = await capture('apply', '--backend', backend!, '--port', '15053', '--gid', '7')
  const otherChecked = await capture('check', '--gid', '7')
  claim(`round ${round}: apply otherwise`, other.code + otherChecked.code === 0, other.text + otherChecked.text)
  const removed = await capture('remove')
  const after = ruleset()
  claim(`round ${round}: remove`, removed.code === 0 && after === before, `${removed.text}${after}`)
}
