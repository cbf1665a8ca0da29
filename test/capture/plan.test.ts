import { expect, test } from 'vitest'
import { type CaptureOptions, describeRule, planCapture, RULE_TABLES, rulesOf } from '../../src/capture/plan.ts'

const OPTIONS: CaptureOptions = {
  port: 15_053,
  uids: [1337],
  gids: [1337],
  nameservers: null,
  exemptPrefixes: [],
  exemptInterfaces: [],
  hasIpv6: true,
}

function words(options: Partial<CaptureOptions>, family?: 4 | 6): string[] {
  const plan = planCapture({ ...OPTIONS, ...options })
  return RULE_TABLES.flatMap((table) => rulesOf(plan, table, family).map((rule) => `${table}: ${describeRule(rule)}`))
}

test('all DNS: own queries pass, all others are redirected and tracked apart', () => {
  expect(words({})).toEqual([
    'raw: UDP to port 53 by uid 1337 is left alone',
    'raw: UDP to port 53 by gid 1337 is left alone',
    'raw: UDP from port 15053 out through lo by uid 1337 is tracked in conntrack zone 2',
    'raw: UDP from port 15053 out through lo by gid 1337 is tracked in conntrack zone 2',
    'raw: UDP to port 15053 out through lo is tracked in conntrack zone 2',
    'raw: UDP to port 53 is tracked in conntrack zone 2',
    'nat: traffic by uid 1337 is left alone',
    'nat: traffic by gid 1337 is left alone',
    'nat: UDP to port 53 is redirected to port 15053',
    'nat: TCP to port 53 is redirected to port 15053',
  ])
})

test('name servers only: each in its own family, and no zone for anybody else', () => {
  const nameservers = ['10.96.0.10', 'fd00::10']
  expect(words({ nameservers, gids: [] }, 4)).toEqual([
    'raw: UDP to port 53 by uid 1337 is left alone',
    'raw: UDP from port 15053 out through lo by uid 1337 is tracked in conntrack zone 2',
    'raw: UDP to port 15053 out through lo is tracked in conntrack zone 2',
    'raw: UDP to port 53 of 10.96.0.10 is tracked in conntrack zone 2',
    'nat: traffic by uid 1337 is left alone',
    'nat: UDP to port 53 of 10.96.0.10 is redirected to port 15053',
    'nat: TCP to port 53 of 10.96.0.10 is redirected to port 15053',
  ])
  expect(words({ nameservers }, 6).filter((line) => line.includes('redirected'))).toEqual([
    'nat: UDP to port 53 of fd00::10 is redirected to port 15053',
    'nat: TCP to port 53 of fd00::10 is redirected to port 15053',
  ])
})

test('what is exempt comes before the zones and the redirect, over UDP and TCP', () => {
  const lines = words({ exemptPrefixes: ['10.0.0.0/8', 'fd00::/8'], exemptInterfaces: ['tun0'] })
  expect(lines.filter((line) => line.endsWith('left alone'))).toEqual([
    'raw: UDP to port 53 out through tun0 is left alone',
    'raw: UDP to port 53 of 10.0.0.0/8 is left alone',
    'raw: UDP to port 53 of fd00::/8 is left alone',
    'raw: UDP to port 53 by uid 1337 is left alone',
    'raw: UDP to port 53 by gid 1337 is left alone',
    'nat: traffic by uid 1337 is left alone',
    'nat: traffic by gid 1337 is left alone',
    'nat: UDP to port 53 out through tun0 is left alone',
    'nat: UDP to port 53 of 10.0.0.0/8 is left alone',
    'nat: UDP to port 53 of fd00::/8 is left alone',
    'nat: TCP to port 53 out through tun0 is left alone',
    'nat: TCP to port 53 of 10.0.0.0/8 is left alone',
    'nat: TCP to port 53 of fd00::/8 is left alone',
  ])
  for (const table of RULE_TABLES) {
    const here = lines.filter((line) => line.startsWith(`${table}:`))
    const lastExempt = here.findLastIndex((line) => line.endsWith('left alone'))
    expect(here.findIndex((line) => !line.endsWith('left alone'))).toBeGreaterThan(lastExempt)
  }
})

test('without IPv6 there is no rule of it', () => {
  expect(
    words({ nameservers: ['10.0.0.1', 'fd00::1'], exemptPrefixes: ['fd00::/8'], hasIpv6: false }).join(),
  ).not.toMatch(/fd00/)
})

test('no two rules of a table are said in the same words', () => {
  const lines = words({ nameservers: ['10.0.0.1', '10.0.0.2', 'fd00::1'], uids: [1, 2], gids: [1, 2] })
  expect(new Set(lines).size).toBe(lines.length)
})
