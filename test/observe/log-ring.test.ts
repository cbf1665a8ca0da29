import { expect, test } from 'vitest'
import { type KeptLine, LogRing } from '../../src/observe/log-ring.ts'

const line = (level: string, message: string, fields: Record<string, unknown> = {}): KeptLine => ({
  time: '2026-01-01T00:00:00.000Z',
  level,
  message,
  fields,
})

test('the last 512 lines are kept, and how many went before them', () => {
  const ring = new LogRing()
  for (let n = 1; n <= 512; n++) ring.add(line('info', `line ${n}`))
  expect([ring.recent().lines.length, ring.recent().dropped]).toEqual([512, 0])
  for (let n = 513; n <= 600; n++) ring.add(line('info', `line ${n}`))
  const { lines, dropped, failures } = ring.recent()
  expect([lines.length, lines[0]?.message, lines.at(-1)?.message, dropped, failures]).toEqual([
    512,
    'line 89',
    'line 600',
    88,
    [],
  ])
})

test('the last 128 warnings and errors are kept beside them, however much else is logged', () => {
  const ring = new LogRing()
  for (let n = 1; n <= 130; n++) ring.add(line(n % 2 === 0 ? 'warn' : 'error', `failure ${n}`))
  for (let n = 1; n <= 2000; n++) ring.add(line('info', `line ${n}`))
  const { failures, lines } = ring.recent()
  expect([failures.length, failures[0]?.message, failures.at(-1)?.message]).toEqual([128, 'failure 3', 'failure 130'])
  expect(lines.some(({ message }) => message.startsWith('failure'))).toBe(false)
})

test('what was read does not change with later lines', () => {
  const ring = new LogRing()
  ring.add(line('warn', 'first'))
  const { lines, failures } = ring.recent()
  ring.add(line('warn', 'second'))
  expect([lines.length, failures.length]).toEqual([1, 1])
})

test('long messages and fields are cut, a circle is left out, and fields are those of that moment', () => {
  const ring = new LogRing()
  const circle: Record<string, unknown> = {}
  circle['self'] = circle
  const fields: Record<string, unknown> = { port: 1 }
  ring.add(line('info', 'a'.repeat(2048), { text: 'b'.repeat(2048 - '{"text":""}'.length) }))
  ring.add(line('info', 'a'.repeat(2049), { text: 'b'.repeat(2049 - '{"text":""}'.length) }))
  ring.add(line('info', 'circle', circle))
  ring.add(line('info', 'changed', fields))
  fields['port'] = 2
  const [whole, cut, round, changed] = ring.recent().lines
  expect(whole).toEqual(line('info', 'a'.repeat(2048), { text: 'b'.repeat(2037) }))
  expect(cut?.message).toBe(`${'a'.repeat(2048)}…`)
  expect(cut?.fields).toEqual({ cut: `{"text":"${'b'.repeat(2038)}"…` })
  expect([round?.fields, changed?.fields]).toEqual([{}, { port: 1 }])
})
