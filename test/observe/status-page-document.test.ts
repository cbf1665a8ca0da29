import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { History } from '../../src/observe/history.ts'
import { fakeSources } from './fake-sources.ts'

test('docs/status-page.md has every figure of /debug/history', () => {
  const document = readFileSync(new URL('../../docs/status-page.md', import.meta.url), 'utf8')
  const usage = { rssBytes: 0, anonymousBytes: null, cpuSeconds: 0 }
  const history = new History(
    fakeSources(),
    () => usage,
    () => 0,
  )
  const figures = Object.keys(history.columns().figures)
  expect(figures.filter((figure) => !document.includes(`\`${figure}\``))).toEqual([])
  expect(figures.length).toBeGreaterThan(20)
})
