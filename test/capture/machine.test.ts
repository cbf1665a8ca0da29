import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { createSocket } from 'node:dgram'
import { findStubs } from '../../src/capture/stubs.ts'
import { thisMachine } from '../../src/capture/machine.ts'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-machine-'))
  writeFileSync(join(folder, 'runs'), '')
})
afterEach(() => rmSync(folder, { recursive: true }))

/** A program that says `problem` the first `failures` times, and how often it was run. */
function program(problem: string, failures: number): { name: string; runs: () => number } {
  const runs = join(folder, 'runs')
  const text = `#!/bin/sh
echo >> ${runs}
[ $(wc -l < ${runs}) -gt ${failures} ] && { echo done; exit 0; }
echo "${problem}" >&2
exit 1
`
  writeFileSync(join(folder, 'program'), text)
  chmodSync(join(folder, 'program'), 0o755)
  return { name: 'program', runs: () => readFileSync(runs, 'utf8').length }
}

test.each([
  ['Could not process rule: Cannot allocate memory', 3, 4, { isDone: true, isTransient: false }],
  ['iptables-restore: Resource temporarily unavailable', 1, 2, { isDone: true, isTransient: false }],
  ['Could not process rule: Cannot allocate memory', 99, 5, { isDone: false, isTransient: true }],
  ['Could not process rule: Operation not permitted', 99, 1, { isDone: false, isTransient: false }],
])('a program that says "%s" %i times is run %i times', (problem, failures, runs, result) => {
  const ran = program(problem, failures)
  expect(thisMachine(folder).run({ program: ran.name, args: [], input: '' })).toMatchObject(result)
  expect(ran.runs()).toBe(runs)
})

test('a program that is killed may do its work another time, one that is missing may not', () => {
  const machine = thisMachine(folder)
  const killed = { program: 'sh', args: ['-c', 'kill -9 $$'], input: '' }
  expect(machine.run(killed)).toMatchObject({ isDone: false, isTransient: true })
  const missing = machine.run({ program: 'byname-no-such-program', args: [], input: '' })
  expect(missing).toMatchObject({ isTransient: false, problem: 'byname-no-such-program is not installed' })
})

test('the user of a socket is that of the process which holds it', async () => {
  const machine = thisMachine('')
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => socket.bind(0, '127.0.0.1', () => resolve()))
  const local = `0100007F:${socket.address().port.toString(16).toUpperCase().padStart(4, '0')}`
  const sockets = (machine.read('/proc/net/udp') ?? '').replace(local, '3600007F:0035')
  const [stub] = findStubs(['127.0.0.54'], sockets)
  expect(machine.userOfSocket(stub!.inode)).toBe(process.geteuid!())
  socket.close()
  expect(machine.userOfSocket('0')).toBeNull()
})
