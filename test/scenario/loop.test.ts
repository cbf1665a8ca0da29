/** An upstream server that forwards to byname, as a stub resolver does whose queries are captured. */
import { createSocket } from 'node:dgram'
import { describe, expect, test } from 'vitest'
import { addressesOf, rcodeOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import type { ReceivedQuery, ResolverScript } from './scripted-resolver.ts'
import { until } from '../until.ts'

const MESH = { beforeSync: 'forward', source: { table: '/nowhere/table.json' } }

/** A script that asks byname what it is asked. */
function forwardingTo(stage: Stage, at: () => { address: string; port: number } | null): ResolverScript {
  return (query: ReceivedQuery) => {
    const to = at()
    if (to === null) return query.answer('192.0.2.7')
    const socket = createSocket('udp4')
    stage.closing(() => socket.close())
    socket.on('message', (reply) => query.reply(reply))
    socket.send(query.message, to.port, to.address)
  }
}

describe('a server that forwards to byname', () => {
  const stage = new Stage()

  test('is found out, named and asked no more; the others answer', async () => {
    let at: { address: string; port: number } | null = null
    const loop = await stage.resolver(forwardingTo(stage, () => at))
    const good = await stage.resolver((query) => query.answer('192.0.2.1'))
    const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [loop.text, good.text] } } })
    at = daemon.at()
    const line = await daemon.line(`upstream server ${loop.text} is a loop`)
    expect(line).toMatchObject({ level: 'error', server: loop.text, from: '127.0.0.1' })
    await until(async () =>
      expect((await daemon.status()).upstreams.map(({ isLoop }) => isLoop)).toEqual([true, false]),
    )
    expect(await daemon.metric('byname_upstream_loops_total')).toBeGreaterThan(0)
    const client = await stage.client()
    const before = loop.queries.length
    for (let n = 0; n < 20; n++) {
      expect(addressesOf((await client.ask(daemon.at(), `n${String(n)}.example`)).packet)).toEqual(['192.0.2.1'])
    }
    expect(loop.queries.length).toBe(before)
  })

  test('the only one: SERVFAIL at once instead of questions that go round', async () => {
    let at: { address: string; port: number } | null = null
    const loop = await stage.resolver(forwardingTo(stage, () => at))
    const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [loop.text] } } })
    at = daemon.at()
    await daemon.line('no upstream servers')
    const client = await stage.client()
    await until(async () => expect((await daemon.status()).upstreams[0]?.isLoop).toBe(true))
    expect(rcodeOf((await client.ask(daemon.at(), 'any.example')).packet)).toBe('SERVFAIL')
    expect(loop.asked('any.example')).toBe(0)
  })

  test('gets another chance when the configuration is read again', async () => {
    let at: { address: string; port: number } | null = null
    const loop = await stage.resolver(forwardingTo(stage, () => at))
    const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [loop.text] } } })
    at = daemon.at()
    await daemon.line('no upstream servers')
    at = null
    daemon.child.kill('SIGHUP')
    await daemon.line('configuration read again')
    const client = await stage.client()
    await until(async () => {
      const { packet } = await client.ask(daemon.at(), `again${String(performance.now())}.example`)
      expect(addressesOf(packet)).toEqual(['192.0.2.7'])
    })
  })

  test('before it is found out, a question goes round within its bound', async () => {
    let at: { address: string; port: number } | null = null
    const loop = await stage.resolver(forwardingTo(stage, () => at))
    // Found out after half a second at the earliest: this is asked at once.
    const daemon = await stage.daemon({ config: { mesh: MESH, upstream: { servers: [loop.text], deadlineMs: 3000 } } })
    at = daemon.at()
    const client = await stage.client()
    expect(rcodeOf((await client.ask(daemon.at(), 'round.example')).packet)).toBe('SERVFAIL')
    expect(loop.asked('round.example')).toBeLessThanOrEqual(8)
  })
})
