import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressAt, nameAt } from '../load/names.ts'
import { findProgram, programVersion, type Peer } from './peer.ts'

/** Builds differ in what is compiled in: one without `forward` and `cache` is measured with its own names alone. */
const PLUGINS: ReadonlySet<string> = new Set(pluginsOf())
const bindLine: string = PLUGINS.has('bind') ? '  bind 127.0.0.1\n' : ''

/** CoreDNS with the plug-ins that NodeLocal DNSCache uses, hosts in place of Kubernetes, from PATH. Go picks its threads. */
export const coredns: Peer = {
  id: 'coredns',
  title: 'CoreDNS',
  install: 'coredns from https://github.com/coredns/coredns/releases into PATH',
  abilities:
    PLUGINS.has('forward') && PLUGINS.has('cache')
      ? ['mesh', 'table', 'cache', 'forward', 'tcp']
      : ['mesh', 'table', 'tcp'],
  version: () => programVersion('coredns', ['-version']),
  command: ({ folder, port, hosts, upstreamPort }) => {
    const table = join(folder, 'hosts')
    const file = join(folder, 'Corefile')
    writeFileSync(table, Array.from({ length: hosts }, (_, n) => `${addressAt(n)} ${nameAt(n)}\n`).join(''))
    const zones = `svc.cluster.local:${port} {
${bindLine}  hosts ${table} {
    ttl 30
    no_reverse
    reload 0
  }
}
`
    const others = `.:${port} {
${bindLine}  cache 3600 {
    success 200000
    denial 200000
  }
  forward . 127.0.0.1:${upstreamPort} {
    max_concurrent 10000
  }
}
`
    writeFileSync(file, coredns.abilities.includes('forward') ? zones + others : zones)
    return { file: findProgram('coredns')!, args: ['-conf', file, '-quiet'] }
  },
}

function pluginsOf(): string[] {
  const file = findProgram('coredns')
  return file === undefined
    ? []
    : spawnSync(file, ['-plugins'], { encoding: 'utf8' }).stdout.replaceAll('dns.', '').split(/\s+/)
}
