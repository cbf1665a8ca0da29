import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressAt, nameAt } from '../load/names.ts'
import { findProgram, programVersion, type Peer } from './peer.ts'

/** CoreDNS with the plug-ins that NodeLocal DNSCache uses, hosts in place of Kubernetes, from PATH. Go picks its threads. */
export const coredns: Peer = {
  id: 'coredns',
  title: 'CoreDNS',
  install: 'coredns from https://github.com/coredns/coredns/releases into PATH',
  abilities: ['mesh', 'table', 'cache', 'forward', 'tcp'],
  version: () => programVersion('coredns', ['-version']),
  command: ({ folder, port, hosts, upstreamPort }) => {
    const table = join(folder, 'hosts')
    const file = join(folder, 'Corefile')
    writeFileSync(table, Array.from({ length: hosts }, (_, n) => `${addressAt(n)} ${nameAt(n)}\n`).join(''))
    const zones = `svc.cluster.local:${port} {
  bind 127.0.0.1
  hosts ${table} {
    ttl 30
    no_reverse
    reload 0
  }
}
.:${port} {
  bind 127.0.0.1
  cache 3600 {
    success 200000
    denial 200000
  }
  forward . 127.0.0.1:${upstreamPort} {
    max_concurrent 10000
  }
}
`
    writeFileSync(file, zones)
    return { file: findProgram('coredns')!, args: ['-conf', file, '-quiet'] }
  },
}
