/** Several types over one stream, in both dialects; the name table's own rules are tested in ads-client.test.ts. */
import { status } from '@grpc/grpc-js'
import { afterEach, describe, expect, it } from 'vitest'
import { AdsClient, type AdsClientOptions } from '../../src/xds/ads-client.ts'
import type { Push } from '../../src/xds/ads-dialect.ts'
import { plaintext } from '../../src/xds/credentials.ts'
import type { Subscription, Verdict } from '../../src/xds/subscription.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { Inbox } from './inbox.ts'
import { ScriptedAdsServer, type ScriptedStream } from './scripted-ads-server.ts'

const FRUIT = 'type.googleapis.com/test.Fruit'
const STONE = 'type.googleapis.com/test.Stone'
const node = {
  id: 'sidecar~10.0.0.7~web-0.shop~x',
  cluster: '',
  metadata: null,
  user_agent_name: '',
  user_agent_version: '',
}

interface Taken {
  texts: string[]
  removed: string[]
  isWhole: boolean
}

/** A subscriber that notes what it is given, and refuses what says `bad`. */
class Notes implements Subscription {
  readonly typeUrl: string
  readonly resourceNames: readonly string[]
  readonly label: string = 'thing'
  readonly taken: Inbox<Taken> = new Inbox()
  #last = ''

  constructor(typeUrl: string, resourceNames: readonly string[] = []) {
    this.typeUrl = typeUrl
    this.resourceNames = resourceNames
  }

  take({ resources, removed, isWhole }: Push): Verdict {
    const texts = resources.map(({ name, value }) => `${name}=${Buffer.from(value).toString()}`)
    this.taken.put({ texts, removed: [...removed], isWhole })
    if (texts.some((text) => text.includes('bad'))) return { accepted: false, reason: 'it is bad' }
    if (texts.length === 0 && removed.length === 0) return 'nothing'
    const changed = texts.join() !== this.#last
    this.#last = texts.join()
    return { accepted: true, changed }
  }
}

const running: { stop(deadlineMs: number): Promise<unknown> }[] = []
afterEach(async () => {
  for (const each of running.splice(0).toReversed()) await each.stop(1000)
})

async function rig(subscriptions: Subscription[], options: Partial<AdsClientOptions> = {}) {
  const server = await ScriptedAdsServer.start()
  running.push(server)
  const clock = new FakeClock()
  const changes: Inbox<null> = new Inbox()
  const logs: string[] = []
  const log = (fields: object, message: string): void => void logs.push(`${message} ${JSON.stringify(fields)}`)
  const client = new AdsClient({
    addresses: [server.address],
    delta: false,
    node,
    credentials: plaintext,
    subscriptions,
    log: { debug: () => {}, info: log, warn: log, error: log },
    random: () => 0.5,
    clock,
    onState: () => changes.put(null),
    ...options,
  })
  running.push(client)
  client.start()
  const ended = async (): Promise<void> => {
    for (;;) {
      await changes.next()
      if (client.state().nextAttemptAtMs !== null) return
    }
  }
  return { server, client, clock, logs, ended }
}

/** A response with resources `name=text@version`. */
function send(stream: ScriptedStream, typeUrl: string, resources: string[], more: object = {}): void {
  stream.pushResources(
    typeUrl,
    resources.map((each) => {
      const [, name = '', text = '', version = ''] = /^(.*?)=(.*?)(?:@(.*))?$/.exec(each)!
      return { name, version, value: Buffer.from(text) }
    }),
    more,
  )
}

describe.each(['state of the world', 'delta'] as const)('%s', (dialect) => {
  const isDelta = dialect === 'delta'

  it('subscribes to each type, with its names, and names the node once', async () => {
    const { server } = await rig([new Notes(FRUIT), new Notes(STONE, ['a', 'b'])], { delta: isDelta })
    const stream = await server.streams.next()
    const [first, second] = [await stream.requests.next(), await stream.requests.next()]
    expect([first.type_url, second.type_url]).toEqual([FRUIT, STONE])
    expect([first.node?.id, second.node]).toEqual([node.id, null])
    const names = (request: typeof first): string[] =>
      isDelta ? request.resource_names_subscribe : request.resource_names
    expect([names(first), names(second)]).toEqual([[], ['a', 'b']])
  })

  it('hands each response to its subscriber, and acknowledges by type and nonce', async () => {
    const [fruit, stone] = [new Notes(FRUIT), new Notes(STONE, ['a'])]
    const { server, client } = await rig([fruit, stone], { delta: isDelta })
    const stream = await server.streams.next()
    await stream.requests.next()
    await stream.requests.next()
    send(stream, STONE, ['a=granite'], { version: 's1', nonce: 'x' })
    expect(await stream.requests.next()).toMatchObject({
      type_url: STONE,
      response_nonce: 'x',
      error_detail: null,
      ...(isDelta ? {} : { version_info: 's1', resource_names: ['a'] }),
    })
    send(stream, FRUIT, ['b=bad'], { version: 'f1', nonce: 'y' })
    expect(await stream.requests.next()).toMatchObject({
      type_url: FRUIT,
      response_nonce: 'y',
      error_detail: { code: status.INVALID_ARGUMENT, message: 'it is bad' },
      ...(isDelta ? {} : { version_info: '' }),
    })
    send(stream, FRUIT, ['b=pear', 'c=plum'], { version: 'f2' })
    expect(await stream.requests.next()).toMatchObject({ type_url: FRUIT, error_detail: null })
    const names = isDelta ? ['b=pear', 'c=plum'] : ['=pear', '=plum']
    await fruit.taken.next()
    expect(await fruit.taken.next()).toEqual({ texts: names, removed: [], isWhole: !isDelta })
    expect((await stone.taken.next()).texts).toEqual([isDelta ? 'a=granite' : '=granite'])
    expect(client.typeState(FRUIT)).toMatchObject({ version: 'f2', accepted: 1, rejected: 1, refused: null })
    expect(client.typeState(STONE)).toMatchObject({ version: 's1', accepted: 1, rejected: 0, nonce: 'x' })
    expect(client.typeState('another')).toBeNull()
  })

  it('refuses a type that nobody asked for, and a resource of another type, and keeps what is held', async () => {
    const fruit = new Notes(FRUIT)
    const { server, client, logs } = await rig([fruit], { delta: isDelta })
    const stream = await server.streams.next()
    await stream.requests.next()
    send(stream, FRUIT, ['a=pear'])
    await stream.requests.next()
    for (let round = 0; round < 2; round++) {
      send(stream, STONE, ['a=granite'])
      const nack = await stream.requests.next()
      expect(nack).toMatchObject({ type_url: STONE, error_detail: { code: 3 } })
      expect(nack.error_detail?.message).toBe(`type "${STONE}" was not asked for, only ${FRUIT}`)
      if (!isDelta) expect(nack.version_info).toBe('')
    }
    send(stream, FRUIT, ['a=granite'], { resourceTypeUrl: STONE })
    expect(await stream.requests.next()).toMatchObject({ type_url: FRUIT, error_detail: { code: 3 } })
    expect(fruit.taken.waiting).toBe(1)
    expect(client.typeState(FRUIT)).toMatchObject({ accepted: 1, rejected: 1 })
    expect(logs.filter((line) => line.startsWith('refused a response'))).toHaveLength(2)
  })
})

describe('what a new stream says it holds', () => {
  it('over delta: the versions of all resources, those changed, added and removed since', async () => {
    const [fruit, stone] = [new Notes(FRUIT), new Notes(STONE)]
    const { server, clock, ended } = await rig([fruit, stone], { delta: true })
    const stream = await server.streams.next()
    await stream.requests.next()
    await stream.requests.next()
    send(stream, FRUIT, ['a=pear@1', 'b=plum@1', 'c=fig@1'])
    send(stream, FRUIT, ['b=plum2@2', 'd=date@1', 'e=quince'], { removed: ['c', 'never'] })
    // Refused: what it brought is not held.
    send(stream, FRUIT, ['a=bad@9'], { removed: ['b'] })
    for (let reply = 0; reply < 3; reply++) await stream.requests.next()
    stream.end()
    await ended()
    clock.advance(1000)
    const next = await server.streams.next()
    const [first, second] = [await next.requests.next(), await next.requests.next()]
    expect(first.initial_resource_versions).toEqual({ a: '1', b: '2', d: '1' })
    expect(second.initial_resource_versions).toEqual({})
    expect([first.response_nonce, second.response_nonce]).toEqual(['', ''])
  })

  it('state of the world: the version of each type', async () => {
    const { server, clock, ended } = await rig([new Notes(FRUIT), new Notes(STONE)])
    const stream = await server.streams.next()
    await stream.requests.next()
    await stream.requests.next()
    send(stream, STONE, ['=granite'], { version: 's7' })
    await stream.requests.next()
    stream.end()
    await ended()
    clock.advance(1000)
    const next = await server.streams.next()
    expect([(await next.requests.next()).version_info, (await next.requests.next()).version_info]).toEqual(['', 's7'])
  })

  it('nothing to another server', async () => {
    const [server, other] = [await ScriptedAdsServer.start(), await ScriptedAdsServer.start()]
    running.push(other)
    const clock = new FakeClock()
    const both = new AdsClient({
      addresses: [server.address, other.address],
      delta: true,
      node,
      credentials: plaintext,
      subscriptions: [new Notes(FRUIT)],
      log: { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} },
      random: () => 0.5,
      clock,
    })
    running.push(both)
    both.start()
    const stream = await server.streams.next()
    await stream.requests.next()
    send(stream, FRUIT, ['a=pear@1'])
    await stream.requests.next()
    await server.stop()
    await expect
      .poll(() => {
        clock.advance(1000)
        return other.streams.waiting
      })
      .toBe(1)
    const next = await other.streams.next()
    expect((await next.requests.next()).initial_resource_versions).toEqual({})
  })
})

it('waits for a first response where it claims to hold one type and not the other', async () => {
  const { server, client, clock, ended } = await rig([new Notes(FRUIT), new Notes(STONE)])
  const stream = await server.streams.next()
  await stream.requests.next()
  await stream.requests.next()
  send(stream, FRUIT, ['=pear'], { version: 'f1' })
  await stream.requests.next()
  stream.end()
  await ended()
  clock.advance(1000)
  const next = await server.streams.next()
  await next.requests.next()
  await next.requests.next()
  await expect.poll(() => clock.pending).toEqual([60_000])
  clock.advance(60_000)
  expect(client.state().lastError).toBe('connected, but no response within 60 s')
})

it("goes to the control plane itself, whatever proxy is the workload's", async () => {
  const names = ['http_proxy', 'https_proxy', 'grpc_proxy'] as const
  const before = names.map((name) => process.env[name])
  for (const name of names) process.env[name] = 'http://127.0.0.1:9'
  try {
    const { server } = await rig([new Notes(FRUIT)])
    const stream = await server.streams.next()
    expect((await stream.requests.next()).type_url).toBe(FRUIT)
  } finally {
    for (const [index, name] of names.entries()) {
      const value = before[index]
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
})

it('needs a subscription', async () => {
  await expect(rig([])).rejects.toThrow('needs a subscription')
})
