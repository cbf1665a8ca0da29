/** This machine gets and loses addresses while it asks through the redirect: whoever comes that way is this machine. */
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isLong } from '../long.ts'
import { askWhile, MESH, OUTSIDE, outcomesOf, prepareLoad } from './captured-load.ts'
import { BACKENDS, CapturedNetwork, lacking, NAME_SERVER } from './captured-network.ts'

const RATE = 300
/**
 * An address stays so long after it was last used: a query whose answer from upstream went to an address of byname's own that is gone is
 * answered by the next attempt, up to two seconds later.
 */
const KEPT_MS = 2000

/** After it byname has replied to all that was asked before: it takes queries in their order, and may have had no processor. */
async function untilReplied(network: CapturedNetwork, server: string): Promise<void> {
  await sleep(KEPT_MS)
  for (const transport of ['+notcp', '+tcp'])
    await network.until('byname answers', () => network.dig(server, transport, 'web.mesh.test') === '10.96.0.1')
}
const lacks = lacking('ip', 'nft', 'iptables-nft', 'iptables-legacy', 'setpriv', 'dig')

/** What happens to the machine's addresses. Whoever has lost its own address gets no reply: sockets that are connected. */
interface Change {
  about: string
  server: string
  losesAddress: boolean
  happen: (network: CapturedNetwork, pause: () => Promise<void>) => Promise<void>
}

const CHANGES: readonly Change[] = [
  {
    about: 'a lease for another address',
    server: NAME_SERVER.v4,
    losesAddress: true,
    happen: async (network, pause) => {
      for (const [from, to] of [
        ['10.97.0.1', '10.97.0.77'],
        ['10.97.0.77', '10.97.0.1'],
      ] as const) {
        network.ip('machine', 'addr', 'add', `${to}/24`, 'dev', 'eth0')
        network.ip('machine', 'route', 'replace', '10.97.0.0/24', 'dev', 'eth0', 'src', to)
        await pause()
        network.ip('machine', 'addr', 'del', `${from}/24`, 'dev', 'eth0')
        await pause()
      }
    },
  },
  {
    about: 'privacy addresses',
    server: NAME_SERVER.v6,
    losesAddress: true,
    happen: async (network, pause) => {
      for (const [from, to] of [
        ['fd97::1', 'fd97::a1'],
        ['fd97::a1', 'fd97::1'],
      ] as const) {
        network.ip('machine', 'addr', 'add', `${to}/64`, 'dev', 'eth0', 'nodad')
        network.ip('machine', 'addr', 'change', `${from}/64`, 'dev', 'eth0', 'preferred_lft', '0')
        await pause()
        network.ip('machine', 'addr', 'del', `${from}/64`, 'dev', 'eth0')
        await pause()
      }
    },
  },
  {
    about: 'a VPN that comes and goes',
    server: NAME_SERVER.v4,
    losesAddress: false,
    happen: async (network, pause) => {
      for (const number of ['5', '9']) {
        network.join('outside', `vpn${number}`, [`10.200.0.${number}/30`], [`10.200.0.${Number(number) + 1}/30`])
        network.ip('machine', 'route', 'add', `${NAME_SERVER.v4}/32`, 'dev', `vpn${number}`)
        await pause()
        network.ip('machine', 'route', 'del', `${NAME_SERVER.v4}/32`, 'dev', `vpn${number}`)
        await pause()
        network.ip('machine', 'link', 'del', `vpn${number}`)
        await pause()
      }
    },
  },
]

describe.skipIf(lacks.length > 0)(
  `addresses change under captured load${lacks.length > 0 ? `: ${lacks.join(', ')} not here` : ''}`,
  () => {
    let network: CapturedNetwork

    beforeAll(async () => {
      network = new CapturedNetwork('bna')
      // As systemd has it: the second address of a network does not go with the first.
      network.run('machine', ['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/conf/all/promote_secondaries'])
      await network.startByname(await prepareLoad(network))
    })
    afterAll(() => network?.remove())

    test.each(
      CHANGES.flatMap((change) => (isLong ? BACKENDS : ['nftables']).map((backend) => ({ ...change, backend }))),
    )('$about ($backend): every query is answered', async ({ backend, server, losesAddress, happen }) => {
      network.capture('apply', '--backend', backend)
      const report = await askWhile(network, server, RATE, () => happen(network, () => untilReplied(network, server)))
      expect(outcomesOf(report, losesAddress ? 'connected' : '')).toEqual({ outcomes: [MESH, OUTSIDE], errors: [] })
      network.capture('remove')
    })
  },
)
