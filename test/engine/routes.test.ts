import { describe, expect, it } from 'vitest'
import { a, wire } from '../dns/messages.ts'
import { EngineUnderTest, server } from './engine-under-test.ts'
import { pass } from './servers.ts'

const settings = {
  servers: ['default', 'corp', 'lab', 'spare'].map((label) => server(label)),
  routes: [
    { domains: [wire('corp.example'), wire('10.in-addr.arpa')], servers: [1, 3], policy: 'sequential' as const },
    { domains: [wire('lab.corp.example')], servers: [2], policy: 'random' as const },
    { domains: [wire('lost.example')], servers: [], policy: 'random' as const },
    { domains: [new Uint8Array(1)], servers: [0], policy: 'random' as const },
  ],
}

describe('routes by domain', () => {
  it.each([
    ['example.org', 0],
    ['.', 0],
    ['example', 0],
    ['corp.example', 1],
    ['www.corp.example', 1],
    ['WWW.Corp.EXAMPLE', 1],
    ['a.b.c.corp.example', 1],
    ['notcorp.example', 0],
    ['corp.example.org', 0],
    ['lab.corp.example', 2],
    ['x.lab.corp.example', 2],
    ['xlab.corp.example', 1],
    ['4.3.2.10.in-addr.arpa', 1],
    ['4.3.2.110.in-addr.arpa', 0],
  ])('%s is asked of server %i', (name, index) => {
    const byname = new EngineUnderTest(settings)
    byname.ask(name)
    expect(byname.serversAsked).toEqual([index])
  })

  it('the longest domain wins in whatever order they stand', () => {
    const byname = new EngineUnderTest({
      ...settings,
      routes: [settings.routes[1]!, settings.routes[0]!, settings.routes[3]!],
    })
    byname.ask('x.lab.corp.example')
    expect(byname.serversAsked).toEqual([2])
  })

  it('a name of a route never goes to servers of another one, whatever happens', () => {
    const byname = new EngineUnderTest(settings)
    const asked = byname.ask('www.corp.example')
    pass(byname, 6000)
    expect(asked.reply?.rcode).toBe(2)
    expect(new Set(byname.serversAsked)).toEqual(new Set([1, 3]))
  })

  it('each route has attempts of its own, in number and in length', () => {
    const [corp, lab, lost, rest] = settings.routes
    const byname = new EngineUnderTest({
      ...settings,
      routes: [corp!, lab!, lost!, { ...rest!, maxAttempts: 2, attemptTimeoutMs: 300 }],
    })
    byname.ask('example.org')
    pass(byname, 299, 13)
    expect(byname.outlet.queries).toHaveLength(1)
    pass(byname, 4500)
    expect(byname.serversAsked).toEqual([0, 0])
    byname.outlet.queries.length = 0
    byname.ask('www.corp.example')
    pass(byname, 999, 9)
    expect(byname.serversAsked).toEqual([1])
    pass(byname, 4500)
    expect(byname.serversAsked).toEqual([1, 3, 1, 3, 1])
  })

  it('a route whose servers are all left out answers SERVFAIL at once', () => {
    const byname = new EngineUnderTest(settings)
    const asked = byname.ask('www.lost.example')
    expect(asked.reply?.rcode).toBe(2)
    expect(byname.outlet.queries).toHaveLength(0)
  })

  it('new routes apply to what is under way', () => {
    const byname = new EngineUnderTest(settings)
    const asked = byname.ask('www.corp.example')
    byname.engine.configure({
      ...byname.settings,
      routes: [{ domains: [new Uint8Array(1)], servers: [0], policy: 'random' }],
    })
    byname.advance(8)
    expect(byname.lastQuery.server).toBe(0)
    byname.answer({ answers: [a(1)] })
    expect(asked.reply?.rcode).toBe(0)
  })

  // An index in one byte made the default route of 256 private ones the first of these.
  it.each([1, 255, 256, 257, 1000, 65_535])('%i of them leave the default route what it is', (count) => {
    const byname = new EngineUnderTest({
      servers: [server('default'), server('private')],
      routes: [
        ...Array.from({ length: count }, (_, k) => ({
          domains: [wire(`r${k}.example`)],
          servers: [1],
          policy: 'sequential' as const,
        })),
        { domains: [new Uint8Array(1)], servers: [0], policy: 'sequential' as const },
      ],
    })
    for (const name of ['example.org', 'r0.example', `www.r${count - 1}.example`]) byname.ask(name)
    expect(byname.serversAsked).toEqual([0, 1, 1])
    // Also where they fail, and the route is looked at again.
    byname.fail(2, byname.outlet.queries[0])
    expect(byname.serversAsked).toEqual([0, 1, 1, 0])
  })
})
