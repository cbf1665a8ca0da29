import { once } from 'node:events'
import { createServer as createHttpServer, type RequestListener } from 'node:http'
import { createServer, type Server } from 'node:net'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, describe, expect, test } from 'vitest'
import { version } from '../../src/version.ts'
import { byname } from './byname-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-admin-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

async function listen(server: Server): Promise<string> {
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
}

/** The error of `byname upstreams` at an endpoint that answers so. */
async function complaintAbout(answer: RequestListener): Promise<string> {
  const admin = await listen(createHttpServer(answer))
  const { code, out, err } = await byname(['upstreams', '--admin', admin])
  expect({ code, out }).toEqual({ code: 1, out: '' })
  return err.replaceAll(admin, 'ADMIN')
}

describe('one line says what is wrong with the endpoint, and what to do', () => {
  const advice = `it is byname 9.9.9, and this command is ${version}: use the command of the same version`
  const other = { server: 'byname/9.9.9' }
  const cases: [what: string, answer: RequestListener, line: string][] = [
    [
      'busy',
      (_, response) => response.writeHead(503, { 'retry-after': '7' }).end('busy: too many requests\n'),
      'byname at ADMIN cannot answer now: busy: too many requests; try again in 7 s',
    ],
    [
      'too slow',
      (_, response) => response.writeHead(503).end('no answer within 10000 ms\n'),
      'byname at ADMIN cannot answer now: no answer within 10000 ms; try again later',
    ],
    ['in want of a token', (_, response) => response.writeHead(401).end('needs a token\n'), 'ADMIN: needs a token'],
    [
      'of another version, without such a path',
      (_, response) => response.writeHead(404, other).end('nothing at this path\n'),
      `http://ADMIN/debug/upstreams answers 404: nothing at this path; ${advice}`,
    ],
    [
      'of another version, with another shape',
      (_, response) => response.writeHead(200, other).end('[{"label":"x"}]'),
      `the answer at /debug/upstreams is not what this command knows; ${advice}`,
    ],
    [
      'not known to be byname, with another shape',
      (_, response) => response.end('{}'),
      `the answer at /debug/upstreams is not what this command knows; is it byname ${version}?`,
    ],
    [
      'one that breaks off',
      (_, response) => {
        response.write('[')
        setImmediate(() => response.destroy())
      },
      'ADMIN closed the connection before its answer was complete; try again, or start byname, or name its admin endpoint with --admin ADDR:PORT',
    ],
  ]
  test.each(cases)('%s', async (_, answer, line) => {
    expect(await complaintAbout(answer)).toBe(`byname upstreams: ${line}\n`)
  })

  test('an answer without an end', async () => {
    const admin = await listen(
      createHttpServer((_, response) => {
        const more = (): void => {
          while (!response.destroyed && response.write(Buffer.alloc(1 << 20)));
        }
        response.on('drain', more)
        more()
      }),
    )
    const { code, err } = await byname(['upstreams', '--admin', admin])
    expect([code, err]).toEqual([1, `byname upstreams: ${admin}: the answer does not end; is it byname?\n`])
  })

  test('something else than HTTP', async () => {
    const admin = await listen(createServer((socket) => socket.on('error', () => {}).end('SSH-2.0-x\r\n')))
    expect((await byname(['upstreams', '--admin', admin])).err).toBe(
      `byname upstreams: ${admin} does not speak HTTP; start byname, or name its admin endpoint with --admin ADDR:PORT\n`,
    )
  })

  test('an address that nothing leads to', async () => {
    // A class E address: no kernel sends there.
    const { code, err } = await byname(['upstreams', '--admin', '255.255.255.255:1'])
    expect(code).toBe(1)
    expect(err).toMatch(/^byname upstreams: 255\.255\.255\.255:1.* with --admin ADDR:PORT\n$/)
  })
})

describe('the token', () => {
  const file = join(folder, 'token')
  writeFileSync(file, 's3cret\n')

  test.each<[string, string[], Record<string, string>]>([
    ['--token', ['--token', file], { BYNAME_ADMIN_TOKEN_FILE: '/nowhere', BYNAME_ADMIN_TOKEN: '/nowhere' }],
    ['BYNAME_ADMIN_TOKEN_FILE', [], { BYNAME_ADMIN_TOKEN_FILE: file, BYNAME_ADMIN_TOKEN: '/nowhere' }],
    ['BYNAME_ADMIN_TOKEN', [], { BYNAME_ADMIN_TOKEN: file }],
  ])('is what the file of %s holds', async (_, args, env) => {
    const seen: unknown[] = []
    const admin = await listen(
      createHttpServer((request, response) => {
        seen.push(request.headers.authorization)
        response.end('[]')
      }),
    )
    expect((await byname(['upstreams', '--admin', admin, ...args], env)).code).toBe(0)
    expect(seen).toEqual(['Bearer s3cret'])
  })

  test('is not sent where none is given', async () => {
    const seen: unknown[] = []
    const admin = await listen(
      createHttpServer((request, response) => {
        seen.push(request.headers.authorization)
        response.end('[]')
      }),
    )
    await byname(['upstreams', '--admin', admin])
    expect(seen).toEqual([undefined])
  })

  const twoLines = join(folder, 'two-lines')
  writeFileSync(twoLines, 'a\r\nb\n')
  test.each([
    ['/nowhere/token', '/nowhere/token does not exist; name an existing file'],
    ['/dev/zero', '/dev/zero is a device; name a regular file'],
    [folder, `${folder} is a folder; name a regular file`],
    [twoLines, `${twoLines} holds no token: one line of ASCII without spaces`],
  ])('of %s is bad usage', async (path, line) => {
    const { code, err } = await byname(['upstreams', '--admin', '127.0.0.1:1', '--token', path])
    expect([code, err]).toEqual([
      2,
      `byname upstreams: --token: ${line}; byname upstreams --help shows what there is\n`,
    ])
  })
})

test('an endpoint that listens on every address is asked on loopback', async () => {
  const admin = await listen(createHttpServer((_, response) => response.end('[]')))
  const everywhere = admin.replace('127.0.0.1', '0.0.0.0')
  expect((await byname(['upstreams'], { BYNAME_ADMIN_LISTEN: everywhere })).code).toBe(0)
})
