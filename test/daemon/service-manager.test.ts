import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, it } from 'vitest'
import { openServiceManager, ServiceManager, type ServiceState } from '../../src/daemon/service-manager.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { sys } from '../worker/data-plane.ts'
import { DaemonProcess, type DaemonStart } from './daemon-process.ts'
import { NotifySocket } from './service-manager-double.ts'
import { until } from '../until.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-notify-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** A service manager of 30 s, and what it is told. */
function watched(watchdogMs: number | null = 30_000): {
  manager: ServiceManager
  sent: string[]
  clock: FakeClock
  state: ServiceState & { alive: boolean; text: string }
  pass: (ms: number) => Promise<void>
} {
  const sent: string[] = []
  const clock = new FakeClock()
  const state = {
    alive: true,
    text: 'fine',
    status: () => state.text,
    isAlive: () => Promise.resolve(state.alive),
  }
  const manager = new ServiceManager({
    send: (message) => sent.push(message),
    watchdogMs,
    environment: {},
    clock,
    monotonicUs: () => 12345n,
  })
  const pass = async (ms: number): Promise<void> => {
    clock.advance(ms)
    // The look asks the workers first.
    for (let turn = 0; turn < 5; turn++) await Promise.resolve()
  }
  return { manager, sent, clock, state, pass }
}

describe('the service manager is told', () => {
  it('that the daemon lives, three times within the time of the watchdog, while the workers answer', async () => {
    const { manager, sent, state, pass } = watched()
    manager.ready(state)
    expect(sent).toEqual(['READY=1\nWATCHDOG=1\nSTATUS=fine'])
    await pass(9999)
    expect(sent).toHaveLength(1)
    await pass(1)
    expect(sent.at(-1)).toBe('WATCHDOG=1')
    state.alive = false
    await pass(10_000)
    await pass(10_000)
    expect(sent).toHaveLength(2)
    state.alive = true
    await pass(10_000)
    expect(sent).toHaveLength(3)
  })

  it('the status where it has changed, in one line, without a watchdog as well', async () => {
    const { manager, sent, state, pass } = watched(null)
    manager.ready(state)
    state.text = 'the control plane\nis away'
    await pass(10_000)
    await pass(10_000)
    expect(sent).toEqual(['READY=1\nSTATUS=fine', 'STATUS=the control plane is away'])
    state.text = 'x'.repeat(1000)
    await pass(10_000)
    expect(sent.at(-1)).toBe(`STATUS=${'x'.repeat(239)}…`)
  })

  it('of a reload with the time of its beginning, and of nothing before the daemon is ready', () => {
    const { manager, sent, state } = watched(null)
    manager.reloading()
    manager.reloaded()
    expect(sent).toEqual([])
    manager.ready(state)
    manager.reloading()
    manager.reloaded()
    expect(sent.slice(1)).toEqual([
      'RELOADING=1\nMONOTONIC_USEC=12345\nSTATUS=Reading the configuration again',
      'READY=1\nSTATUS=fine',
    ])
  })

  it.each([
    ['the process that took over', (manager: ServiceManager) => manager.handedOver(77), 'MAINPID=77'],
    [
      'the end',
      (manager: ServiceManager) => manager.stopping(),
      'STOPPING=1\nSTATUS=Answering what has been asked, then ending',
    ],
  ])('%s, and nothing after it', async (_, end, message) => {
    const { manager, sent, clock, state, pass } = watched()
    manager.ready(state)
    end(manager)
    manager.stopping()
    manager.reloading()
    await pass(60_000)
    expect(sent.slice(1)).toEqual([message])
    expect(clock.pending).toEqual([])
  })
})

function open(env: Record<string, string>): { manager: ServiceManager | null; warnings: string[]; env: object } {
  const warnings: string[] = []
  const given = { ...env }
  const log = { warn: (_: object, message: string) => void warnings.push(message) }
  return { manager: openServiceManager(given, sys, log), warnings, env: given }
}

describe('the environment of the service manager', () => {
  it.each([
    ['none', {}, false],
    ['empty', { NOTIFY_SOCKET: '' }, false],
    ['of the file system', { NOTIFY_SOCKET: '/run/x' }, true],
    ['abstract', { NOTIFY_SOCKET: '@x' }, true],
  ])('%s', (_, env, isThere) => {
    const opened = open(env)
    expect(opened.manager !== null).toBe(isThere)
    expect(opened.warnings).toEqual([])
  })

  it.each(['vsock:2:1234', 'x', '@', 'unix:/run/x'])('names %s, which byname cannot use, and says so', (socket) => {
    const { manager, warnings } = open({ NOTIFY_SOCKET: socket })
    expect(manager).toBeNull()
    expect(warnings).toEqual(['NOTIFY_SOCKET is no local socket: the service manager is told nothing'])
  })

  it.each([
    ['without a process', {}, true],
    ['of this process', { WATCHDOG_PID: String(process.pid) }, true],
    ['of another process', { WATCHDOG_PID: '1' }, false],
    ['of no time', { WATCHDOG_USEC: '0' }, false],
    ['of nonsense', { WATCHDOG_USEC: '1e6' }, false],
  ])('has a watchdog %s: counts %s', (_, env, isWatched) => {
    const { manager, env: left } = open({ NOTIFY_SOCKET: '/run/x', WATCHDOG_USEC: '30000000', ...env })
    // For a process that takes over; its id is another.
    expect(manager!.environment).toEqual({
      NOTIFY_SOCKET: '/run/x',
      ...(isWatched && { WATCHDOG_USEC: '30000000' }),
    })
    expect(left).toEqual({})
  })

  it('says once that notifications do not arrive', () => {
    const { manager, warnings } = open({ NOTIFY_SOCKET: join(folder, 'nobody') })
    manager!.stopping()
    const other = open({ NOTIFY_SOCKET: `/${'x'.repeat(200)}` })
    other.manager!.stopping()
    for (const each of [warnings, other.warnings])
      expect(each).toEqual(['the service manager cannot be told how the daemon fares'])
  })

  it("has systemd's own program notify where there is no koffi, one message after the other", async () => {
    const told = join(folder, 'told')
    writeFileSync(
      join(folder, 'systemd-notify'),
      `#!/bin/sh\nfor each; do echo "$NOTIFY_SOCKET $each" >>${told}; done\n`,
    )
    chmodSync(join(folder, 'systemd-notify'), 0o755)
    const manager = openServiceManager({ NOTIFY_SOCKET: '/run/x', PATH: `${folder}:/bin` }, null, { warn: () => {} })!
    const state = { status: () => 'two words', isAlive: () => Promise.resolve(true) }
    manager.ready(state)
    manager.reloaded()
    manager.stopping()
    await until(() => expect(readFileSync(told, 'utf8')).toContain('STOPPING'))
    const lines = readFileSync(told, 'utf8').trim().split('\n')
    expect(lines.slice(0, 4)).toEqual([
      '/run/x READY=1',
      '/run/x STATUS=two words',
      '/run/x READY=1',
      '/run/x STOPPING=1',
    ])
  })
})

describe('a daemon with a service manager', () => {
  const TABLE = '{"table":{"web.example":{"ips":["10.0.0.1"]}}}'
  let daemon: DaemonProcess | null = null
  let socket: NotifySocket | null = null

  afterEach(async () => {
    await daemon?.stop()
    socket?.close()
    daemon = null
  })

  async function start(path: string, config: DaemonStart['config'] & object): Promise<[DaemonProcess, NotifySocket]> {
    socket = new NotifySocket(path)
    const whole = { upstream: { servers: ['192.0.2.1'] }, ...config }
    daemon = await DaemonProcess.start({
      config: whole,
      resolvConf: 'nameserver 192.0.2.1\n',
      env: { NOTIFY_SOCKET: path, WATCHDOG_USEC: '300000' },
    })
    return [daemon, socket]
  }

  it.each(['path', 'abstract'])('is ready once it has its table, reloads and ends (%s)', async (kind) => {
    const table = join(folder, `${kind}.json`)
    const path = kind === 'path' ? join(folder, 'notify') : `@byname-test-${process.pid}`
    const [byname, notified] = await start(path, { mesh: { source: { table } } })
    // It answers, and is not ready: the table comes now.
    expect(notified.messages).toEqual([])
    writeFileSync(table, TABLE)
    const [, status] = await notified.line('READY=1')
    const { address, port } = byname.at()
    expect(status).toBe(`STATUS=Answering on ${address}:${port}; mesh hosts: 1`)
    await notified.line('WATCHDOG=1', 4)
    process.kill(byname.child.pid!, 'SIGHUP')
    expect(await notified.line('RELOADING=1')).toContainEqual(expect.stringMatching(/^MONOTONIC_USEC=\d+$/))
    expect(await notified.line('READY=1', 2)).toEqual([status])
    await byname.end()
    await notified.line('STOPPING=1')
    expect(notified.messages.findIndex((message) => message.startsWith('READY=1'))).toBe(0)
  })

  it('is ready without a table when it has waited for it, and says so: it holds up no start of a machine', async () => {
    const [byname, notified] = await start(join(folder, 'late'), {
      mesh: { source: { table: join(folder, 'never.json') } },
    })
    const [, status] = await notified.line('READY=1')
    const { address, port } = byname.at()
    expect(status).toMatch(`STATUS=Answering on ${address}:${port}; no name table has arrived yet; name table file`)
  })

  it('is ready at once where no table is to come', async () => {
    const [, notified] = await start(join(folder, 'none'), {})
    // It waits for fifteen seconds where one may come.
    const beganMs = performance.now()
    await notified.line('READY=1')
    expect(performance.now() - beganMs).toBeLessThan(10_000)
  })

  it('names the process that takes over, which notifies from then on, also of a second one', async () => {
    const [byname, notified] = await start(join(folder, 'over'), {})
    await notified.line('READY=1')
    let pid = byname.child.pid!
    for (let n = 1; n <= 2; n++) {
      process.kill(pid, 'SIGUSR2')
      pid = Number((await byname.nthLine('handed over', n))['pid'])
      await notified.line(`MAINPID=${pid}`)
      await notified.line('READY=1', n + 1)
    }
    const before = notified.messages.filter((message) => message.includes('WATCHDOG=1')).length
    await notified.line('WATCHDOG=1', before + 2)
    process.kill(pid, 'SIGTERM')
    await notified.line('STOPPING=1')
    expect(notified.messages.filter((message) => message.includes('STOPPING'))).toHaveLength(1)
  })
})
