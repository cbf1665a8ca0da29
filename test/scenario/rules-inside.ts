/**
 * Looks names up with real C libraries through a daemon with rules, in the network and mount namespaces of this process, whose
 * /etc/resolv.conf is this test's: `rules-inside.ts FOLDER`. Prints what was found, by library and rules.
 */
import { execFile } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import dnsPacket, { type Answer } from 'dns-packet'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import type { LookedUp } from './rules-libc.test.ts'

const SEARCH = 'search default.svc.cluster.local svc.cluster.local cluster.local\n'
const SERVER = '127.0.0.2'
const NXDOMAIN = 3
const SOA = { mname: 'ns', rname: 'root', serial: 1, refresh: 7200, retry: 1800, expire: 86_400, minimum: 30 }

const NAMES = {
  allowed: ['api.good.example', 'good.example', 'old.example'],
  denied: ['ads.example', 'x.ads.example', 'other.test', 'a.b.c.d.e.f.other.test'],
}

/** What rules say of the names above, and whether the second group is denied to all of them. */
const RULES: Record<string, object> = {
  nxdomain: { rules: deny('nxdomain') },
  nodata: { rules: deny('nodata') },
  'egress nxdomain': { rules: allow(), egress: { default: 'deny' } },
  'egress nodata': { rules: allow(), egress: { default: 'deny', deny: 'nodata' } },
}

function deny(action: string): object[] {
  return [{ names: ['.ads.example', '.other.test'], action }, ...allow()]
}

function allow(): object[] {
  return [
    { name: 'old.example', rewrite: 'new.good.example' },
    { name: '.good.example', action: 'allow' },
  ]
}

/** Every name outside the cluster has addresses but `old.example`; below cluster.local there is nothing. */
async function startServer(): Promise<Socket> {
  const socket = createSocket('udp4')
  socket.on('message', (message, { port, address }) => {
    const query = dnsPacket.decode(message)
    const { name, type } = query.questions![0]!
    const isThere = !/(?:cluster\.local|^old\.example)$/i.test(name)
    const addresses: Answer[] =
      type === 'A'
        ? [{ type, name, ttl: 300, data: '192.0.2.1' }]
        : [{ type: 'AAAA', name, ttl: 300, data: '2001:db8::1' }]
    const reply = dnsPacket.encode({
      type: 'response',
      id: query.id!,
      flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (isThere ? 0 : NXDOMAIN),
      questions: query.questions!,
      answers: isThere ? addresses : [],
      authorities: isThere ? [] : [{ type: 'SOA', name: 'example', ttl: 30, data: SOA }],
    })
    socket.send(reply, port, address)
  })
  socket.bind(53, SERVER)
  await once(socket, 'listening')
  return socket
}

async function lookUp(folder: string, libc: string, names: readonly string[]): Promise<number> {
  const run = promisify(execFile)(join(folder, libc))
  run.child.stdin!.end(`${names.join('\n')}\n`)
  return Number.parseInt((await run).stdout, 10)
}

async function results(folder: string): Promise<LookedUp[]> {
  const server = await startServer()
  const seen: LookedUp[] = []
  for (const [rules, config] of Object.entries(RULES)) {
    const daemon = await DaemonProcess.start({
      config: { listen: ['127.0.0.1:53'], ...config },
      resolvConf: `nameserver ${SERVER}\n${SEARCH}`,
    })
    writeFileSync('/etc/resolv.conf', `nameserver 127.0.0.1\n${SEARCH}options ndots:5 timeout:30\n`)
    for (const libc of ['glibc', 'musl'] as const) {
      const beganAtMs = performance.now()
      const allowed = await lookUp(folder, libc, NAMES.allowed)
      const denied = await lookUp(folder, libc, NAMES.denied)
      seen.push({ rules, libc, allowed, denied, ms: performance.now() - beganAtMs })
    }
    await daemon.stop()
  }
  server.close()
  return seen
}

process.stdout.write(JSON.stringify(await results(process.argv[2]!)))
