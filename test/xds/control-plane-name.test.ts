import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { type Answer, decode, encode } from 'dns-packet'
import { afterEach, describe, expect, test } from 'vitest'
import { candidates, ControlPlaneName, type NameSettings } from '../../src/xds/control-plane-name.ts'

const open: Socket[] = []
afterEach(() => {
  for (const socket of open.splice(0)) socket.close()
})

/** A resolver that knows some names; returns where it listens, and what it was asked for. */
async function resolverOf(names: Record<string, string[]>): Promise<{ server: string; asked: string[] }> {
  const socket = createSocket('udp4')
  open.push(socket)
  const asked: string[] = []
  socket.on('message', (packet, from) => {
    const query = decode(packet)
    const { name, type } = query.questions![0]!
    asked.push(`${name} ${type}`)
    const known = names[name]
    const answers = (known ?? [])
      .filter((address) => address.includes(':') === (type === 'AAAA'))
      .map((data): Answer => ({ type: type === 'AAAA' ? 'AAAA' : 'A', name, ttl: 5, data }))
    const flags = known === undefined ? 3 : 0
    socket.send(
      encode({ type: 'response', id: query.id!, flags: 0x8180 | flags, questions: query.questions!, answers }),
      from.port,
    )
  })
  socket.bind(0, '127.0.0.1')
  await once(socket, 'listening')
  return { server: `127.0.0.1:${socket.address().port}`, asked }
}

function nameWith(settings: Partial<NameSettings>): ControlPlaneName {
  return new ControlPlaneName({
    hosts: () => [],
    servers: () => [],
    search: () => ({ domains: [], ndots: 1 }),
    ...settings,
  })
}

const signal = new AbortController().signal

describe('what needs no question', () => {
  const name = nameWith({
    servers: () => ['127.0.0.1:9'],
    hosts: (host) => (host === 'istiod.istio-system.svc' ? ['203.0.113.9', '2001:db8::9'] : []),
  })
  test.each([
    ['192.0.2.1:15012', 'ipv4:192.0.2.1:15012'],
    ['[2001:db8::1]:15012', 'ipv6:[2001:db8::1]:15012'],
  ])('%s', async (address, target) => {
    expect(await name.target(address, signal)).toEqual({ target })
  })

  test('the hosts file comes before any resolver; families take turns', async () => {
    expect(await name.target('istiod.istio-system.svc:15012', signal)).toEqual({ target: 'ipv4:203.0.113.9:15012' })
    expect(await name.target('istiod.istio-system.svc:15012', signal)).toEqual({ target: 'ipv6:[2001:db8::9]:15012' })
  })

  test('localhost is this machine', async () => {
    expect(await nameWith({ servers: () => ['127.0.0.1:9'] }).target('localhost:15012', signal)).toEqual({
      target: 'ipv4:127.0.0.1:15012',
    })
  })
})

test('the resolvers behind byname are asked, along the search list', async () => {
  const { server, asked } = await resolverOf({ 'istiod.istio-system.svc.cluster.local': ['10.96.0.15'] })
  const name = nameWith({
    servers: () => [server],
    search: () => ({ domains: ['shop.svc.cluster.local', 'cluster.local'], ndots: 5 }),
  })
  expect(await name.target('istiod.istio-system.svc:15012', signal)).toEqual({ target: 'ipv4:10.96.0.15:15012' })
  expect([...new Set(asked.map((each) => each.split(' ')[0]))]).toEqual([
    'istiod.istio-system.svc.shop.svc.cluster.local',
    'istiod.istio-system.svc.cluster.local',
  ])
})

test('a name with IPv6 addresses alone', async () => {
  const { server } = await resolverOf({ 'istiod.example': ['2001:db8::5'] })
  expect(await nameWith({ servers: () => [server] }).target('istiod.example:15012', signal)).toEqual({
    target: 'ipv6:[2001:db8::5]:15012',
  })
})

test('a name that nobody has is one line with who was asked for what', async () => {
  const { server } = await resolverOf({})
  const found = await nameWith({ servers: () => [server], search: () => ({ domains: ['a.test'], ndots: 1 }) }).target(
    'istiod:15012',
    signal,
  )
  expect(found).toEqual({
    failure: `cannot resolve istiod (ENOTFOUND): asked ${server} for istiod.a.test, istiod; mend the resolver, or name an address in mesh.source.xds.address`,
  })
})

test('an attempt that is over ends the question', async () => {
  const silent = createSocket('udp4')
  open.push(silent)
  silent.bind(0, '127.0.0.1')
  await once(silent, 'listening')
  const attempt = new AbortController()
  const found = nameWith({ servers: () => [`127.0.0.1:${silent.address().port}`] }).target(
    'istiod.example:15012',
    attempt.signal,
  )
  await once(silent, 'message')
  attempt.abort()
  expect(await found).toMatchObject({ failure: expect.stringContaining('cannot resolve istiod.example') })
})

test('without resolvers the machine resolves as it does for everybody', async () => {
  expect(await nameWith({}).target('istiod.istio-system.svc:15012', signal)).toEqual({
    target: 'dns:istiod.istio-system.svc:15012',
  })
})

test.each([
  ['a', 1, ['a.x', 'a.y', 'a']],
  ['a.b', 1, ['a.b', 'a.b.x', 'a.b.y']],
  ['a.b', 5, ['a.b.x', 'a.b.y', 'a.b']],
  ['a.b.', 5, ['a.b']],
])('%s with ndots:%i', (host, ndots, names) => {
  expect(candidates(host, { domains: ['x', 'y.'], ndots })).toEqual(names)
})
