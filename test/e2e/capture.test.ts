/** The redirect in real network namespaces: a machine with byname and a firewall that takes replies alone (redirected-machine.ts). */
import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'
import { canRedirect, FALSE, MESH, OUTSIDE, OWN, type Ran, RedirectedMachine, SERVERS } from './redirected-machine.ts'

/** A hundred with `.ci/run --long`. */
const ROUNDS = process.env['CAPTURE_ROUNDS'] ?? '10'

let machine: RedirectedMachine
const inside = (args: readonly string[], input?: string): Ran => machine.inside(args, input)
const dig = (address: string, ...question: string[]): string => machine.dig(address, ...question)
const ruleset = (): string => machine.ruleset()

function capture(...args: string[]): Ran {
  return inside([LAUNCHER, 'capture', ...args])
}

/** Two of the ports that byname's own come from, and which it does not have now: a program of the machine can ask from them. */
function portsOfMachine(): [string, string] {
  const taken = inside(['cat', '/proc/net/udp']).out.toLowerCase()
  const free = Array.from({ length: 128 }, (_, k) => 40_000 + k).filter(
    (port) => !taken.includes(`:${port.toString(16)} `),
  )
  return [String(free[0]), String(free[1])]
}

/** From a port of the system's choice and from these. */
function askFromContainer(ports: readonly string[]): string[] {
  return ['0', ...ports].map((port) => machine.digFromContainer('-b', `0.0.0.0#${port}`, 'web.mesh.test'))
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
table ip docker { chain post { type nat hook postrouting priority 100; ip saddr 172.30.0.0/24 masquerade; }; }
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

/** dnsmasq as people have it: its sockets are root's, and it asks as `user`. */
function startStub(address: string, user: string): ChildProcess {
  return machine.start([
    'dnsmasq',
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--no-resolv',
    '--no-hosts',
    '--pid-file=',
    `--user=${user}`,
    `--listen-address=${address}`,
    '--bind-interfaces',
    ...SERVERS.map((each) => `--server=${each}`),
  ])
}

describe.skipIf(!canRedirect())('captured', () => {
  beforeAll(async () => {
    machine = new RedirectedMachine('bnc')
    // byname's own ports come from those that the test uses.
    inside(['sh', '-c', 'echo "40000 40127" > /proc/sys/net/ipv4/ip_local_port_range'])
    addForeignRules()
    await machine.until('the name server answers', () => dig(SERVERS[0], 'web.mesh.test') === FALSE)
    const as = ['setpriv', `--reuid=${OWN}`, `--regid=${OWN}`, '--clear-groups']
    machine.start([...as, LAUNCHER, 'run', '--config', machine.writeConfig()])
    await machine.until('byname answers', () => dig('127.0.0.1', '-p', '15053', 'web.mesh.test') === MESH.A)
  })

  afterAll(() => machine.remove())

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
  )

  test.each(BACKENDS.flatMap((backend) => SCOPES.map((scope) => [backend, scope] as const)))(
    "%s %j: containers behind this machine's NAT go on asking the same name servers, from any port",
    (backend, scope) => {
      const ports = portsOfMachine()
      const before = askFromContainer(ports)
      expect(new Set(before)).toEqual(new Set([FALSE]))
      expect(capture('apply', '--backend', backend, ...scope).code).toBe(0)
      try {
        // The machine has the ports in use, too.
        expect(dig(SERVERS[0], '-b', `0.0.0.0#${ports[0]}`, 'web.mesh.test')).toBe(MESH.A)
        expect(askFromContainer(ports)).toEqual(before)
      } finally {
        expect(capture('remove').code).toBe(0)
      }
      expect(askFromContainer(ports)).toEqual(before)
    },
  )

  test.each(BACKENDS)(
    '%s: byname asked directly, from a port whose query was redirected a moment ago, answers by itself',
    (backend) => {
      const conf = join(machine.folder, 'loopback.conf')
      writeFileSync(conf, 'nameserver 127.0.0.53\n')
      expect(capture('apply', '--backend', backend, '--resolv-conf', conf).code).toBe(0)
      try {
        for (const port of ['40011', '40012', '40013']) {
          const from = ['-b', `127.0.0.1#${port}`, 'web.mesh.test']
          expect(dig('127.0.0.53', ...from)).toBe(MESH.A)
          expect(dig('127.0.0.1', '-p', '15053', ...from)).toBe(MESH.A)
        }
      } finally {
        expect(capture('remove').code).toBe(0)
      }
    },
  )

  test.each(BACKENDS)(
    '%s: apply, check, apply and remove, again and again among foreign rules, leave these as they were',
    (backend) => {
      const script = join(import.meta.dirname, 'capture-rounds-inside.ts')
      expect(inside([process.execPath, script, backend, ROUNDS])).toEqual({ code: 0, out: '', err: '' })
    },
    600_000,
  )

  test.each(BACKENDS)('%s: after a kill in the middle, the next apply or remove makes it whole', async (backend) => {
    const before = ruleset()
    const others = new Set(machine.processes())
    for (let round = 0; round < 6; round++) {
      const child = spawn('ip', ['netns', 'exec', machine.name, LAUNCHER, 'capture', 'apply', '--backend', backend], {
        detached: true,
        stdio: 'ignore',
      })
      await sleep(100 + Math.random() * 400)
      try {
        process.kill(-child.pid!, 'SIGKILL')
      } catch {
        // It was through.
      }
      // Those that it had started as well: what one of them had begun may still be under way in the kernel.
      await machine.until('the killed have ended', () => machine.processes().every((pid) => others.has(pid)))
      if (round % 2 === 0) {
        expect(capture('apply', '--backend', backend).code).toBe(0)
        expect(capture('check', '--backend', backend)).toMatchObject({ code: 0 })
      }
      expect(capture('remove').code).toBe(0)
      expect(ruleset()).toBe(before)
    }
  })

  test.each(BACKENDS)(
    "%s, all DNS behind a stub: the stub's own queries are not captured, so there is no loop",
    async (backend) => {
      const stub = '991'
      inside(['sh', '-c', 'echo 53 > /proc/sys/net/ipv4/ip_unprivileged_port_start'])
      const server53 = "require('dgram').createSocket('udp4').bind(53, '127.0.0.53')"
      const as = ['setpriv', `--reuid=${stub}`, `--regid=${stub}`, '--clear-groups']
      const child = machine.start([...as, process.execPath, '-e', server53])
      const conf = join(machine.folder, 'stub.conf')
      writeFileSync(conf, 'nameserver 127.0.0.53\n')
      const options = ['--backend', backend, '--all-dns', '--resolv-conf', conf]
      await machine.until('the stub is there', () => capture('apply', '--dry-run', ...options).out.includes(stub))
      expect(capture('apply', ...options)).toMatchObject({ code: 0, out: expect.stringContaining(`uid ${stub}`) })
      try {
        const ask = ['dig', `@${SERVERS[0]}`, '+short', '+tries=1', 'web.mesh.test']
        expect(inside([...as, ...ask]).out.trim()).toBe(FALSE)
        expect(inside(ask).out.trim()).toBe(MESH.A)
        expect(capture('check', ...options).code).toBe(0)
      } finally {
        expect(capture('remove').code).toBe(0)
        await machine.end(child)
      }
    },
  )

  test.each(BACKENDS)('%s: a dnsmasq that has given up root is found by its socket, and exempt', async (backend) => {
    const child = startStub('127.0.0.55', 'nobody')
    const conf = join(machine.folder, 'dnsmasq.conf')
    writeFileSync(conf, `nameserver 127.0.0.55\nnameserver ${SERVERS[0]}\n`)
    await machine.until('the stub answers', () => dig('127.0.0.55', 'web.mesh.test') === FALSE)
    const uid = inside(['id', '-u', 'nobody']).out.trim()
    for (const scope of SCOPES) {
      const applied = capture('apply', '--backend', backend, ...scope, '--resolv-conf', conf)
      expect(applied).toMatchObject({ code: 0, out: expect.stringContaining(`uid ${uid}`) })
      expect(dig('127.0.0.55', 'web.mesh.test')).toBe(MESH.A)
      expect(capture('remove').code).toBe(0)
    }
    await machine.end(child)
  })

  test('a stub whose queries come back is found out and named, and asked no more', async () => {
    const child = startStub('127.0.0.54', 'root')
    const conf = join(machine.folder, 'loop.conf')
    writeFileSync(conf, 'nameserver 127.0.0.54\n')
    await machine.until('the stub answers', () => dig('127.0.0.54', 'web.mesh.test') === FALSE)
    const options = ['--all-dns', '--resolv-conf', conf]
    expect(capture('apply', ...options)).toMatchObject({
      code: 1,
      err: expect.stringContaining('the resolver at 127.0.0.54 (resolv.conf) runs as root'),
    })
    // In spite of that.
    const config = machine.writeConfig({ listen: ['127.0.0.1:15253', '[::1]:15253'], upstream: { resolvConf: conf } })
    const as = ['setpriv', `--reuid=${OWN}`, `--regid=${OWN}`, '--clear-groups']
    const looping = machine.start([...as, LAUNCHER, 'run', '--config', config])
    await machine.until('byname answers', () => dig('127.0.0.1', '-p', '15253', 'web.mesh.test') === MESH.A)
    expect(capture('apply', '--port', '15253', '--uid', OWN, ...options).code).toBe(0)
    try {
      const ask = ['dig', `@${SERVERS[0]}`, '+tries=1', '+time=10']
      await machine.until('the loop is named', () => {
        inside([...ask, `${Math.random()}.outside.test`.slice(2)])
        return machine.output.includes('upstream server 127.0.0.54:53 is a loop')
      })
      // From a port whose query was redirected to the other byname in the last half minute it still goes there: another one, then.
      const isRefused = (): boolean => inside([...ask, 'after.outside.test']).out.includes('status: SERVFAIL')
      await machine.until('other names fail at once', isRefused)
      await machine.until('mesh names are answered', () => dig(SERVERS[0], 'web.mesh.test') === MESH.A)
    } finally {
      expect(capture('remove').code).toBe(0)
      await machine.end(looping)
      await machine.end(child)
    }
  })

  test.each([
    [['--bounding-set=-net_admin'], 'nftables', 'this process lacks CAP_NET_ADMIN: run it as root'],
    [['--bounding-set=-net_admin,-net_raw'], 'iptables-nft', 'this process lacks CAP_NET_ADMIN and CAP_NET_RAW'],
    [['--bounding-set=-net_raw'], 'iptables-legacy', 'CAP_NET_RAW'],
    [[`--reuid=${OWN}`, '--clear-groups'], 'nftables', 'this process lacks CAP_NET_ADMIN'],
  ])('without rights (%j) %s is refused in one line that names what is missing', (drop, backend, message) => {
    const before = ruleset()
    for (const command of ['apply', 'check']) {
      const { code, err } = inside(['setpriv', ...drop, LAUNCHER, 'capture', command, '--backend', backend])
      expect([code, err.trim().split('\n').length]).toEqual([1, 1])
      expect(err).toContain(message)
    }
    expect(ruleset()).toBe(before)
  })

  test.each([
    ['iptables-nft', 'mangle', 'ISTIO_PRERT'],
    ['iptables-legacy', 'nat', 'ISTIO_OUTPUT_DNS'],
  ])("%s: Istio's chain in table %s is named, and nothing is applied", (kind, table, chain) => {
    const chains = ['-t', table]
    expect(inside([kind, ...chains, '-N', chain]).code).toBe(0)
    try {
      const { code, err } = capture('apply')
      expect([code, err.trim().split('\n').length]).toEqual([1, 1])
      expect(err).toContain(`(${kind}, chain ${chain} of table ${table})`)
    } finally {
      expect(inside([kind, ...chains, '-X', chain]).code).toBe(0)
    }
  })

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
