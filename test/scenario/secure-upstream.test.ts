/** Servers over TLS and HTTPS, from the configuration to the wire. */
import { readFileSync, writeFileSync } from 'node:fs'
import { createSecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import dnsPacket from 'dns-packet'
import { describe, expect, test } from 'vitest'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { replyTo } from '../stream/dns-messages.ts'
import { listening } from '../stream/listening.ts'
import { ScriptedUpstream } from '../stream/scripted-upstream.ts'
import { rcodeOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'

const MESH = { beforeSync: 'forward', source: { table: '/nowhere/table.json' } }
const path = (file: string): string => fileURLToPath(new URL(`../stream/certificates/${file}`, import.meta.url))
const IDENTITY = { cert: readFileSync(path('server.pem')), key: readFileSync(path('server.key.pem')) }

describe('servers over TLS and HTTPS', () => {
  const stage = new Stage()

  async function start(upstream: object): Promise<DaemonProcess> {
    return await stage.daemon({ config: { mesh: MESH, upstream } })
  }

  async function overTls(): Promise<ScriptedUpstream> {
    const upstream = await ScriptedUpstream.start(
      createServer({ ...IDENTITY, ALPNProtocols: ['dot'] }),
      'secureConnection',
    )
    upstream.onQueries = (queries) => upstream.answer(queries)
    stage.closing(() => upstream.stop())
    return upstream
  }

  /** Returns the port. `answers`: whether it does so to a request of the n-th connection, from 0. */
  async function overHttps(
    answers: (headers: IncomingHttpHeaders, message: Buffer, connection: number) => boolean,
  ): Promise<number> {
    const server = createSecureServer(IDENTITY)
    const sessions: unknown[] = []
    server.on('session', (session) => sessions.push(session))
    server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => {
      const chunks: Buffer[] = []
      stream.on('data', (chunk: Buffer) => chunks.push(chunk))
      stream.on('error', () => {})
      stream.on('end', () => {
        const message = Buffer.concat(chunks)
        if (!answers(headers, message, sessions.indexOf(stream.session))) return
        stream.respond({ ':status': 200, 'content-type': 'application/dns-message' })
        stream.end(replyTo(message))
      })
    })
    stage.closing(() => server.close())
    return await listening(server)
  }

  test.each(['tls', 'https'])(
    '%s: over a connection without a word a question is asked once, not until its deadline',
    async (scheme) => {
      let port: number
      if (scheme === 'https') port = await overHttps((_headers, _message, connection) => connection > 0)
      else {
        const upstream = await overTls()
        upstream.onQueries = (queries) => upstream.answer(queries.filter(({ connection }) => connection > 0))
        port = upstream.port
      }
      const daemon = await start({
        servers: [`${scheme}://127.0.0.1:${String(port)}#dns.test`],
        rootCert: path('ca.pem'),
        attemptTimeoutMs: 500,
      })
      const client = await stage.client()
      expect(rcodeOf((await client.ask(daemon.at(), 'www.example')).packet)).toBe('NOERROR')
    },
  )

  test('TLS: verified by the root certificates that are configured, padded to blocks, with EDNS', async () => {
    const upstream = await overTls()
    const daemon = await start({
      servers: [`tls://127.0.0.1:${String(upstream.port)}#dns.test`],
      rootCert: path('ca.pem'),
    })
    const client = await stage.client()
    expect(rcodeOf((await client.ask(daemon.at(), 'www.example')).packet)).toBe('NOERROR')
    const asked = upstream.queries.find(
      ({ message }) => dnsPacket.decode(Buffer.from(message)).questions![0]!.type === 'A',
    )!
    expect(asked.message.length % 128).toBe(0)
    const [opt] = dnsPacket.decode(Buffer.from(asked.message)).additionals!
    expect(opt).toMatchObject({ type: 'OPT', udpPayloadSize: 1232 })
    expect((await daemon.status()).upstreams[0]).toMatchObject({ healthy: true, failures: {} })
  })

  test.each([
    ['another name', '#other.test', true, 'ERR_TLS_CERT_ALTNAME_INVALID'],
    ['another authority', '#dns.test', false, 'UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
  ])(
    'TLS: a certificate of %s is refused before anything is asked, and that is told',
    async (_, name, hasRoot, code) => {
      const upstream = await overTls()
      const daemon = await start({
        servers: [`tls://127.0.0.1:${String(upstream.port)}${name}`],
        rootCert: hasRoot ? path('ca.pem') : '',
        attemptTimeoutMs: 2000,
        deadlineMs: 2000,
      })
      const client = await stage.client()
      for (const asked of ['www.example', 'mail.example'])
        expect(rcodeOf((await client.ask(daemon.at(), asked)).packet)).toBe('SERVFAIL')
      expect(upstream.queries).toEqual([])
      const server = `tls://127.0.0.1:${String(upstream.port)}${name}`
      const line = `TLS with upstream server ${server} fails (${code})`
      expect(await daemon.line(line)).toMatchObject({ level: 'warn', server, code })
      expect(daemon.lines.filter(({ msg }) => msg.startsWith(line))).toHaveLength(1)
      const [shown] = (await daemon.status()).upstreams
      expect(Object.keys(shown!.failures)).toEqual(['tls'])
      expect(await daemon.metric('byname_upstream_failures_total', { server, reason: 'tls' })).toBeGreaterThan(1)
    },
  )

  test('HTTPS: POST to the path, id 0', async () => {
    const asked: { path: string | undefined; message: Buffer }[] = []
    const port = await overHttps((headers, message) => {
      asked.push({ path: headers[':path'], message })
      return true
    })
    const daemon = await start({
      servers: [`https://127.0.0.1:${String(port)}/resolve#dns.test`],
      rootCert: path('ca.pem'),
    })
    const client = await stage.client()
    expect(rcodeOf((await client.ask(daemon.at(), 'www.example')).packet)).toBe('NOERROR')
    expect(asked[0]!.path).toBe('/resolve')
    expect(asked[0]!.message.readUInt16BE(0)).toBe(0)
  })

  test.each([
    ['that is not there', null, 'cannot be read (ENOENT)'],
    ['without a certificate', 'nothing', 'holds no certificate'],
  ])('a file of root certificates %s is an error at the start', async (_, text, reason) => {
    const first = await stage.daemon({ config: { mesh: MESH } })
    const file = join(first.folder, 'root.pem')
    if (text !== null) writeFileSync(file, text)
    await expect(DaemonProcess.start({ config: { mesh: MESH, upstream: { rootCert: file } } })).rejects.toThrow(
      `upstream.rootCert: ${file} ${reason}`,
    )
  })
})
