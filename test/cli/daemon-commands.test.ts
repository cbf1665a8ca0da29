import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { byname } from './byname-process.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

async function start(): Promise<{ daemon: DaemonProcess; admin: string; config: string }> {
  const daemon = await DaemonProcess.start({ config: { mesh: { source: { table: '/nowhere' } } } })
  stops.push(() => daemon.stop())
  const { address, port } = await daemon.line('admin endpoint is listening')
  return { daemon, admin: `${String(address)}:${String(port)}`, config: join(daemon.folder, 'byname.yaml') }
}

/** An admin endpoint that says that it is this process. */
async function claim(pid: unknown): Promise<string> {
  const server = createServer((_, response) => void response.end(JSON.stringify({ pid, reload: null })))
  stops.push(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
}

describe('reload', () => {
  test('has the configuration read again, and says what became of it', async () => {
    const { daemon, admin, config } = await start()
    const pid = daemon.child.pid!
    const done = `byname (pid ${pid}) has read its configuration again\n`
    expect(await byname(['reload', '--admin', admin])).toEqual({ code: 0, out: done, err: '' })
    const good = JSON.parse(readFileSync(config, 'utf8'))
    writeFileSync(config, JSON.stringify({ ...good, workers: 2 }))
    expect(await byname(['reload', '--admin', admin])).toEqual({
      code: 0,
      out: `${done}these keys changed and need a new process: workers\n`,
      err: '',
    })
    writeFileSync(config, JSON.stringify({ ...good, workers: 0 }))
    const refused = await byname(['reload', '--admin', admin])
    expect(refused).toMatchObject({ code: 1, out: '' })
    expect(refused.err).toMatch(/^byname reload: the configuration stays as it is: .*: workers: must be .*\n$/)
    const { problems, reload } = await daemon.status()
    const [refusal] = problems.filter(({ about }) => about === 'configuration')
    expect(refusal?.text).toContain('workers: must be')
    expect(reload).toMatchObject({ problems: [expect.stringContaining('workers: must be')], fixedKeys: [] })
    expect(await (await daemon.get('metrics', '/readyz')).text()).toContain('problem: the configuration is refused')
    writeFileSync(config, JSON.stringify(good))
    expect((await byname(['reload', '--admin', admin])).code).toBe(0)
    expect((await daemon.status()).problems.filter(({ about }) => about === 'configuration')).toEqual([])
  })
})

test('stop ends the daemon, and returns when it has ended', async () => {
  const { daemon, admin } = await start()
  const pid = daemon.child.pid!
  expect(await byname(['stop', '--admin', admin])).toEqual({ code: 0, out: `byname (pid ${pid}) has ended\n`, err: '' })
  expect(daemon.child.exitCode).toBe(0)
  const { code, err } = await byname(['stop', '--admin', admin])
  expect([code, err]).toEqual([
    1,
    expect.stringMatching(/^byname stop: nothing listens on 127\.0\.0\.1:\d+; start byname/),
  ])
})

describe.each(['reload', 'stop'])('%s signals nobody but byname', (command) => {
  test('not another program', async () => {
    const other = spawn('sleep', ['60'])
    stops.push(() => other.kill('SIGKILL'))
    const admin = await claim(other.pid)
    const { code, err } = await byname([command, '--admin', admin])
    expect([code, err]).toEqual([
      1,
      `byname ${command}: the byname at ${admin} says that it is process ${other.pid}, and here that is another program: signal it on its own machine, or in its own container\n`,
    ])
    expect(other.signalCode).toBeNull()
  })

  test('not a process that is not there', async () => {
    const gone = spawn('true')
    await once(gone, 'exit')
    const { code, err } = await byname([command, '--admin', await claim(gone.pid)])
    expect([code, err]).toEqual([1, expect.stringContaining('and here that is none')])
  })

  test.each([[undefined], [0], [-1], ['1'], [1.5]])('not process %s', async (pid) => {
    const { code, err } = await byname([command, '--admin', await claim(pid)])
    expect([code, err]).toEqual([1, expect.stringContaining('does not say which process it is')])
  })
})

test('version is that of --version', async () => {
  expect(await byname(['version'])).toEqual(await byname(['--version']))
})

test('an admin endpoint with a token answers whoever brings it, and follows its file', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-token-'))
  stops.push(() => rmSync(folder, { recursive: true, force: true }))
  const token = join(folder, 'token')
  const copy = join(folder, 'copy')
  for (const file of [token, copy]) writeFileSync(file, 'first-token\n')
  const config = { mesh: { source: { table: '/nowhere' } }, admin: { listen: '0.0.0.0:0', token } }
  const daemon = await DaemonProcess.start({ config })
  stops.push(() => daemon.stop())
  const { port } = await daemon.line('admin endpoint is listening')
  const admin = `127.0.0.1:${String(port)}`
  const none = await byname(['status', '--admin', admin])
  expect([none.code, none.err]).toEqual([
    1,
    `byname status: ${admin}: this endpoint needs a token: send Authorization: Bearer TOKEN (--token FILE of byname's commands)\n`,
  ])
  expect((await byname(['status', '--admin', admin, '--token', copy])).code).toBe(0)
  expect((await byname(['cache', 'flush', '--admin', admin, '--token', copy])).code).toBe(0)
  writeFileSync(token, 'second-token\n')
  const late = await byname(['cache', 'flush', '--admin', admin, '--token', copy])
  expect([late.code, late.err]).toEqual([1, expect.stringContaining('the token is wrong')])
  const environment = { BYNAME_ADMIN_TOKEN: token, BYNAME_ADMIN_LISTEN: `0.0.0.0:${String(port)}` }
  expect((await byname(['cache', 'flush'], environment)).code).toBe(0)
})
