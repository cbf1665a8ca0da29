import { expect, test } from 'vitest'
import { describeError } from '../../src/base/log.ts'
import { createLog, type LogDestination } from '../../src/observe/log.ts'

function memory(isTTY = false): LogDestination & { lines: string[] } {
  const lines: string[] = []
  return { lines, isTTY, write: (line) => lines.push(line) }
}

function parse(line: string | undefined): Record<string, unknown> {
  const fields: Record<string, unknown> = JSON.parse(line ?? '')
  return fields
}

test('a line is one JSON object with time, level, fields and message, written at once', async () => {
  const destination = memory()
  const log = await createLog({ level: 'info', format: 'auto', destination })
  log.info({ hosts: 12 }, 'table adopted')
  expect(destination.lines).toHaveLength(1)
  const line = parse(destination.lines[0])
  expect(line).toEqual({ level: 'info', time: expect.any(String), hosts: 12, msg: 'table adopted' })
  expect(new Date(String(line['time'])).toISOString()).toBe(line['time'])
})

test('whatever a field or a message holds, a line of JSON stays one line and says the same', async () => {
  const destination = memory()
  const log = await createLog({ level: 'info', format: 'json', destination })
  const hostile = '""\\\\\n\n\r\r\u0000\u0000\u001b[31m\u2028\u2028'
  log.info({ [hostile]: hostile, list: [hostile], error: new Error(`x${hostile}`) }, hostile)
  expect(destination.lines).toHaveLength(1)
  const [line] = destination.lines
  // oxlint-disable-next-line no-control-regex -- none may be there but the line's end
  expect(line).toMatch(/^[^\u0000-\u001f]*\n$/)
  expect(parse(line)).toMatchObject({ [hostile]: hostile, list: [hostile], msg: hostile })
})

test('on a terminal it is for people, written at once', async () => {
  const destination = memory(true)
  const log = await createLog({ level: 'info', format: 'auto', destination })
  log.warn({ port: 9153 }, 'port is busy')
  expect(destination.lines).toHaveLength(1)
  expect(destination.lines[0]).toMatch(/WARN.*port is busy.*9153/)
  expect(destination.lines[0]).not.toMatch(/^{/)
})

test('a format that is asked for is used wherever it goes', async () => {
  const terminal = memory(true)
  const json = await createLog({ level: 'info', format: 'json', destination: terminal })
  json.info({}, 'x')
  expect(parse(terminal.lines[0])).toMatchObject({ msg: 'x' })
  const file = memory()
  const pretty = await createLog({ level: 'info', format: 'pretty', destination: file })
  pretty.info({}, 'x')
  expect(file.lines[0]).toMatch(/INFO.*x\n$/)
})

test('the level may change while it runs', async () => {
  const destination = memory()
  const log = await createLog({ level: 'warn', format: 'json', destination })
  log.info({}, 'unheard')
  log.level = 'debug'
  log.debug({}, 'heard')
  expect(destination.lines.map((line) => parse(line)['msg'])).toEqual(['heard'])
  expect(log.level).toBe('debug')
})

test('an error is one line; its stack is shown at debug only', async () => {
  const destination = memory()
  const log = await createLog({ level: 'info', format: 'json', destination })
  const error = new Error('no table', { cause: Object.assign(new Error('refused'), { code: 'ECONNREFUSED' }) })
  log.error({ error }, 'failed')
  log.level = 'debug'
  log.error({ error }, 'failed')
  const [short, long] = destination.lines.map((line) => parse(line)['error'])
  expect(short).toBe('no table: refused (ECONNREFUSED)')
  expect(long).toMatchObject({ message: short, stack: expect.stringContaining('at ') })
})

test('anything that was thrown is described in one line', () => {
  expect(describeError('just text')).toBe('just text')
  expect(describeError({ a: 1 })).toBe('{"a":1}')
  expect(describeError(new Error('two\n  lines'))).toBe('two lines')
  expect(describeError(new TypeError())).toBe('TypeError')
  expect(describeError(undefined)).toBe('undefined')
  const circle = new Error('a')
  circle.cause = circle
  expect(describeError(circle)).toBe('a: a: a: a')
})
