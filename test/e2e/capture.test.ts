/**
 * The redirect in real network namespaces: a machine with byname and a firewall that takes replies alone, and a name server.
 *
 * ```
 *  machine 10.98.0.1, fd98::1                                        server 10.98.0.53, fd98::53
 *    application ─port 53→ redirect → byname (uid 1337) ──port 53──→   dnsmasq: outside.test, and a false web.mesh.test
 * ```
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'

const SERVERS = ['10.98.0.53', 'fd98::53'] as const
const MESH = { A: '10.50.0.1', AAAA: 'fd50::1' } as const
const OUTSIDE = { A: '203.0.113.9', AAAA: '2001:db8::9' } as const
/** What the name server says of the mesh's name: whoever gets it has bypassed byname. */
const FALSE = '203.0.113.66'
const OWN = '1337'
const WAIT_MS = 20_000

/** Unique, so that tests side by side have networks of their own. */
const tag = `bnc${process.pid}`
const machine = `${tag}-machine`
const server = `${tag}-server`

interface Ran {
  code: number | null
  out: string
  err: string
}

function run(program: string, args: readonly string[], input = ''): Ran {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input })
  return { code: status, out: stdout ?? '', err: stderr ?? '' }
}

function ip(...args: string[]): void {
  expect(run('ip', args)).toEqual({ code: 0, out: '', err: '' })
}

/** Runs a program in the machine. */
function inside(args: readonly string[], input = ''): Ran {
  return run('ip', ['netns', 'exec', machine, ...args], input)
}

/** Needs root and the programs. */
const canRun =
  run('ip', ['netns', 'add', `${tag}-try`]).code === 0 &&
  run('ip', ['netns', 'del', `${tag}-try`]).code === 0 &&
  ['nft', 'iptables-nft', 'iptables-legacy', 'dnsmasq', 'setpriv'].every((each) => run(each, ['--version']).code === 0)

const folder = mkdtempSync(join(tmpdir(), 'byname-capture-'))
const children: ChildProcess[] = []
const output: string[] = []

function start(namespace: string, args: readonly string[]): ChildProcess {
  const child = spawn('ip', ['netns', 'exec', namespace, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
  children.push(child)
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (chunk: Buffer) => output.push(chunk.toString()))
  return child
}

/** What `dig` prints for a name, asked of the name server's own address. */
function dig(address: string, ...question: string[]): string {
  return inside(['dig', `@${address}`, '+short', '+tries=1', '+time=5', ...question]).out.trim()
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const end = Date.now() + WAIT_MS
  while (!isSo()) {
    if (Date.now() > end) throw new Error(`${what}\n${output.join('').slice(-4000)}`)
    await sleep(50)
  }
}

function capture(...args: string[]): Ran {
  return inside([LAUNCHER, 'capture', ...args])
}

/** Everything that holds rules, without counters; iptables' tables may be there or not while they are empty. */
function ruleset(): string {
  const saved = ['iptables-legacy-save', 'ip6tables-legacy-save'].map((program) => inside([program]).out)
  return [inside(['nft', '-s', 'list', 'ruleset']).out, ...saved]
    .join('\n')
    .replace(/^#.*\n/gm, '')
    .replace(/\[\d+:\d+\]/g, '')
}

/** Rules of others in all back ends, a firewall among them that takes only replies and what is on loopback. */
function addForeignRules(): void {
  const nft = `table inet firewall {
  set friends { type ipv4_addr; elements = { 10.98.0.7 } }
  chain input {
    type filter hook input priority 0; policy drop;
    ct state established,related accept
    iifname "lo" accept
    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-advert } accept
  }
}
table ip byname { chain mine { type nat hook output priority -100; policy accept; tcp dport 8080 redirect to :80; }; }
`
  expect(inside(['nft', '-f', '-'], nft)).toEqual({ code: 0, out: '', err: '' })
  const tables = `*raw
:KEEP - [0:0]
-A KEEP -p tcp -m tcp --dport 4444 -j RETURN
-A OUTPUT -j KEEP
-A PREROUTING -p udp -m udp --dport 4444 -j RETURN
COMMIT
*nat
:KEEP - [0:0]
:BYNAMES - [0:0]
-A KEEP -p tcp -m tcp --dport 8080 -j REDIRECT --to-ports 80
-A OUTPUT -j KEEP
-A POSTROUTING -o eth9 -j MASQUERADE
COMMIT
`
  for (const kind of ['nft', 'legacy'])
    for (const family of ['ip', 'ip6']) expect(inside([`${family}tables-${kind}-restore`], tables).code).toBe(0)
}

/** Packets that a rule has counted, both families together. */
function packets(backend: string, table: 'raw' | 'nat', pattern: RegExp): number {
  const text =
    backend === 'nftables'
      ? inside(['nft', 'list', 'table', 'inet', `BYNAME_${table.toUpperCase()}`]).out
      : ['ip', 'ip6'].map((family) => inside([`${family}${backend.slice(2)}-save`, '-c', '-t', table]).out).join('')
  const lines = text.split('\n').filter((line) => pattern.test(line))
  expect(lines).not.toEqual([])
  return lines.reduce((sum, line) => sum + Number(/^\[(\d+):|packets (\d+)/.exec(line)!.slice(1).find(Boolean)), 0)
}

describe.skipIf(!canRun)('captured', () => {
  beforeAll(async () => {
    chmodSync(folder, 0o755)
    for (const name of [machine, server]) ip('netns', 'add', name)
    ip('-n', machine, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', server)
    for (const [name, number, first] of [
      [machine, '1', '1'],
      [server, '53', '53'],
    ] as const) {
      ip('-n', name, 'link', 'set', 'lo', 'up')
      ip('-n', name, 'link', 'set', 'eth0', 'up')
      ip('-n', name, 'addr', 'add', `10.98.0.${number}/24`, 'dev', 'eth0')
      ip('-n', name, 'addr', 'add', `fd98::${first}/64`, 'dev', 'eth0', 'nodad')
    }
    // ip netns exec shows it as /etc/resolv.conf.
    mkdirSync(`/etc/netns/${machine}`, { recursive: true })
    writeFileSync(
      `/etc/netns/${machine}/resolv.conf`,
      `${SERVERS.map((each) => `nameserver ${each}\n`).join('')}options timeout:2 attempts:1\n`,
    )
    // byname's own ports come from those that the test uses.
    inside(['sh', '-c', 'echo "40000 40127" > /proc/sys/net/ipv4/ip_local_port_range'])
    start(server, [
      'dnsmasq',
      '--keep-in-foreground',
      '--conf-file=/dev/null',
      '--no-resolv',
      '--no-hosts',
      '--user=root',
      '--pid-file=',
      '--listen-address=10.98.0.53,fd98::53',
      '--bind-interfaces',
      ...Object.values(OUTSIDE).map((address) => `--address=/outside.test/${address}`),
      `--address=/web.mesh.test/${FALSE}`,
    ])
    addForeignRules()
    const table = join(folder, 'table.json')
    writeFileSync(table, JSON.stringify({ table: { 'web.mesh.test': { ips: Object.values(MESH) } } }))
    const config = join(folder, 'byname.yaml')
    writeFileSync(
      config,
      JSON.stringify({ mesh: { source: { table } }, metrics: { listen: 'off' }, admin: { listen: 'off' } }),
    )
    await until('the name server answers', () => dig(SERVERS[0], 'web.mesh.test') === FALSE)
    start(machine, [
      'setpriv',
      `--reuid=${OWN}`,
      `--regid=${OWN}`,
      '--clear-groups',
      LAUNCHER,
      'run',
      '--config',
      config,
    ])
    await until('byname answers', () => dig('127.0.0.1', '-p', '15053', 'web.mesh.test') === MESH.A)
  }, 60_000)

  afterAll(() => {
    for (const child of children) child.kill()
    // A program under ip netns exec is that process itself; byname's launcher has a child that ends with it.
    for (const name of [machine, server]) run('ip', ['netns', 'del', name])
    rmSync(`/etc/netns/${machine}`, { recursive: true, force: true })
    rmSync(folder, { recursive: true, force: true })
  })

  const BACKENDS = ['nftables', 'iptables-nft', 'iptables-legacy']
  const SCOPES = [[], ['--all-dns']]
  test.each(BACKENDS.flatMap((backend) => SCOPES.map((scope) => [backend, scope] as const)))(
    '%s %j: mesh names and others over UDP, TCP, IPv4 and IPv6, for programs that know nothing of byname',
    (backend, scope) => {
      expect(capture('apply', '--backend', backend, ...scope)).toMatchObject({ code: 0, err: '' })
      try {
        for (const address of SERVERS) {
          for (const transport of ['+notcp', '+tcp']) {
            for (const type of ['A', 'AAAA'] as const) {
              expect([address, transport, dig(address, transport, 'web.mesh.test', type)]).toEqual([
                address,
                transport,
                MESH[type],
              ])
              const outside = `${transport.slice(1)}-${address.length}-${backend}-${scope.length}.outside.test`
              expect([address, transport, dig(address, transport, outside, type)]).toEqual([
                address,
                transport,
                OUTSIDE[type],
              ])
            }
          }
        }
        expect(inside(['getent', 'ahostsv4', 'web.mesh.test']).out).toContain(MESH.A)
        // Its own queries have left by themselves; what was redirected is the application's, no more. A query from a port that
        // was used a moment ago goes where that one went, and is not counted.
        expect(packets(backend, 'raw', /--dport 53 .*--uid-owner 1337|dport 53 .*skuid 1337/)).toBeGreaterThanOrEqual(8)
        const redirected = packets(backend, 'nat', /REDIRECT --to-ports 15053|redirect to :15053/)
        expect(redirected).toBeGreaterThan(0)
        expect(redirected).toBeLessThanOrEqual(20)
        expect(capture('check', '--backend', backend, ...scope)).toMatchObject({ code: 0 })
      } finally {
        expect(capture('remove').code).toBe(0)
      }
      expect(dig(SERVERS[0], 'web.mesh.test')).toBe(FALSE)
    },
    60_000,
  )

  test.each(BACKENDS)(
    '%s: 5,000 queries from reused ports: none bypasses, none goes astray',
    (backend) => {
      const script = join(import.meta.dirname, 'reused-ports-inside.ts')
      expect(capture('apply', '--backend', backend).code).toBe(0)
      try {
        for (const [address, count] of [
          [SERVERS[0], '4000'],
          [SERVERS[1], '1000'],
        ] as const) {
          const { out, err } = inside([process.execPath, script, address, OWN, count, 'web.mesh.test'])
          expect(err).toBe('')
          expect(JSON.parse(out)).toEqual({ app: { [MESH.A]: Number(count) / 2 }, own: { [FALSE]: Number(count) / 2 } })
        }
      } finally {
        expect(capture('remove').code).toBe(0)
      }
    },
    120_000,
  )

  test.each(BACKENDS)(
    '%s: apply, check, apply and remove, 20 times among foreign rules, leave these as they were',
    (backend) => {
      const script = join(import.meta.dirname, 'capture-rounds-inside.ts')
      expect(inside([process.execPath, script, backend, '20'])).toEqual({ code: 0, out: '', err: '' })
    },
    120_000,
  )

  test.each(BACKENDS)(
    '%s: after a kill in the middle, the next apply or remove makes it whole',
    async (backend) => {
      const before = ruleset()
      for (let round = 0; round < 6; round++) {
        const child = spawn('ip', ['netns', 'exec', machine, LAUNCHER, 'capture', 'apply', '--backend', backend], {
          detached: true,
          stdio: 'ignore',
        })
        const ended = new Promise((resolve) => child.once('exit', resolve))
        await sleep(100 + Math.random() * 400)
        try {
          process.kill(-child.pid!, 'SIGKILL')
        } catch {
          // It was through.
        }
        await ended
        if (round % 2 === 0) {
          expect(capture('apply', '--backend', backend).code).toBe(0)
          expect(capture('check', '--backend', backend)).toMatchObject({ code: 0 })
        }
        expect(capture('remove').code).toBe(0)
        expect(ruleset()).toBe(before)
      }
    },
    120_000,
  )

  test('run --capture: redirected while the daemon answers, and at no other time, however it ends', async () => {
    const before = ruleset()
    const listen = ['127.0.0.1:15153', '[::1]:15153'].flatMap((address) => ['--listen', address])
    const config = join(folder, 'byname.yaml')
    const begin = async (): Promise<{ holder: ChildProcess; daemon: number; ended: Promise<unknown> }> => {
      const args = ['run', '--capture', '--port', '15153', '--config', config, ...listen]
      const holder = start(machine, [LAUNCHER, ...args])
      const ended = new Promise((resolve) => holder.once('exit', resolve))
      await until('it is captured', () => dig(SERVERS[0], 'web.mesh.test') === MESH.A)
      return { holder, daemon: Number(run('pgrep', ['-P', String(holder.pid)]).out), ended }
    }
    const first = await begin()
    expect(run('ps', ['-o', 'uid=', '-p', String(first.daemon)]).out.trim()).toBe(OWN)
    process.kill(first.daemon, 'SIGSTOP')
    await until('the redirect is withdrawn', () => ruleset() === before)
    expect(dig(SERVERS[0], 'web.mesh.test')).toBe(FALSE)
    process.kill(first.daemon, 'SIGCONT')
    await until('the redirect is back', () => dig(SERVERS[0], 'web.mesh.test') === MESH.A)
    const killedAt = performance.now()
    process.kill(first.daemon, 'SIGKILL')
    expect(await first.ended).toBe(1)
    expect(ruleset()).toBe(before)
    expect(performance.now() - killedAt).toBeLessThan(5000)
    const second = await begin()
    second.holder.kill('SIGTERM')
    expect(await second.ended).toBe(0)
    expect(ruleset()).toBe(before)
  }, 60_000)

  test.each(BACKENDS)(
    "%s, all DNS behind a stub: the stub's own queries are not captured, so there is no loop",
    async (backend) => {
      const stub = '991'
      inside(['sh', '-c', 'echo 53 > /proc/sys/net/ipv4/ip_unprivileged_port_start'])
      const server53 = "require('dgram').createSocket('udp4').bind(53, '127.0.0.53')"
      const as = ['setpriv', `--reuid=${stub}`, `--regid=${stub}`, '--clear-groups']
      const child = start(machine, [...as, process.execPath, '-e', server53])
      const conf = join(folder, 'stub.conf')
      writeFileSync(conf, 'nameserver 127.0.0.53\n')
      const options = ['--backend', backend, '--all-dns', '--resolv-conf', conf]
      await until('the stub is there', () => capture('apply', '--dry-run', ...options).out.includes(stub))
      expect(capture('apply', ...options)).toMatchObject({ code: 0, out: expect.stringContaining(`uid ${stub}`) })
      try {
        const ask = ['dig', `@${SERVERS[0]}`, '+short', '+tries=1', 'web.mesh.test']
        expect(inside([...as, ...ask]).out.trim()).toBe(FALSE)
        expect(inside(ask).out.trim()).toBe(MESH.A)
        expect(capture('check', ...options).code).toBe(0)
      } finally {
        expect(capture('remove').code).toBe(0)
        child.kill()
      }
    },
  )

  test('nothing is applied while nothing answers at the port, or where Istio captures', () => {
    const before = ruleset()
    expect(capture('apply', '--port', '15999')).toMatchObject({
      code: 1,
      err: expect.stringMatching(/nothing listens on .*:15999.*--force/),
    })
    expect(inside(['nft', 'add', 'table', 'inet', 'istio-proxy-nat']).code).toBe(0)
    expect(capture('apply')).toMatchObject({ code: 1, err: expect.stringContaining('table inet istio-proxy-nat') })
    expect(inside(['nft', 'delete', 'table', 'inet', 'istio-proxy-nat']).code).toBe(0)
    expect(ruleset()).toBe(before)
  })
})
