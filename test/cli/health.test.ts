import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { byname, startByname } from './byname-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-health-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const closing: (() => void)[] = []
afterEach(() => {
  for (const close of closing.splice(0)) close()
})

/** An endpoint that does this with each connection, at the address returned. */
async function endpoint(host: string, serve: (socket: Socket, request: string) => void): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {}).on('data', (data) => serve(socket, data.toString()))
    closing.push(() => socket.destroy())
  })
  server.listen(0, host)
  await once(server, 'listening')
  closing.push(() => server.close())
  const address = server.address()
  if (typeof address !== 'object' || address === null) throw new Error('no address')
  return `${host.includes(':') ? `[${host}]` : host}:${address.port}`
}

const response = (status: string, body: string): string => `HTTP/1.1 ${status}\r\nServer: byname/1\r\n\r\n${body}`

describe('byname health', () => {
  test.each([
    ['/healthz', [], '200 OK', 'ok', { code: 0, out: 'ok\n', err: '' }],
    ['/readyz', ['--ready'], '200 OK', 'ready\nproblem: x\n', { code: 0, out: 'ready\n', err: '' }],
    [
      '/healthz',
      [],
      '503 Service Unavailable',
      'data worker 0 does not answer',
      { code: 1, out: '', err: 'byname health: byname at AT: data worker 0 does not answer\n' },
    ],
    [
      '/readyz',
      ['--ready'],
      '503 Service Unavailable',
      'not ready: name table\nproblem: y\n',
      { code: 1, out: '', err: 'byname health: byname at AT: not ready: name table\n' },
    ],
  ])('asks %s with %j, where %s with "%s" is the answer', async (path, options, status, body, ended) => {
    const requests: string[] = []
    const at = await endpoint('127.0.0.1', (socket, request) => {
      requests.push(request)
      socket.end(response(status, body))
    })
    const { code, out, err } = await byname(['health', ...options, '--metrics', at])
    expect({ code, out, err: err.replaceAll(at, 'AT') }).toEqual(ended)
    expect(requests).toEqual([`GET ${path} HTTP/1.0\r\nHost: ${at}\r\n\r\n`])
  })

  test('takes the address from BYNAME_METRICS_LISTEN, and loopback for one that listens everywhere', async () => {
    const at = await endpoint('::1', (socket) => socket.end(response('200 OK', 'ok')))
    const listen = at.replace('::1', '::')
    expect(await byname(['health'], { BYNAME_METRICS_LISTEN: listen })).toEqual({ code: 0, out: 'ok\n', err: '' })
  })

  test('--wait asks until it is well', async () => {
    let asked = 0
    const at = await endpoint('127.0.0.1', (socket) =>
      socket.end(response(++asked < 3 ? '503 Service Unavailable' : '200 OK', 'ready')),
    )
    const ended = await byname(['health', '--ready', '--wait', '30s', '--metrics', at])
    expect(ended).toEqual({ code: 0, out: 'ready\n', err: '' })
    expect(asked).toBe(3)
  })

  test('--wait gives up in the end, with what was wrong last', async () => {
    const { code, err } = await byname(['health', '--wait', '150ms', '--metrics', '127.0.0.1:1'])
    expect([code, err.split(';')[0]]).toEqual([1, 'byname health: 127.0.0.1:1 cannot be asked (ECONNREFUSED)'])
  })

  test('--wait takes a duration', async () => {
    const { code, err } = await byname(['health', '--wait', 'long'])
    expect([code, err.split(';')[0]]).toEqual([2, 'byname health: --wait: must be a duration such as 30s or 500ms'])
  })

  test('says so where the endpoint is off', async () => {
    const { code, err } = await byname(['health'], { BYNAME_METRICS_LISTEN: 'off' })
    expect([code, err]).toEqual([1, 'byname health: metrics.listen is off, and /healthz with it; give it an address\n'])
  })

  test('is bad usage with an address that is none', async () => {
    const { code, err } = await byname(['health', '--metrics', '1.2.3.4'])
    expect([code, err.split(';')[0]]).toEqual([2, 'byname health: --metrics: "1.2.3.4" has no port'])
  })

  test.each<[string, (socket: Socket) => void, string]>([
    ['says nothing', () => {}, 'does not answer within 2 s'],
    ['drips', (socket) => void setInterval(() => socket.write('x'), 50).unref(), 'does not answer within 2 s'],
    ['closes at once', (socket) => socket.end(), 'does not answer as byname does'],
    ['speaks something else', (socket) => socket.end('SSH-2.0-x\r\n'), 'does not answer as byname does'],
    ['never ends', (socket) => void socket.write('x'.repeat(100_000)), 'says more than a health check does'],
  ])('fails in one line with an endpoint that %s', async (_, serve, reason) => {
    const at = await endpoint('127.0.0.1', serve)
    const { code, out, err } = await byname(['health', '--metrics', at])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toBe(`byname health: ${at} ${reason}; is byname running, and its metrics.listen ${at}?\n`)
  })

  test('fails where nothing listens', async () => {
    const { code, err } = await byname(['health', '--metrics', '127.0.0.1:1'])
    expect([code, err.split(';')[0]]).toEqual([1, 'byname health: 127.0.0.1:1 cannot be asked (ECONNREFUSED)'])
  })

  test('tells a daemon that is up, ready or gone', async () => {
    const table = join(folder, 'table.json')
    writeFileSync(table, '{}')
    const settings = [`mesh.source.table=${table}`, 'metrics.listen=127.0.0.1:0', 'admin.listen=off']
    const sets = settings.flatMap((setting) => ['--set', setting])
    const daemon = startByname(['run', '--listen', '127.0.0.1:0', ...sets])
    let log = ''
    const at = await new Promise<string>((resolve) => {
      daemon.stderr?.on('data', (text: Buffer) => {
        log += text.toString()
        const found = /"port":(\d+),"msg":"metrics endpoint is listening"/.exec(log)
        if (found) resolve(`127.0.0.1:${found[1]}`)
      })
      daemon.on('exit', () => resolve(log))
    })
    expect(await byname(['health', '--metrics', at])).toEqual({ code: 0, out: 'ok\n', err: '' })
    daemon.kill('SIGKILL')
    await once(daemon, 'exit')
    expect((await byname(['health', '--metrics', at])).code).toBe(1)
  })
})
