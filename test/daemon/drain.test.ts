/** A daemon that ends, or hands over, while the answer to a datagram is still under way over a connection to a server. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer } from 'node:tls'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { services, Stage } from '../scenario/scenario.ts'
import { ScriptedUpstream } from '../stream/scripted-upstream.ts'
import { TestClient } from '../stream/test-client.ts'
import { rcodeOf } from '../worker/dns-client.ts'
import { until } from '../until.ts'

/** The server takes so much longer than whatever could end without it. */
const ANSWER_AFTER_MS = 300
const TRUNCATED = 0x200
const NAME = 'www.example'
/** It in a message: the daemon's own probes for loops are asked as well, half a second after the start. */
const QUESTION = '\u0003www\u0007example\0'
const path = (file: string): string => fileURLToPath(new URL(`../stream/certificates/${file}`, import.meta.url))

const stage = new Stage()

/** A file with a table: a new process takes over once it has one. */
function tableFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'byname-drain-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const file = join(folder, 'table.json')
  writeFileSync(file, nameTableToJson(services({ web: '10.0.0.1' })))
  return file
}

/** A server that is asked over a connection and answers when told to. */
interface SlowServer {
  upstream: object
  asked: () => number
  answer: () => void
}

async function overTls(): Promise<SlowServer> {
  const identity = { cert: readFileSync(path('server.pem')), key: readFileSync(path('server.key.pem')) }
  const server = await ScriptedUpstream.start(createServer({ ...identity, ALPNProtocols: ['dot'] }), 'secureConnection')
  stage.closing(() => server.stop())
  return {
    upstream: { servers: [`tls://127.0.0.1:${server.port}#dns.test`], rootCert: path('ca.pem') },
    asked: () => server.queries.filter(({ message }) => Buffer.from(message).includes(QUESTION)).length,
    answer: () => server.answer(server.queries),
  }
}

async function afterTruncation(): Promise<SlowServer> {
  const server = await stage.resolver((query) => {
    if (query.transport === 'udp') query.reply({ flags: 0x180 | TRUNCATED })
  })
  const waiting = () => server.queries.filter(({ transport, name }) => transport === 'tcp' && name === NAME)
  return {
    upstream: { servers: [server.text] },
    asked: () => waiting().length,
    answer: () => {
      for (const query of waiting()) query.answer('192.0.2.1')
    },
  }
}

test.each([
  ['over TLS', 'SIGTERM', overTls],
  ['over TCP after truncation', 'SIGTERM', afterTruncation],
  ['over TLS', 'SIGUSR2', overTls],
] as const)('a datagram whose server is asked %s is answered after %s', async (_, signal, slowServer) => {
  const { upstream, asked, answer } = await slowServer()
  const daemon = await stage.daemon({
    config: {
      mesh: { source: { table: tableFile() } },
      upstream: { ...upstream, attemptTimeoutMs: 60_000, deadlineMs: 60_000 },
    },
  })
  const client = await stage.client()
  const reply = client.ask(daemon.at(), NAME)
  await until(() => expect(asked()).toBe(1))
  daemon.child.kill(signal)
  await daemon.line('draining')
  if (signal === 'SIGUSR2') {
    const { pid } = await daemon.line('handed over')
    stage.closing(() => process.kill(Number(pid), 'SIGTERM'))
  }
  setTimeout(answer, ANSWER_AFTER_MS)
  const { packet } = await reply
  expect([rcodeOf(packet), packet.flag_tc]).toEqual(['NOERROR', false])
  await daemon.line('byname has stopped')
})

test('who connects while the daemon drains is refused at once, and not reset at its end', async () => {
  const { upstream, asked, answer } = await overTls()
  const daemon = await stage.daemon({
    config: {
      mesh: { source: { table: tableFile() } },
      upstream: { ...upstream, attemptTimeoutMs: 60_000, deadlineMs: 60_000 },
    },
  })
  const client = await stage.client()
  const reply = client.ask(daemon.at(), NAME)
  await until(() => expect(asked()).toBe(1))
  daemon.child.kill('SIGTERM')
  await daemon.line('draining')
  const { address, port } = daemon.at()
  await until(async () => {
    const late = new TestClient(port, address)
    await until(() => expect(late.closed).toBe(true))
    expect(late.error?.code).toBe('ECONNREFUSED')
  })
  answer()
  expect(rcodeOf((await reply).packet)).toBe('NOERROR')
  await daemon.line('byname has stopped')
})
