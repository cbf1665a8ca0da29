/**
 * A stub resolver in byname's own network asks the captured name server as another user, and byname asks the stub: what byname asks comes back
 * to it. It is cut off and named, also where the redirect is newer than the daemon (Istio 30309, 58611).
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'
import { isLong } from '../long.ts'
import { CapturedNetwork, lacking, NAME_SERVER } from './captured-network.ts'

const STUB_UID = 991
const lacks = lacking('ip', 'nft', 'dnsmasq', 'setpriv', 'dig', 'curl')
const title = `a stub that asks what is captured${lacks.length > 0 ? `: ${lacks.join(', ')} not here` : ''}`

describe.skipIf(lacks.length > 0)(title, () => {
  let network: CapturedNetwork

  beforeAll(async () => {
    network = new CapturedNetwork('bnl')
    network.run('machine', ['sh', '-c', 'echo 53 > /proc/sys/net/ipv4/ip_unprivileged_port_start'])
    const dnsmasq = [
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--pid-file=',
    ]
    const stub = ['--listen-address=127.0.0.1', '--bind-interfaces', `--server=${NAME_SERVER.v4}`, '--cache-size=0']
    const user = ['setpriv', `--reuid=${STUB_UID}`, `--regid=${STUB_UID}`, '--clear-groups']
    network.start('machine', [...user, ...dnsmasq, ...stub])
    const server = [`--listen-address=${NAME_SERVER.v4}`, '--bind-interfaces', '--address=/outside.test/198.18.0.1']
    network.start('outside', [...dnsmasq, '--user=root', ...server])
    await network.until('the stub answers', () => network.dig('127.0.0.1', 'a.outside.test') === '198.18.0.1')
    const resolvConf = network.write('stub.conf', 'nameserver 127.0.0.1\n')
    await network.startByname({ upstream: { resolvConf } })
  })
  afterAll(() => network?.remove())

  test('is no loop without the redirect', () => {
    expect(network.dig('127.0.0.1', '-p', '15053', 'b.outside.test')).toBe('198.18.0.1')
  })

  test('is cut off, and named in the log and by byname upstreams, when the redirect comes', async () => {
    network.capture('apply', '--backend', 'nftables')
    const answer = (): string =>
      network.run('machine', ['dig', `@${NAME_SERVER.v4}`, '+tries=1', '+time=20', 'c.outside.test']).out
    // One question, asked once: whatever goes around is bounded.
    const before = await network.metric('byname_dns_requests_total')
    expect(answer()).toMatch(/status: SERVFAIL/)
    expect((await network.metric('byname_dns_requests_total')) - before).toBeLessThan(30)
    await network.until('the loop is named', () => network.output.includes('upstream server 127.0.0.1:53 is a loop'))
    expect(network.run('machine', [LAUNCHER, 'upstreams']).out).toMatch(/127\.0\.0\.1:53.*loop/)
    const asked = await network.metric('byname_upstream_requests_total')
    expect(answer()).toMatch(/status: SERVFAIL/)
    expect(await network.metric('byname_upstream_requests_total')).toBe(asked)
    // The remedy: the stub's user is exempt. The check that finds it mended takes half a minute.
    if (!isLong) return
    network.capture('apply', '--backend', 'nftables', '--uid', '1337', '--uid', String(STUB_UID))
    await network.until('it is no loop any more', () => network.output.includes('is no loop any more'))
    expect(network.dig(NAME_SERVER.v4, 'd.outside.test')).toBe('198.18.0.1')
  })
})
