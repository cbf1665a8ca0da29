/** Rules of a daemon that runs: over UDP and TCP, while their file and the configuration change, and what is told of them. */
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { NameExplanation } from '../../src/explain/name-explanation.ts'
import type { RulesState } from '../../src/observe/sources.ts'
import { addressesOf, askTcp, rcodeOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

test.each(['batch', 'dgram'] as const)(
  'a list blocks, its changes count at once, a bad one changes nothing, and what rules did is told (%s)',
  async (driver) => {
    const folder = mkdtempSync(join(tmpdir(), 'byname-scenario-'))
    stage.closing(() => rmSync(folder, { recursive: true }))
    const list = join(folder, 'ads.txt')
    const write = (text: string): void => {
      writeFileSync(`${list}.new`, text)
      renameSync(`${list}.new`, list)
    }
    write('||ads.example^\n')
    const resolver = await stage.resolver((query) => query.answer('192.0.2.1'))
    const daemon = await stage.daemon({
      config: {
        driver,
        upstream: { servers: [resolver.text] },
        rules: [
          { id: 'ads', file: list, action: 'nxdomain' },
          { id: 'moved', name: '.old.example', rewrite: '.new.example' },
          { name: '.good.example', action: 'allow' },
        ],
        egress: { default: 'deny', audit: true },
      },
    })
    const client = await stage.client()
    const rcode = async (name: string): Promise<string> => rcodeOf((await client.ask(daemon.at(), name)).packet)
    expect(await rcode('x.ads.example')).toBe('NXDOMAIN')
    const { packet } = await client.ask(daemon.at(), 'www.old.example')
    expect([addressesOf(packet), packet.questions?.[0]?.name, packet.answers?.[0]?.name]).toEqual([
      ['192.0.2.1'],
      'www.old.example',
      'www.old.example',
    ])
    expect(resolver.asked('www.new.example')).toBe(1)
    expect(addressesOf(await askTcp(daemon.at(), 'www.old.example'))).toEqual(['192.0.2.1'])
    expect(rcodeOf(await askTcp(daemon.at(), 'ads.example'))).toBe('NXDOMAIN')

    expect(await rcode('else.example')).toBe('NOERROR')
    await daemon.line('no rule allows this name: it would be denied (nxdomain) (egress.audit)')
    const state: RulesState = JSON.parse(await (await daemon.get('admin', '/debug/rules')).text())
    expect(state.rules.map(({ queries, rule }) => [rule, queries])).toEqual([
      ['ads', 2],
      ['moved', 2],
      ['rules[2]', 0],
    ])
    expect(state.recent).toMatchObject([{ rule: 'egress', name: 'else.example.', type: 'A', times: 1 }])
    expect(await daemon.metric('byname_rule_matches_total', { rule: 'egress', action: 'audit' })).toBe(1)
    const path = '/debug/explain?name=x.ads.example.&type=A'
    const explained: NameExplanation = JSON.parse(await (await daemon.get('admin', path)).text())
    expect(explained.questions[0]?.stages.at(-1)?.finding).toBe(`ads (${list} line 1, by ads.example.): nxdomain`)

    write('||track.example^\n')
    await until(async () => expect(await rcode('track.example')).toBe('NXDOMAIN'))
    expect(await rcode('x.ads.example')).toBe('NOERROR')
    write('no list\n')
    await daemon.line(`rules: ${list}: line 1: "no list" is no name`)
    expect(await rcode('track.example')).toBe('NXDOMAIN')
  },
)
