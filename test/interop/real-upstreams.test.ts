import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { startByname } from './byname.ts'
import { exchange, recordTexts } from './dns-exchange.ts'
import { missing, RealServer, run, TestAuthority } from './real-servers.ts'
import { ZONE } from './rich-zone.ts'

const absent = missing('knotd', 'unbound', 'kresd', 'kdig', 'dig', 'openssl')
if (absent.length > 0) process.stderr.write(`NOT TESTED against real servers, for want of: ${absent.join(', ')}\n`)

/** How byname is told to ask a server, by transport as the metrics name it. */
const TRANSPORTS: [proto: string, server: (server: RealServer) => string][] = [
  ['udp', ({ port }) => `127.0.0.1:${port}`],
  ['tcp', ({ port }) => `tcp://127.0.0.1:${port}`],
  ['tls', ({ tlsPort }) => `tls://127.0.0.1:${tlsPort}#dns.test`],
  ['https', ({ httpsPort }) => `https://127.0.0.1:${httpsPort}/dns-query#dns.test`],
]

describe.skipIf(absent.length > 0)('byname before', () => {
  let tls: TestAuthority
  let knot: RealServer
  const servers: Partial<Record<'unbound' | 'kresd', RealServer>> = {}

  beforeAll(async () => {
    tls = new TestAuthority()
    knot = await RealServer.knot()
    servers.unbound = await RealServer.unbound(knot, tls)
    servers.kresd = await RealServer.kresd(knot, tls)
  })

  afterAll(async () => {
    await Promise.all([servers.unbound?.stop(), servers.kresd?.stop(), knot.stop()])
    tls.remove()
  })

  describe.each(['unbound', 'kresd'] as const)('%s', (program) => {
    describe.each(TRANSPORTS)('over %s', (proto, label) => {
      let byname: DaemonProcess
      let port: number

      beforeAll(async () => {
        // What is slow for want of a processor is no failure.
        const patient = { attemptTimeoutMs: 20_000, deadlineMs: 20_000 }
        byname = await startByname({ servers: [label(servers[program]!)], rootCert: tls.rootCert, ...patient })
        port = byname.at().port
      })

      afterAll(() => byname.stop())

      it.each([
        ['host7', 'A'],
        ['host8', 'AAAA'],
        ['chain9', 'A'],
        ['text3', 'TXT'],
        // More than a datagram takes.
        ['text29', 'TXT'],
        ['_sip._tcp.s3', 'SRV'],
        ['n1.wild', 'A'],
        ['none', 'A'],
        ['c.ent', 'A'],
        ['host1', 'MX'],
      ])('%s %s is answered as by the server itself', async (below, type) => {
        const name = `${below}.${ZONE}`
        const direct = await exchange(servers[program]!.port, { name, type, tcp: true })
        for (const tcp of [false, true]) {
          const through = await exchange(port, { name, type, payload: 4096, tcp })
          expect(through.rcode).toBe(direct.rcode)
          if (through.tc) continue
          expect(recordTexts(through.answers)).toEqual(recordTexts(direct.answers))
        }
      })

      it('kdig and dig are content', () => {
        const at = ['@127.0.0.1', '-p', String(port), `host3.${ZONE}`, 'A', '+short']
        const expected = ['198.51.3.1', '198.51.3.2', '198.51.3.3', '198.51.3.4']
        for (const client of ['kdig', 'dig']) {
          for (const more of [[], ['+tcp'], ['+dnssec', '+bufsize=4096'], ['+noedns']]) {
            const lines = run(client, [...at, ...more]).split('\n')
            expect(lines.filter((line) => line.startsWith('198.')).toSorted()).toEqual(expected)
          }
        }
      })

      it('was asked that way, and failed never', async () => {
        const [server] = (await byname.status()).upstreams
        expect(server?.healthy).toBe(true)
        expect(server?.requests[proto]).toBeGreaterThan(5)
        expect(server?.failures).toEqual({})
        // Over UDP, what did not fit was asked again over TCP.
        expect(Object.keys(server!.requests)).toEqual(proto === 'udp' ? ['udp', 'tcp'] : [proto])
      })
    })
  })

  it.each(['tls', 'https'])('a certificate of another authority is refused, over %s', async (proto) => {
    const label = TRANSPORTS.find(([name]) => name === proto)![1]
    const byname = await startByname({ servers: [label(servers.unbound!)], deadlineMs: 4000 })
    try {
      const reply = await exchange(byname.at().port, { name: `host1.${ZONE}`, type: 'A' })
      expect(reply.rcode).toBe(2)
      expect(reply.answers).toEqual([])
      expect((await byname.status()).upstreams[0]?.failures).toHaveProperty('tls')
    } finally {
      await byname.stop()
    }
  })

  it('a dead server, a plain and an encrypted one: no question suffers', async () => {
    const byname = await startByname({
      servers: ['127.0.0.1:9', TRANSPORTS[2]![1](servers.unbound!), `127.0.0.1:${servers.kresd!.port}`],
      rootCert: tls.rootCert,
    })
    try {
      const { port } = byname.at()
      const replies = await Promise.all(
        Array.from({ length: 100 }, (_, k) => exchange(port, { name: `host${k}.${ZONE}`, type: 'A' })),
      )
      for (const reply of replies) expect(reply.rcode).toBe(0)
    } finally {
      await byname.stop()
    }
  })
})
