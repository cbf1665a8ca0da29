import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runCommandLine } from '../../src/main.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-capture-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Finds no programs but the machine's, and changes nothing: `--dry-run`, or refused before anything is done. */
async function capture(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const context = {
    env: {},
    out: (text: string): void => void (out += text),
    err: (text: string): void => void (err += text),
    signal: new AbortController().signal,
  }
  const code = await runCommandLine(['capture', ...argv], context, () => {})
  return { code, out, err }
}

test.each([
  [[], 'say what to do: apply, check or remove'],
  [['stop'], 'unknown: stop: apply, check or remove'],
  [
    ['apply', '--all-dns', '--backend=ipfw'],
    '--backend ipfw: there are iptables, nftables, iptables-nft, iptables-legacy',
  ],
  [['apply', '--all-dns', '--port=0'], '--port 0: give a number from 1 to 65535'],
  [['apply', '--all-dns', '--uid=root'], '--uid root: give a number from 0 to 4294967294'],
  [['apply', '--all-dns', '--gid=4294967295'], '--gid 4294967295: give a number from 0 to 4294967294'],
  [['apply', '--all-dns', '--exclude=10.0.0.0/33'], '"10.0.0.0/33" is no prefix'],
  [['apply', '--all-dns', '--exclude=::/0'], '--exclude ::/0: nothing would be captured'],
  [['apply', '--all-dns', '--exclude-interface=eth"0'], '--exclude-interface eth"0: give the name of one interface'],
  [['apply', '--resolv-conf=/nowhere'], '/nowhere does not exist'],
])('%j is refused: %s', async (argv, message) => {
  const { code, err } = await capture(...argv)
  expect(code).toBe(2)
  expect(err).toContain(message)
  expect(err.trim().split('\n')).toHaveLength(1)
})

test('a resolv.conf without name servers is refused: nothing would be captured', async () => {
  const file = join(folder, 'resolv.conf')
  writeFileSync(file, 'search example.com\n')
  const { code, err } = await capture('apply', `--resolv-conf=${file}`)
  expect(code).toBe(2)
  expect(err).toContain('names no name server; name another file with --resolv-conf, or capture with --all-dns')
})
