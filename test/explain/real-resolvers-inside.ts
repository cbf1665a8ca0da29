/**
 * Looks names up with real C libraries, in the network and mount namespaces of this process, whose /etc/resolv.conf is this
 * test's: `real-resolvers-inside.ts FOLDER`. Reads the cases from FOLDER/cases.json, prints what each library asked and got.
 */
import { execFile } from 'node:child_process'
import { createSocket } from 'node:dgram'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import dnsPacket from 'dns-packet'
import type { Outcome } from '../../src/explain/resolver-lookup.ts'
import type { LookupCase, Seen } from './real-resolvers.test.ts'

const folder = process.argv[2]!
const cases: LookupCase[] = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'))
const RCODES: Partial<Record<Outcome, number>> = { nxdomain: 3, servfail: 2, refused: 5 }

let zone: LookupCase['zone'] = {}
let asked: string[] = []

const socket = createSocket('udp4')
socket.on('message', (message, { port, address }) => {
  const query = dnsPacket.decode(message)
  const { name, type } = query.questions![0]!
  asked.push(`${name}.`)
  const [a, aaaa] = zone[`${name}.`] ?? ['nxdomain', 'nxdomain']
  const outcome = type === 'A' ? a : aaaa
  const answers =
    type === 'A' ? { type, name, data: '192.0.2.1' } : { type: 'AAAA' as const, name, data: '2001:db8::1' }
  const reply = dnsPacket.encode({
    type: 'response',
    id: query.id!,
    flags: dnsPacket.RECURSION_DESIRED | dnsPacket.RECURSION_AVAILABLE | (RCODES[outcome] ?? 0),
    questions: query.questions!,
    answers: outcome === 'addresses' ? [answers] : [],
  })
  socket.send(reply, port, address)
})
await new Promise<void>((resolve) => socket.bind(53, '127.0.0.1', resolve))

const seen: Seen[] = []
for (const { name, ndots, search, zone: answers } of cases) {
  zone = answers
  const list = search.length === 0 ? '' : `search ${search.join(' ')}\n`
  writeFileSync('/etc/resolv.conf', `nameserver 127.0.0.1\n${list}options ndots:${ndots} timeout:2 attempts:1\n`)
  for (const libc of ['glibc', 'musl'] as const) {
    asked = []
    const result = await promisify(execFile)(join(folder, libc), [name]).then(({ stdout }) => stdout.trim())
    seen.push({ libc, asked: [...new Set(asked)], result })
  }
}
socket.close()
process.stdout.write(JSON.stringify(seen))
