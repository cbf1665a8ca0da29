import { EventEmitter } from 'node:events'
import { expect, test } from 'vitest'
import { AdsSubscription, stateOfTheWorld } from '../../src/mesh/ads-subscription.ts'
import { TableViews } from '../../src/mesh/table-views.ts'
import type { DiscoveryRequest, DiscoveryResponse } from '../../src/proto/ads.ts'
import { NAME_TABLE_TYPE } from '../../src/table/nds.ts'
import { nodeIn } from './ads-node.ts'
import { LogLines } from './log-lines.ts'
import { meshOf, service, shopNode as shop } from './mesh-of.ts'

/** A stream that takes a message only when the test says so. */
class SlowStream extends EventEmitter {
  readonly written: DiscoveryResponse[] = []
  writableEnded = false
  cancelled = false
  #taken: (() => void)[] = []

  write(message: DiscoveryResponse, taken: () => void): boolean {
    if (this.writableEnded) throw new Error('written after the end')
    this.written.push(message)
    this.#taken.push(taken)
    return true
  }

  end(): void {
    this.writableEnded = true
  }

  getPeer(): string {
    return 'test'
  }

  /** What was written has gone out. */
  drain(): void {
    for (const taken of this.#taken.splice(0)) taken()
  }
}

const views = (address: string): TableViews => new TableViews(meshOf(service({ spec: { clusterIP: address } })))

const request: DiscoveryRequest = {
  node: nodeIn('shop'),
  type_url: NAME_TABLE_TYPE,
  version_info: '',
  response_nonce: '',
  resource_names: [],
  error_detail: null,
}

function subscribed(): { stream: SlowStream; change: (address: string) => boolean; end: () => void } {
  const stream = new SlowStream()
  let current = views('10.0.0.1')
  const host = { views: () => current, log: new LogLines() }
  const subscription = new AdsSubscription(stream, stateOfTheWorld, host)
  stream.emit('data', request)
  const change = (address: string): boolean => {
    current = views(address)
    return subscription.push()
  }
  return { stream, change, end: () => subscription.end() }
}

test('a node that reads slowly gets the latest table next, not those between', () => {
  const { stream, change } = subscribed()
  for (let last = 2; last < 100; last++) expect(change(`10.0.0.${last}`)).toBe(false)
  expect(stream.written).toHaveLength(1)
  stream.drain()
  expect(stream.written).toHaveLength(2)
  expect(stream.written[1]!.resources[0]).toEqual(views('10.0.0.99').tableFor(shop).resource)
  stream.drain()
  expect(stream.written).toHaveLength(2)
})

test('a table that changed and changed back while a node was slow is not sent again', () => {
  const { stream, change } = subscribed()
  change('10.0.0.2')
  change('10.0.0.1')
  stream.drain()
  expect(stream.written).toHaveLength(1)
})

test('nothing is written after the end, whatever comes then', () => {
  const { stream, change, end } = subscribed()
  end()
  change('10.0.0.2')
  stream.drain()
  stream.emit('data', { ...request, node: null })
  stream.emit('data', { ...request, node: null, type_url: 'other' })
  expect(stream.written).toHaveLength(1)
})

test('nodes that see the mesh alike share one serialized table', () => {
  const current = views('10.0.0.1')
  const same = { ...shop, namespace: 'shop' }
  expect(current.tableFor(same).resource).toBe(current.tableFor({ ...same }).resource)
  expect(current.tableFor({ ...same, cluster: 'other' }).resource).toEqual(current.tableFor(same).resource)
})

test('a node is not answered for any number of types', () => {
  const { stream } = subscribed()
  for (let type = 0; type < 1000; type++) stream.emit('data', { ...request, type_url: `type-${type}` })
  expect(stream.written.length).toBeLessThan(100)
})
