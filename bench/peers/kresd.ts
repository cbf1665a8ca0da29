import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressAt, nameAt } from '../load/names.ts'
import { findProgram, programVersion, type Peer } from './peer.ts'

/** Knot Resolver as a stub without validation, with a hosts file. */
export const kresd: Peer = {
  id: 'kresd',
  title: 'Knot Resolver',
  install: 'apt-get install knot-resolver',
  abilities: ['mesh', 'table', 'cache', 'forward', 'tcp'],
  version: () => programVersion('kresd', ['--version']),
  command: ({ folder, port, hosts, upstreamPort }) => {
    const table = join(folder, 'hosts')
    const file = join(folder, 'kresd.conf')
    const work = join(folder, 'work')
    mkdirSync(work)
    writeFileSync(table, Array.from({ length: hosts }, (_, n) => `${addressAt(n)} ${nameAt(n)}\n`).join(''))
    writeFileSync(
      file,
      `log_level('crit')
net.listen('127.0.0.1', ${port}, { kind = 'dns' })
net.ipv6 = false
net.tcp_pipeline(1000)
trust_anchors.remove('.')
modules.unload('ta_update')
modules.unload('ta_signal_query')
modules.unload('ta_sentinel')
modules.unload('priming')
modules.unload('detect_time_skew')
modules.unload('detect_time_jump')
modules.load('hints > iterate')
hints.ttl(30)
hints.add_hosts('${table}')
cache.size = 200 * MB
policy.add(policy.all(policy.STUB('127.0.0.1@${upstreamPort}')))
`,
    )
    return { file: findProgram('kresd')!, args: ['-n', '-q', '-c', file, work] }
  },
}
