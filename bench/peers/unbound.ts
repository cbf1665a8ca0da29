import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { addressAt, nameAt } from '../load/names.ts'
import { findProgram, programVersion, type Peer } from './peer.ts'

/** unbound as a forwarder without validation, its buffers and caches sized as its documentation advises for load. */
export const unbound: Peer = {
  id: 'unbound',
  title: 'unbound',
  install: 'apt-get install unbound',
  abilities: ['mesh', 'table', 'cache', 'forward', 'tcp', 'workers'],
  version: () => programVersion('unbound', ['-V']),
  command: ({ folder, port, hosts, upstreamPort, workers }) => {
    const data = Array.from({ length: hosts }, (_, n) => `  local-data: "${nameAt(n)}. 30 IN A ${addressAt(n)}"`)
    const file = join(folder, 'unbound.conf')
    writeFileSync(
      file,
      `server:
  interface: 127.0.0.1@${port}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "${folder}"
  pidfile: ""
  use-syslog: no
  verbosity: 0
  num-threads: ${workers}
  so-reuseport: yes
  module-config: "iterator"
  do-ip6: no
  so-rcvbuf: 4m
  so-sndbuf: 4m
  msg-cache-size: 64m
  rrset-cache-size: 128m
  outgoing-range: 8192
  num-queries-per-thread: 4096
  incoming-num-tcp: 100
  minimal-responses: yes
  do-not-query-localhost: no
  local-zone: "svc.cluster.local." static
${data.join('\n')}
remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@${upstreamPort}
`,
    )
    return { file: findProgram('unbound')!, args: ['-d', '-c', file] }
  },
}
