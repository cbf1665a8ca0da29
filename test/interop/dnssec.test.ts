import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { startByname } from './byname.ts'
import { exchange } from './dns-exchange.ts'
import { missing, RealServer, run, TestAuthority } from './real-servers.ts'
import { ZONE } from './rich-zone.ts'

const absent = missing('knotd', 'unbound', 'kdig', 'delv', 'openssl')
if (absent.length > 0)
  process.stderr.write(`NOT TESTED, validation through byname, for want of: ${absent.join(', ')}\n`)

describe.skipIf(absent.length > 0)('a signed zone through byname', () => {
  let tls: TestAuthority
  let knot: RealServer
  let unbound: RealServer
  let byname: DaemonProcess
  let anchor: string

  beforeAll(async () => {
    tls = new TestAuthority()
    knot = await RealServer.knot()
    unbound = await RealServer.unbound(knot, tls)
    byname = await startByname({ servers: [`127.0.0.1:${unbound.port}`] })
    anchor = join(byname.folder, 'anchor')
    const [flags, protocol, algorithm, ...key] = (await knot.keys()).split(' ').slice(3)
    writeFileSync(
      anchor,
      `trust-anchors { "${ZONE}." static-key ${flags} ${protocol} ${algorithm} "${key.join('')}"; };\n`,
    )
  })

  afterAll(async () => {
    await byname.stop()
    await Promise.all([unbound.stop(), knot.stop()])
    tls.remove()
  })

  // Twice: from the server, and from the cache.
  describe.each(['first', 'again'])('%s', () => {
    it.each([
      ['host5', 'A', 'fully validated'],
      ['chain7', 'A', 'fully validated'],
      ['text20', 'TXT', 'fully validated'],
      ['n5.wild', 'A', 'fully validated'],
      ['x.dn', 'A', 'fully validated'],
      ['host5', 'MX', 'negative response, fully validated'],
      ['c.ent', 'A', 'negative response, fully validated'],
      ['none', 'A', 'negative response, fully validated'],
    ])('delv finds %s %s %s', (label, type, verdict) => {
      const at = ['@127.0.0.1', '-p', String(byname.at().port), '-a', anchor, `+root=${ZONE}`]
      expect(run('delv', [...at, `${label}.${ZONE}`, type])).toContain(`; ${verdict}`)
    })
  })

  it('the signatures come to those who set DO, and to nobody else', async () => {
    const { port } = byname.at()
    const name = `host6.${ZONE}`
    const signed = await exchange(port, { name, type: 'A', dnssecOk: true })
    const plain = await exchange(port, { name, type: 'A' })
    expect(signed.answers.map(({ type }) => type)).toContain('RRSIG')
    expect(plain.answers.map(({ type }) => type)).not.toContain('RRSIG')
  })

  it('the server’s AD is shown to those who set DO or AD', async () => {
    const { port } = byname.at()
    const name = `host6.${ZONE}`
    expect((await exchange(port, { name, type: 'A', dnssecOk: true })).ad).toBe(true)
    expect((await exchange(port, { name, type: 'A', flags: 0x0120 })).ad).toBe(true)
    expect((await exchange(port, { name, type: 'A' })).ad).toBe(false)
    expect((await exchange(port, { name, type: 'A', payload: null })).ad).toBe(false)
  })
})
