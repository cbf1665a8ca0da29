/** `byname run --capture` in a network namespace: the guard holds the redirect, the daemon answers, and each of them may end at any time. */
import type { ChildProcess } from 'node:child_process'
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'
import { canRedirect, FALSE, MESH, OWN, RedirectedMachine, run, SERVERS } from './redirected-machine.ts'

interface Guard {
  process: ChildProcess
  /** Of the process that answers. */
  daemon: number
  /** Exit code. */
  ended: Promise<number | null>
}

let machine: RedirectedMachine
let before = ''
let guard: Guard | null = null

/** Starts it, and waits until DNS is redirected. */
async function begin(path = process.env['PATH'] ?? ''): Promise<Guard> {
  const command = [LAUNCHER, 'run', '--capture', '--config', machine.writeConfig()]
  const child = machine.start(['env', `PATH=${path}`, ...command])
  const ended = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code)))
  await machine.until('it is captured', isCaptured)
  guard = { process: child, daemon: daemonOf(child), ended }
  return guard
}

function isCaptured(): boolean {
  return machine.dig(SERVERS[0], 'web.mesh.test') === MESH.A
}

/** Its only process of byname's user. */
function daemonOf(process: ChildProcess): number {
  const pid = Number(run('pgrep', ['-P', String(process.pid), '-u', OWN]).out)
  // Signals to 0 go to this test's own processes.
  expect(pid).toBeGreaterThan(1)
  return pid
}

function status(pid: number): Map<string, string> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').split('\n')
  return new Map(lines.map((line) => [line.split(':')[0]!, line.slice(line.indexOf(':') + 1).trim()]))
}

function isRunning(pid: number): boolean {
  try {
    return !status(pid).get('State')!.startsWith('Z')
  } catch {
    return false
  }
}

/** The processes of byname's user in the machine. */
function daemons(): number[] {
  return machine.processes().filter((pid) => isRunning(pid) && status(pid).get('Uid')!.startsWith(OWN))
}

async function untilGone(): Promise<void> {
  await machine.until('the rules are gone', () => machine.ruleset() === before)
}

describe.skipIf(!canRedirect())('run --capture', () => {
  beforeAll(async () => {
    machine = new RedirectedMachine('bng')
    await machine.until('the name server answers', () => machine.dig(SERVERS[0], 'web.mesh.test') === FALSE)
    before = machine.ruleset()
  })

  afterEach(async () => {
    guard?.process.kill('SIGTERM')
    await guard?.ended
    guard = null
    await machine.until('no daemon is left', () => daemons().length === 0)
    expect(machine.ruleset()).toBe(before)
  })

  afterAll(() => machine.remove())

  test('ends with the daemon when it is told to, and has removed the redirect before', async () => {
    const { process, ended } = await begin()
    process.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(machine.ruleset()).toBe(before)
  })

  test('kill -9 of the daemon: the rules are gone, and it ends', async () => {
    const { daemon, ended } = await begin()
    process.kill(daemon, 'SIGKILL')
    await untilGone()
    expect(await ended).toBe(1)
  })

  test('kill -9 of the process that holds the redirect: the rules are gone, and the daemon ends', async () => {
    const { process: holder, daemon } = await begin()
    holder.kill('SIGKILL')
    await untilGone()
    await machine.until('the daemon has ended', () => !isRunning(daemon))
    expect(machine.output).toContain('the process that held the redirect is gone')
  })

  test('kill -9 of both at once: the rules are gone', async () => {
    const { process: holder, daemon } = await begin()
    process.kill(holder.pid!, 'SIGKILL')
    process.kill(daemon, 'SIGKILL')
    await untilGone()
  })

  test('a daemon that stops answering: the redirect is withdrawn, and restored when it answers', async () => {
    const { daemon } = await begin()
    process.kill(daemon, 'SIGSTOP')
    await machine.until('the redirect is withdrawn', () => machine.ruleset() === before)
    expect(machine.dig(SERVERS[0], 'web.mesh.test')).toBe(FALSE)
    process.kill(daemon, 'SIGCONT')
    await machine.until('the redirect is back', isCaptured)
  })

  test('the daemon is its user alone: no groups, no capabilities, and none to be had', async () => {
    const { process: holder, daemon } = await begin()
    const of = status(daemon)
    expect(of.get('Uid')!.split('\t')).toEqual([OWN, OWN, OWN, OWN])
    expect(of.get('Gid')!.split('\t')).toEqual([OWN, OWN, OWN, OWN])
    expect(of.get('Groups')).toBe('')
    for (const set of ['CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb'])
      expect([set, of.get(set)]).toEqual([set, '0000000000000000'])
    expect(of.get('NoNewPrivs')).toBe('1')
    // A bare Node takes 14 MB of them; this one once had 25, its garbage not yet collected.
    expect(Number.parseInt(status(holder.pid!).get('RssAnon')!)).toBeLessThan(36_000)
  })

  test('handed over: the redirect stays, follows the new process, and ends with it', async () => {
    const { process: holder, daemon, ended } = await begin()
    const rules = machine.ruleset()
    let last = daemon
    for (const _ of [1, 2]) {
      const old = last
      holder.kill('SIGUSR2')
      await machine.until('another process answers alone', () => !isRunning(old) && daemons().length === 1)
      last = daemons()[0]!
      expect(last).not.toBe(old)
      expect(machine.ruleset()).toBe(rules)
      expect(isCaptured()).toBe(true)
      expect(status(last).get('CapBnd')).toBe('0000000000000000')
      expect(status(last).get('NoNewPrivs')).toBe('1')
    }
    process.kill(last, 'SIGSTOP')
    await machine.until('the redirect is withdrawn', () => machine.ruleset() === before)
    process.kill(last, 'SIGCONT')
    await machine.until('the redirect is back', isCaptured)
    process.kill(last, 'SIGKILL')
    await untilGone()
    expect(await ended).toBe(1)
  })

  test('the process that took over gets the signal to end', async () => {
    const { process: holder, daemon, ended } = await begin()
    holder.kill('SIGUSR2')
    await machine.until('another process answers alone', () => !isRunning(daemon) && daemons().length === 1)
    holder.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(daemons()).toEqual([])
  })

  test('other name servers in resolv.conf: the rules follow', async () => {
    machine.writeResolvConf(SERVERS.slice(0, 1))
    try {
      const { process: holder } = await begin()
      expect(machine.dig(SERVERS[1], 'web.mesh.test')).toBe(FALSE)
      machine.writeResolvConf(SERVERS.slice(1))
      await machine.until('the other server is captured', () => machine.dig(SERVERS[1], 'web.mesh.test') === MESH.A)
      expect(machine.dig(SERVERS[0], 'web.mesh.test')).toBe(FALSE)
      const rules = machine.ruleset()
      machine.writeResolvConf([])
      await machine.until('it is said', () => machine.output.includes('the redirect stays as it is'))
      expect(machine.ruleset()).toBe(rules)
      expect(holder.exitCode).toBeNull()
    } finally {
      machine.writeResolvConf(SERVERS)
    }
  })

  test('what others flush is put in force again', async () => {
    await begin()
    machine.inside(['nft', 'flush', 'ruleset'])
    await machine.until('it is captured again', isCaptured)
  })

  test('a daemon that cannot start captures nothing, whoever answers at its address', async () => {
    const config = machine.writeConfig()
    const other = machine.start([LAUNCHER, 'run', '--config', config])
    await machine.until('another answers', () => machine.dig('127.0.0.1', '-p', '15053', 'web.mesh.test') === MESH.A)
    for (const [file, code] of [
      [config, 1],
      [join(machine.folder, 'nowhere.yaml'), 2],
    ] as const) {
      const ran = machine.inside([LAUNCHER, 'run', '--capture', '--config', file])
      expect([ran.code, ran.err.includes('goes to port')]).toEqual([code, false])
      expect(machine.ruleset()).toBe(before)
    }
    await machine.end(other)
  })

  test('programs that get no memory are run again, and the daemon goes on', async () => {
    const folder = join(machine.folder, 'bin')
    const failures = join(machine.folder, 'failures')
    mkdirSync(folder)
    const nft = join(folder, 'nft')
    const script = `#!/bin/sh
n=$(cat ${failures})
[ "$n" = 0 ] && exec /usr/sbin/nft "$@"
echo $((n - 1)) > ${failures}
echo "netlink: Error: Could not process rule: Cannot allocate memory" >&2
exit 1
`
    writeFileSync(failures, '3')
    writeFileSync(nft, script)
    chmodSync(nft, 0o755)
    const { daemon, process: holder } = await begin(`${folder}:${process.env['PATH']}`)
    writeFileSync(failures, '12')
    process.kill(daemon, 'SIGSTOP')
    await machine.until('the redirect is withdrawn', () => machine.ruleset() === before)
    expect(machine.output).toContain('the redirect cannot be withdrawn: nft cannot be run now')
    writeFileSync(failures, '12')
    process.kill(daemon, 'SIGCONT')
    await machine.until('the redirect is back', isCaptured)
    expect(readFileSync(failures, 'utf8').trim()).toBe('0')
    expect(daemonOf(holder)).toBe(daemon)
    // At the end as well.
    writeFileSync(failures, '12')
  })
})
