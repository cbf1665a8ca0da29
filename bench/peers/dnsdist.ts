import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { findProgram, programVersion, type Peer } from './peer.ts'

/** dnsdist with its packet cache. It has no table of names: no mesh hits. */
export const dnsdist: Peer = dnsdistPeer('dnsdist', 'dnsdist, packet cache', ['cache', 'forward', 'tcp'], true)

/** dnsdist that only passes on: the least that a forwarder can do. */
export const dnsdistWithoutCache: Peer = dnsdistPeer('dnsdist-nocache', 'dnsdist, no cache', ['forward'], false)

function dnsdistPeer(id: string, title: string, abilities: Peer['abilities'], caches: boolean): Peer {
  return {
    id,
    title,
    install: 'apt-get install dnsdist',
    abilities,
    version: () => programVersion('dnsdist', ['--version']),
    command: ({ folder, port, upstreamPort }) => {
      const file = join(folder, 'dnsdist.conf')
      const cache = caches ? 'getPool(""):setCache(newPacketCache(200000, {maxTTL=86400}))' : ''
      writeFileSync(
        file,
        `setSecurityPollSuffix("")
setLocal("127.0.0.1:${port}")
newServer({address="127.0.0.1:${upstreamPort}", name="upstream"})
getServer(0):setUp()
setUDPTimeout(2)
${cache}
`,
      )
      return { file: findProgram('dnsdist')!, args: ['-C', file, '--supervised', '--disable-syslog'] }
    },
  }
}
