/**
 * Looks a thousand outside names up with real C libraries, through a daemon, in the network and mount namespaces of this
 * process, whose /etc/resolv.conf is this test's: `search-storms-inside.ts FOLDER`. Prints how many questions servers were
 * asked, by library and setting, and how many round trips the first look-up took.
 */
import { execFile } from 'node:child_process'
import { createSocket, type Socket } from 'node:dgram'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import dnsPacket, { type Answer } from 'dns-packet'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import type { StormFigure } from './search-storms.test.ts'

const NAMES = 1000
const DOMAINS = ['com', 'org', 'net', 'io']
const SEARCH = 'search default.svc.cluster.local svc.cluster.local cluster.local\n'
const SERVER = '127.0.0.2'
const NXDOMAIN = 3
/** The server takes so long until the first name is found: later ones would take minutes. */
const ROUND_TRIP_MS = 200

/** As CoreDNS answers in a cluster: nothing below cluster.local but what this test does not ask for, all else has addresses. */
/** `onFirst` is given the round trip in which each question of the first look-up is asked, from 1. */
async function startServer(onQuestion: () => void, onFirst: (roundTrip: number) => void): Promise<Socket> {
  const socket = createSocket('udp4')
  let isFarAway = false
  /** Replies to what was asked in the last one of these have been sent. */
  let roundTrips = 0
  const data = {
    mname: 'ns.dns.cluster.local',
    rname: 'hostmaster.cluster.local',
    serial: 1,
    refresh: 7200,
    retry: 1800,
    expire: 86_400,
    minimum: 30,
  }
  const soa: Answer = { type: 'SOA', name: 'cluster.local', ttl: 30, data }
  socket.on('message', (message, { port, address }) => {
    const query = dnsPacket.decode(message)
    const { name, type } = query.questions![0]!
    if (type === 'A' || type === 'AAAA') onQuestion()
    const isInside = name.toLowerCase().endsWith('cluster.local')
    const answer: Answer =
      type === 'A' ? { type, name, ttl: 300, data: '192.0.2.1' } : { type: 'AAAA', name, ttl: 300, data: '2001:db8::1' }
    const reply = dnsPacket.encode({
      type: 'response',
      id: query.id!,
      flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (isInside ? NXDOMAIN : 0),
      questions: query.questions!,
      answers: isInside ? [] : [answer],
      authorities: isInside ? [soa] : [],
    })
    if (/^host-[1-9]/i.test(name)) isFarAway = false
    else if (/^host-0\./i.test(name) && !isFarAway) {
      isFarAway = true
      roundTrips = 0
    }
    if (!isFarAway) return socket.send(reply, port, address)
    const roundTrip = roundTrips + 1
    onFirst(roundTrip)
    setTimeout(() => {
      roundTrips = Math.max(roundTrips, roundTrip)
      socket.send(reply, port, address)
    }, ROUND_TRIP_MS)
  })
  socket.bind(53, SERVER)
  await once(socket, 'listening')
  return socket
}

async function figures(folder: string): Promise<StormFigure[]> {
  let questions = 0
  let firstRoundTrips = 0
  const server = await startServer(
    () => void questions++,
    (roundTrip) => (firstRoundTrips = Math.max(firstRoundTrips, roundTrip)),
  )
  const seen: StormFigure[] = []
  const names = Array.from({ length: NAMES }, (_, k) => `host-${k}.site-${k % 50}.${DOMAINS[k % DOMAINS.length]}`)
  for (const storms of ['off', 'auto'] as const) {
    for (const libc of ['glibc', 'musl'] as const) {
      const daemon = await DaemonProcess.start({
        config: { listen: ['127.0.0.1:53'], search: { storms } },
        resolvConf: `nameserver ${SERVER}\n${SEARCH}`,
      })
      writeFileSync('/etc/resolv.conf', `nameserver 127.0.0.1\n${SEARCH}options ndots:5\n`)
      questions = 0
      firstRoundTrips = 0
      const run = promisify(execFile)(join(folder, libc))
      run.child.stdin!.end(`${names.join('\n')}\n`)
      const { stdout } = await run
      seen.push({ libc, storms, found: Number.parseInt(stdout, 10), questions, firstRoundTrips })
      await daemon.stop()
    }
  }
  server.close()
  return seen
}

process.stdout.write(JSON.stringify(await figures(process.argv[2]!)))
