import { describe, expect, test } from 'vitest'
import { type Credential, ExpiryWatch, warningTimes } from '../../src/credentials/expiry.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { LogLines } from '../mesh/log-lines.ts'

const SECOND = 1000
const MINUTE = 60 * SECOND
const HOUR = 60 * MINUTE
const DAY = 24 * HOUR

function credential(lifeMs: number, from = 0): Credential {
  return {
    kind: 'certificate',
    from: '/c',
    issuedAtMs: from,
    expiresAtMs: from + lifeMs,
    problem: null,
    isNeeded: true,
  }
}

test.each([
  ['a year', 365 * DAY, [DAY, HOUR, 10 * MINUTE]],
  ['a day', DAY, [3 * HOUR, HOUR, 10 * MINUTE]],
  ['an hour', HOUR, [7.5 * MINUTE, 3.75 * MINUTE, 75 * SECOND]],
])('of a life of %s, warnings come in time and not early', (_, lifeMs, times) => {
  expect(warningTimes(credential(lifeMs))).toEqual(times)
})

test.each<[string, Credential, number[]]>([
  ['does not say when it begins', { ...credential(HOUR), issuedAtMs: null }, [DAY, HOUR, 10 * MINUTE]],
  ['does not say when it ends', { ...credential(HOUR), expiresAtMs: null }, [DAY, HOUR, 10 * MINUTE]],
  ['ends before it begins', credential(-HOUR), [0, 0, 0]],
])('of a life that %s, warnings come as for a long one, or at the end', (_, one, times) => {
  expect(warningTimes(one)).toEqual(times)
})

function watch(credentials: () => Credential[]): { clock: FakeClock; log: LogLines; watch: ExpiryWatch } {
  const clock = new FakeClock(0)
  const log = new LogLines()
  const watching = new ExpiryWatch(credentials, log, clock)
  watching.check()
  return { clock, log, watch: watching }
}

describe('warnings', () => {
  test('come a day, an hour and ten minutes before the end, and at the end, once each', () => {
    const { clock, log } = watch(() => [credential(30 * DAY)])
    const said: [atMs: number, line: string][] = []
    for (let minute = 0; minute < 31 * 24 * 60; minute++) {
      const before = log.lines.length
      clock.advance(MINUTE)
      for (const line of log.lines.slice(before)) said.push([clock.now(), line])
    }
    const text = 'warn the certificate towards the control plane expires in'
    expect(said).toEqual([
      [29 * DAY, `${text} 24 h`],
      [30 * DAY - HOUR, `${text} 60 min`],
      [30 * DAY - 10 * MINUTE, `${text} 10 min`],
      [30 * DAY, 'error the certificate towards the control plane has expired; the name table held stays in use'],
    ])
  })

  test('begin anew for one that was replaced', () => {
    let current = credential(DAY)
    const { clock, log } = watch(() => [current])
    clock.advance(DAY - 30 * MINUTE)
    expect(log.lines).toHaveLength(2)
    current = credential(DAY, clock.now())
    clock.advance(12 * HOUR)
    expect(log.lines).toHaveLength(2)
    clock.advance(10 * HOUR)
    expect(log.lines).toHaveLength(3)
  })

  test('one warning stands for those that were missed', () => {
    const { log } = watch(() => [credential(30 * DAY, -30 * DAY + 5 * MINUTE)])
    expect(log.lines).toEqual(['warn the certificate towards the control plane expires in 5 min'])
  })

  test('spare what is not needed, or does not say when it ends', () => {
    const { clock, log } = watch(() => [
      { ...credential(HOUR), kind: 'token', isNeeded: false },
      { ...credential(HOUR), expiresAtMs: null },
    ])
    clock.advance(DAY)
    expect(log.lines).toEqual([])
  })

  test('end with the watch', () => {
    const { clock, watch: watching } = watch(() => [credential(HOUR)])
    watching.stop()
    expect(clock.pending).toEqual([])
  })
})
