import { expect, test } from 'vitest'
import type { Image } from '../../src/table/image.ts'
import { encodeNameTable } from '../../src/table/nds.ts'
import { TableKeeper } from '../../src/table/table-keeper.ts'
import { find, newCompiler, service, SHOP } from './compiled.ts'

const ignore = (): void => {}

/** A keeper, and one worker that acknowledges when it is told to. */
function start(): { keeper: TableKeeper; push: (n: number) => void; acknowledge: () => void; published: Image[] } {
  const compiler = newCompiler()
  const published: Image[] = []
  const keeper = new TableKeeper({
    compiler,
    publish: (image) => void published.push(image),
    onUpdate: ignore,
    log: { debug: ignore, info: ignore, warn: ignore },
    file: '',
    now: () => 0,
  })
  compiler.pool.workerStarted(1)
  return {
    keeper,
    published,
    push: (n) => void keeper.accept(encodeNameTable(new Map([service('a', 'shop', [`192.0.2.${n}`])])), String(n)),
    acknowledge: () => {
      compiler.pool.acknowledged(1, published.at(-1)!.generation)
      keeper.slotFreed()
    },
  }
}

test('while the worker reads every slot the latest table waits, and is compiled once one is free', () => {
  const { keeper, push, acknowledge, published } = start()
  for (let n = 1; n <= 6; n++) push(n)
  expect(published.length).toBe(3)
  acknowledge()
  expect(find(keeper.image!, 'a')?.v4).toEqual(['c0000206'])
  expect([published.length, keeper.image?.version]).toEqual([4, '6'])
  acknowledge()
  expect(published.length).toBe(4)
})

test('a new search domain waits for a free slot as well', () => {
  const { keeper, push, acknowledge, published } = start()
  for (let n = 1; n <= 3; n++) push(n)
  keeper.setIdentity({ ...SHOP, searchDomain: 'corp.example' })
  expect(find(keeper.image!, 'a.corp.example')).toBeNull()
  acknowledge()
  expect(find(keeper.image!, 'a.corp.example')?.v4).toEqual(['c0000203'])
  acknowledge()
  expect(published.length).toBe(4)
})
