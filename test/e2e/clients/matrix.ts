/** Runs every client in every setting, and gathers what each of them saw. */
import { LAUNCHER } from '../../cli/byname-process.ts'
import { BACKENDS, CapturedNetwork, lacking, NAME_SERVER } from '../captured-network.ts'
import { buildClient, type Client, CLIENTS } from './clients.ts'
import { isRight, knotConfig, MESH, type Question, QUESTIONS, SEARCH, seenText, zoneText } from './questions.ts'

const CONTROL_PLANE = '10.97.1.2:15010'

/** How DNS is captured, and what clients read in resolv.conf. */
export interface Setting {
  backend: (typeof BACKENDS)[number]
  isAllDns: boolean
  family: keyof typeof NAME_SERVER
  isTcp: boolean
}

/** What one client made of one question. */
export interface Sighting {
  setting: Setting
  client: Client
  question: Question
  seen: readonly string[]
  isRight: boolean
}

/** Queries that clients sent to byname, and byname to the name server, in one setting. */
export interface Traffic {
  setting: Setting
  /** By client, as byname counted them. */
  queries: ReadonlyMap<Client, { udp: number; tcp: number }>
  /** byname's own over UDP: as byname counted them, and as they arrived at the name server. */
  sent: number
  arrived: number
}

/** All that was seen. */
export interface ClientsResult {
  sightings: readonly Sighting[]
  traffic: readonly Traffic[]
  /** Clients that were not asked, and why. */
  absent: readonly string[]
  problems: readonly string[]
}

/** In which way the run is cut short, and who is told how far it is. */
export interface ClientsOptions {
  isQuick: boolean
  say: (line: string) => void
}

/** Each value of each dimension once at least. */
const QUICK: readonly Setting[] = [
  { backend: 'nftables', isAllDns: false, family: 'v4', isTcp: false },
  { backend: 'iptables-nft', isAllDns: true, family: 'v6', isTcp: true },
  { backend: 'iptables-legacy', isAllDns: false, family: 'v6', isTcp: false },
]

function allSettings(): Setting[] {
  return BACKENDS.flatMap((backend) =>
    [false, true].flatMap((isAllDns) =>
      (['v4', 'v6'] as const).flatMap((family) => [false, true].map((isTcp) => ({ backend, isAllDns, family, isTcp }))),
    ),
  )
}

/** `nftables, name servers, IPv4, UDP`. */
export function settingText({ backend, isAllDns, family, isTcp }: Setting): string {
  const scope = isAllDns ? 'all DNS' : 'name servers'
  return `${backend}, ${scope}, ${family === 'v4' ? 'IPv4' : 'IPv6'}, ${isTcp ? 'TCP' : 'UDP'}`
}

/** Programs without which nothing can be tried. */
export function lackingForClients(): string[] {
  return lacking('ip', 'nft', 'iptables-nft', 'iptables-legacy', 'setpriv', 'dig', 'curl', 'knotd')
}

/** Sets the network up, asks, and takes it down again. */
export async function runClients({ isQuick, say }: ClientsOptions): Promise<ClientsResult> {
  const network = new CapturedNetwork('bnq')
  try {
    const absent: string[] = []
    const clients = CLIENTS.filter((client) => {
      const why = whyNot(client, isQuick, network.folder)
      if (why !== null) absent.push(`${client.name}: ${why}`)
      return why === null
    })
    for (const each of absent) say(`not asked: ${each}`)
    await startServers(network)
    const run = new Run(network, clients)
    for (const setting of isQuick ? QUICK : allSettings()) {
      say(settingText(setting))
      await run.ask(setting)
    }
    return { ...run.result(), absent }
  } finally {
    network.remove()
  }
}

function whyNot(client: Client, isQuick: boolean, folder: string): string | null {
  if (isQuick && client.isLong === true) return 'takes long to make: with --long'
  const lacks = lacking(...client.needs)
  if (lacks.length > 0) return `${lacks.join(', ')} not here`
  const problem = buildClient(client, folder)
  return problem === null ? null : `cannot be made: ${problem.trim()}`
}

async function startServers(network: CapturedNetwork): Promise<void> {
  network.write('root.zone', zoneText())
  const knot = network.write('knot.conf', knotConfig(network.folder, Object.values(NAME_SERVER)))
  network.start('outside', ['knotd', '-c', knot])
  // It says at which of its addresses it was reached.
  const web = `require('http').createServer((req, res) => res.end(req.socket.localAddress.replace('::ffff:', ''))).listen(9080, '::')`
  network.start('outside', [process.execPath, '-e', web])
  network.run(
    'outside',
    ['nft', '-f', '-'],
    'table inet arrived { chain input { type filter hook input priority 0; udp dport 53 counter; }; }',
  )
  for (const [name, text] of Object.entries(MESH)) network.write(`mesh/${name}`, text)
  network.start('control', [LAUNCHER, 'control-plane', '--mesh', `${network.folder}/mesh`, '--listen', CONTROL_PLANE])
  await network.until('the name server answers', () => network.dig(NAME_SERVER.v4, 'x.outside.test') === '198.18.0.1')
  const resolvConf = network.write(
    'byname-resolv.conf',
    `${nameserverLines('v4')}${nameserverLines('v6')}search ${SEARCH.join(' ')}\n`,
  )
  await network.startByname({
    identity: { namespace: 'shop' },
    mesh: { source: { xds: { address: CONTROL_PLANE } } },
    upstream: { resolvConf },
    admin: { listen: 'off' },
  })
  const full = QUESTIONS[0]!
  await network.until(
    'the table is there',
    () => network.dig('127.0.0.1', '-p', '15053', full.nameFor('')) === full.addresses[0],
  )
}

function nameserverLines(family: keyof typeof NAME_SERVER): string {
  return `nameserver ${NAME_SERVER[family]}\n`
}

/** The shortest text of an IPv6 address, which Java does not print. */
function canonical(seen: string): string {
  return /^[\da-f:]*:[\da-f:]*$/i.test(seen) ? new URL(`http://[${seen}]`).hostname.slice(1, -1) : seen
}

/** Asks, setting by setting. */
class Run {
  readonly #network: CapturedNetwork
  readonly #clients: readonly Client[]
  readonly #sightings: Sighting[] = []
  readonly #traffic: Traffic[] = []
  readonly #problems: string[] = []

  constructor(network: CapturedNetwork, clients: readonly Client[]) {
    this.#network = network
    this.#clients = clients
  }

  async ask(setting: Setting): Promise<void> {
    const network = this.#network
    const resolvConf = `${nameserverLines(setting.family)}search ${SEARCH.join(' ')}\noptions ndots:5${setting.isTcp ? ' use-vc' : ''}\n`
    network.resolvConf = resolvConf
    const file = network.write('resolv.conf', resolvConf)
    network.capture(
      'apply',
      '--backend',
      setting.backend,
      '--resolv-conf',
      file,
      ...(setting.isAllDns ? ['--all-dns'] : []),
    )
    const before = await this.#passed()
    const queries = new Map<Client, { udp: number; tcp: number }>()
    for (const client of this.#clients) {
      const [udp, tcp] = [await this.#queries('udp'), await this.#queries('tcp')]
      this.#askOne(setting, client)
      queries.set(client, { udp: (await this.#queries('udp')) - udp, tcp: (await this.#queries('tcp')) - tcp })
    }
    const after = await this.#passed()
    const [sent, arrived] = [after.sent - before.sent, after.arrived - before.arrived]
    const traffic = { setting, queries, sent, arrived }
    this.#traffic.push(traffic)
    if (traffic.sent !== traffic.arrived)
      this.#problems.push(
        `${settingText(setting)}: byname sent ${traffic.sent} queries, and ${traffic.arrived} arrived`,
      )
    network.capture('remove')
  }

  result(): Omit<ClientsResult, 'absent'> {
    return { sightings: this.#sightings, traffic: this.#traffic, problems: this.#problems }
  }

  #askOne(setting: Setting, client: Client): void {
    const tag = `t${this.#traffic.length}-${this.#clients.indexOf(client)}`
    const names = QUESTIONS.map((question) => question.nameFor(tag))
    const transport = setting.isTcp ? '+tcp' : '+notcp'
    const command = ['env', `DIG_TRANSPORT=${transport}`, ...client.command(this.#network.folder), ...names]
    const { out, err } = this.#network.run('machine', command)
    const lines = new Map(out.split('\n').map((line) => [line.split(' ')[0]!, line.split(' ').slice(1)]))
    for (const [at, question] of QUESTIONS.entries()) {
      const seen = [...new Set((lines.get(names[at]!) ?? []).filter(Boolean).map(canonical))]
      const right = isRight(question, client, seen)
      this.#sightings.push({ setting, client, question, seen, isRight: right })
      if (!right)
        this.#problems.push(
          `${settingText(setting)}: ${client.name}: ${names[at]}: ${seenText(question, seen)}${seen.length === 0 ? ` ${err}` : ''}`,
        )
    }
  }

  async #queries(protocol: string): Promise<number> {
    return await this.#network.metric('byname_dns_requests_total', `proto="${protocol}"`)
  }

  /** Both counts of one moment: byname's probes for loops may leave at any time. */
  async #passed(): Promise<{ sent: number; arrived: number }> {
    for (;;) {
      const arrived = this.#arrived()
      const sent = await this.#network.metric('byname_upstream_requests_total', 'proto="udp"')
      if (this.#arrived() === arrived) return { sent, arrived }
    }
  }

  #arrived(): number {
    const { out } = this.#network.run('outside', ['nft', 'list', 'table', 'inet', 'arrived'])
    return Number(/packets (\d+)/.exec(out)![1])
  }
}
