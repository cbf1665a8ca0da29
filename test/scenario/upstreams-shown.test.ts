/** `byname upstreams` and the metrics, for servers that do well and badly: state, round trip, failures by reason, routes. */
import { createSocket } from 'node:dgram'
import { expect, test } from 'vitest'
import { byname } from '../cli/byname-process.ts'
import { freePort } from '../free-port.ts'
import { Stage } from './scenario.ts'
import type { ReceivedQuery } from './scripted-resolver.ts'
import { until } from '../until.ts'

const stage = new Stage()
const SERVFAIL = 0x182

test('each server is shown with its state, round trip, failures by reason and the routes that use it', async () => {
  let daemonAt: { address: string; port: number } | null = null
  const good = await stage.resolver((query) => query.answer('192.0.2.1'))
  const silent = await stage.resolver(() => {})
  const sick = await stage.resolver((query) => query.reply({ flags: SERVFAIL }))
  const loop = await stage.resolver((query: ReceivedQuery) => {
    if (daemonAt === null) return
    const socket = createSocket('udp4')
    stage.closing(() => socket.close())
    socket.send(query.message, daemonAt.port, daemonAt.address)
  })
  const dead = `127.0.0.1:${await freePort()}`
  const daemon = await stage.daemon({
    config: {
      mesh: { beforeSync: 'forward', source: { table: '/nowhere/table.json' } },
      upstream: {
        servers: [silent.text, dead, sick.text, loop.text, good.text],
        policy: 'sequential',
        attemptTimeoutMs: 1000,
        routes: [{ domains: ['corp.example', 'lab.example'], servers: [good.text], policy: 'random' }],
      },
    },
  })
  daemonAt = daemon.at()
  await daemon.line(`upstream server ${loop.text} is a loop`)
  const client = await stage.client()
  for (let n = 0; n < 12; n++) await client.ask(daemon.at(), `n${n}.example`)
  await client.ask(daemon.at(), 'www.corp.example')

  const shown = async (label: string): Promise<string> => {
    const { address, port } = await daemon.line('admin endpoint is listening')
    const { out } = await byname(['upstreams', '--admin', `${String(address)}:${String(port)}`])
    return out.split('\n').find((line) => line.startsWith(`${label} `)) ?? out
  }
  await until(async () => expect(await shown(silent.text)).toMatch(/failing .* timeout \d+ +\.$/))
  expect(await shown(dead)).toMatch(/failing +- .* network \d+ +\.$/)
  expect(await shown(sick.text)).toMatch(/failing +- .* servfail \d+ +\.$/)
  expect(await shown(loop.text)).toMatch(/loop .* -$/)
  expect(await shown(good.text)).toMatch(/healthy +\d+\.\d ms +udp \d+ +- +corp\.example lab\.example \.$/)

  const healthy = async (server: string): Promise<number | undefined> =>
    await daemon.metric('byname_upstream_healthy', { server })
  expect(await Promise.all([silent.text, dead, sick.text, loop.text, good.text].map(healthy))).toEqual([0, 0, 0, 0, 1])
  expect(await daemon.metric('byname_upstream_rtt_seconds', { server: good.text })).toBeGreaterThan(0)
  const failures = async (server: string, reason: string): Promise<number | undefined> =>
    await daemon.metric('byname_upstream_failures_total', { server, reason })
  expect(await failures(silent.text, 'timeout')).toBeGreaterThan(0)
  expect(await failures(dead, 'network')).toBeGreaterThan(0)
  expect(await failures(sick.text, 'servfail')).toBeGreaterThan(0)
  for (const route of ['.', 'corp.example', 'lab.example'])
    expect(await daemon.metric('byname_upstream_route', { server: good.text, route })).toBe(1)
  expect(await daemon.metric('byname_upstream_route', { server: loop.text, route: '.' })).toBeUndefined()
})
