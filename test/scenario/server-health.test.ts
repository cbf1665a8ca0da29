/** The log of a daemon whose upstream server goes bad and comes back. */
import { expect, test } from 'vitest'
import { addressesOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

test('a server that goes silent is one line, and another one when it answers again', async () => {
  let isSilent = false
  const upstream = await stage.resolver((query) => {
    if (!isSilent) query.answer('192.0.2.1')
  })
  const config = {
    upstream: { servers: [upstream.text], attemptTimeoutMs: 1000, deadlineMs: 2000 },
    mesh: { source: { table: '/nowhere/table.json' }, beforeSync: 'forward' },
  }
  const daemon = await stage.daemon({ config })
  const client = await stage.client()
  const ask = async (name: string): Promise<string[]> => addressesOf((await client.ask(daemon.at(), name)).packet)
  expect(await ask('first.example')).toEqual(['192.0.2.1'])
  isSilent = true
  let names = 0
  await until(async () => {
    await ask(`silent${names++}.example`)
    expect(daemon.lines.filter(({ msg }) => msg.startsWith('upstream server'))).toHaveLength(1)
  })
  const bad = await daemon.line(`upstream server ${upstream.text} fails: `)
  expect(bad).toMatchObject({
    level: 'warn',
    server: upstream.text,
    failures: expect.stringMatching(/^\d+ timeouts?$/),
  })
  isSilent = false
  await until(async () => {
    await ask(`back${names++}.example`)
    expect(daemon.lines.filter(({ msg }) => msg.startsWith('upstream server'))).toHaveLength(2)
  })
  expect(await daemon.line(`upstream server ${upstream.text} answers again after`)).toMatchObject({ level: 'info' })
})
