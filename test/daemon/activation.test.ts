/** Sockets that the service manager opened and keeps: which are taken over, and that a restart loses nothing. */
import { writeFileSync } from 'node:fs'
import { afterEach, describe, expect, it } from 'vitest'
import { placeSockets, takePassed } from '../../src/daemon/activation.ts'
import { loadConfig } from '../../src/config/load.ts'
import { AF_INET6, type SocketDescription } from '../../src/os/syscalls.ts'
import { socketAddress } from '../../src/os/socket-address.ts'
import { FakeSyscalls } from '../worker/fake-syscalls.ts'
import { freePort } from '../free-port.ts'
import { sys } from '../worker/data-plane.ts'
import { askTcp, TcpClient, UdpClient } from '../worker/dns-client.ts'
import { Activator, type UnitSocket } from './service-manager-double.ts'
import { SteadyLoad } from './steady-load.ts'

const take = (env: Record<string, string>): [unknown, string | null, object] => {
  const given = { ...env }
  const { sockets, problem } = takePassed(given, 7)
  return [sockets, problem, given]
}

describe('what the environment says of sockets', () => {
  it.each([
    ['none', {}, []],
    ['no sockets', { LISTEN_PID: '7', LISTEN_FDS: '0' }, []],
    [
      'two with names, one of them empty',
      { LISTEN_PID: '7', LISTEN_FDS: '2', LISTEN_FDNAMES: 'byname.socket:', LISTEN_PIDFDID: '9' },
      [
        { fd: 3, name: 'byname.socket' },
        { fd: 4, name: '' },
      ],
    ],
    [
      'as many as may be',
      { LISTEN_PID: '7', LISTEN_FDS: '1024' },
      Array.from({ length: 1024 }, (_, k) => ({ fd: 3 + k, name: '' })),
    ],
    ['more than there are names', { LISTEN_PID: '7', LISTEN_FDS: '1' }, [{ fd: 3, name: '' }]],
  ])('%s', (_, env, sockets) => expect(take(env)).toEqual([sockets, null, {}]))

  it.each([
    ['those of another process', { LISTEN_PID: '8', LISTEN_FDS: '1' }, 'LISTEN_FDS is for process 8, and this is 7'],
    ['those of nobody', { LISTEN_FDS: '1' }, 'LISTEN_FDS is for process (none named)'],
    ['nonsense', { LISTEN_PID: '7', LISTEN_FDS: '-1' }, 'LISTEN_FDS=-1 is no number'],
    ['too many', { LISTEN_PID: '7', LISTEN_FDS: '1025' }, 'LISTEN_FDS=1025 is no number'],
    ['no number', { LISTEN_PID: '7' }, 'LISTEN_FDS= is no number'],
  ])('%s are not used, in one line', (_, env, problem) => {
    const [sockets, said, left] = take(env)
    expect([sockets, left]).toEqual([[], {}])
    expect(said).toContain(problem)
  })
})

const socket = (kind: SocketDescription['kind'], address: string, port: number, isDualStack = false) => {
  const { family, bytes } = socketAddress(address, port)
  return { kind, family, name: new Uint8Array(bytes), isDualStack }
}

describe('the places of sockets', () => {
  const { config } = loadConfig({
    env: {},
    flags: [
      { path: ['listen'], value: ['127.0.0.1:53', '[::]:53'], from: 'test' },
      { path: ['metrics', 'listen'], value: '127.0.0.1:9153', from: 'test' },
      { path: ['admin', 'listen'], value: 'off', from: 'test' },
    ],
  })
  /** Places of these, and the descriptors that were closed. */
  function placed(each: readonly (readonly [SocketDescription | null, (string | undefined)?])[]): {
    taken: string[]
    problems: string[]
    closed: number[]
  } {
    const fake = new FakeSyscalls()
    const found = each.map(([description]) => description)
    const calls = Object.assign(fake, { describe: (fd: number) => found[fd - 3] ?? null })
    const passed = each.map(([, name = 'byname.socket'], k) => ({ fd: 3 + k, name }))
    const { listeners, endpoints, problems } = placeSockets(passed, config, calls)
    const taken = [
      ...listeners.map(({ address, tcpFd, udpFds }) => `${address} tcp ${tcpFd} udp ${udpFds.join(' ')}`),
      ...endpoints.map(({ name, fd }) => `${name} ${fd}`),
    ]
    return { taken, problems, closed: fake.closed }
  }

  it('are found by address, and the endpoints by name', () => {
    expect(
      placed([
        [socket('listener', '127.0.0.1', 53)],
        [socket('datagrams', '127.0.0.1', 53)],
        [socket('datagrams', '::', 53), 'dns'],
        [socket('listener', '127.0.0.1', 9153), 'metrics'],
      ]),
    ).toEqual({ taken: ['127.0.0.1 tcp 3 udp 4', ':: tcp -1 udp 5', 'metrics 6'], problems: [], closed: [] })
  })

  it('several datagram sockets of one address are one listener', () => {
    const each: [SocketDescription][] = [[socket('datagrams', '::', 53)], [socket('datagrams', '::', 53)]]
    expect(placed(each)).toEqual({ taken: [':: tcp -1 udp 3 4'], problems: [], closed: [] })
  })

  it.each([
    [
      'of another address',
      socket('datagrams', '127.0.0.2', 53),
      undefined,
      'socket udp 127.0.0.2:53 of the service manager (byname.socket) is no address of listen',
    ],
    [
      'of another port',
      socket('listener', '::', 54),
      undefined,
      'socket tcp [::]:54 of the service manager (byname.socket) is no address of listen',
    ],
    ['of both families', socket('datagrams', '::', 53, true), undefined, 'BindIPv6Only=ipv6-only'],
    ['that are connections', socket('connection', '127.0.0.1', 53), undefined, 'set Accept=no'],
    [
      'for an endpoint elsewhere',
      socket('listener', '127.0.0.1', 9154),
      'metrics',
      'is not where metrics.listen is (127.0.0.1:9153)',
    ],
    [
      'for an endpoint that is off',
      socket('listener', '127.0.0.1', 15054),
      'admin',
      'is not where admin.listen is (off)',
    ],
    ['of datagrams for an endpoint', socket('datagrams', '127.0.0.1', 9153), 'metrics', 'set ListenStream='],
    ['without a name', socket('datagrams', '127.0.0.2', 53), '', '(descriptor 3)'],
  ])('those %s get one line, and are closed', (_, description, name, line) => {
    const { taken, problems, closed } = placed([[description, name]])
    expect([taken, closed]).toEqual([[], [3]])
    expect(problems).toEqual([expect.stringContaining(line)])
  })

  it('the second listener of one address gets a line', () => {
    const each: [SocketDescription][] = [[socket('listener', '::', 53)], [socket('listener', '::', 53)]]
    expect(placed(each)).toMatchObject({ closed: [4], problems: [expect.stringContaining('is the second one there')] })
  })

  it('the second one for an endpoint gets a line', () => {
    const metrics = [socket('listener', '127.0.0.1', 9153), 'metrics'] as const
    expect(placed([metrics, metrics])).toEqual({
      taken: ['metrics 3'],
      problems: [expect.stringContaining('is the second one of its name; it is not used')],
      closed: [4],
    })
  })

  it('what is no socket of IP is left open: it may be anything', () => {
    const { problems, closed } = placed([[null, 'pipe']])
    expect(problems).toEqual(['descriptor 3 of the service manager (pipe) is no socket of UDP or TCP over IP'])
    expect(closed).toEqual([])
  })
})

describe('what a socket is', () => {
  it.each(['127.0.0.1', '::1'])('is seen by its descriptor (%s)', (address) => {
    const { family, bytes } = socketAddress(address, 0)
    const udp = sys.openDatagram(family, bytes, { reusePort: false, packetInfo: false, bufferBytes: 0 })
    const tcp = sys.openListener(family, bytes, 8)
    const { bytes: name } = socketAddress(address, sys.boundPort(udp))
    expect(sys.describe(udp)).toEqual({ kind: 'datagrams', family, name: new Uint8Array(name), isDualStack: false })
    expect(sys.describe(tcp)).toMatchObject({ kind: 'listener', family })
    expect(sys.describe(sys.eventfd())).toBeNull()
    for (const fd of [udp, tcp]) sys.close(fd)
    expect(sys.describe(udp)).toBeNull()
    expect(family === AF_INET6).toBe(address === '::1')
  })
})

const TABLE = { table: { 'web.example': { ips: ['10.0.0.1'] } } }

describe('a service with sockets of the service manager', () => {
  let activator: Activator | null = null

  afterEach(async () => {
    await activator?.close()
    activator = null
  })

  /** A service on loopback whose sockets are kept; nothing but the port is chosen here. */
  async function activate(
    change: {
      port?: number
      sockets?: UnitSocket[]
      driver?: string
      workers?: number
      env?: Record<string, string>
    } = {},
  ): Promise<{ kept: Activator; port: number; config: object }> {
    const port = change.port ?? (await freePort())
    const both = (['udp', 'tcp'] as const).map((kind) => ({ kind, address: '127.0.0.1', port }))
    const kept = new Activator(change.sockets ?? both)
    activator = kept
    const { driver = 'auto', workers = 1 } = change
    const table = `${kept.folder}/table.json`
    const config = {
      listen: [`127.0.0.1:${port}`],
      driver,
      workers,
      mesh: { source: { table } },
      upstream: { servers: ['192.0.2.1'] },
      metrics: { listen: 'off' },
      admin: { listen: 'off' },
      log: { format: 'json' },
    }
    writeFileSync(table, JSON.stringify(TABLE))
    await kept.start(config, change.env)
    return { kept, port, config }
  }

  it.each([
    ['batch', 1, {}],
    ['batch', 3, {}],
    ['dgram', 2, {}],
    // Where somebody chose flags of his own the launcher cannot replace itself by a process with others.
    ['batch', 1, { NODE_OPTIONS: '--no-warnings' }],
  ])('answers by them over UDP and TCP (%s, %i workers, %o)', async (driver, workers, env) => {
    const { kept, port } = await activate({ driver, workers, env })
    expect(kept.log).not.toMatch(/"level":"(warn|error)"/)
    const server = { address: '127.0.0.1', port }
    const client = await UdpClient.open()
    for (let n = 0; n < 8; n++) expect((await client.ask(server, 'web.example')).packet.answers).toHaveLength(1)
    client.close()
    expect((await askTcp(server, 'web.example', 'A')).answers).toHaveLength(1)
    expect(await kept.stop()).toBe(0)
  })

  it('opens what is missing, and says what is of no use', async () => {
    const port = await freePort()
    const other = await freePort()
    const sockets: UnitSocket[] = [
      { kind: 'udp', address: '127.0.0.1', port },
      { kind: 'tcp', address: '127.0.0.1', port: other },
      { kind: 'tcp', address: '127.0.0.1', port: await freePort(), name: 'metrics' },
    ]
    const { kept } = await activate({ port, sockets })
    expect((await askTcp({ address: '127.0.0.1', port }, 'web.example', 'A')).answers).toHaveLength(1)
    expect(kept.log).toContain(
      `socket tcp 127.0.0.1:${other} of the service manager (byname.socket) is no address of listen, and nobody answers there`,
    )
    expect(kept.log).toContain('is not where metrics.listen is (off)')
  })

  it.each(['batch', 'dgram'])(
    'loses no query at 3,000 a second while it is stopped and started again, over UDP and TCP (%s)',
    async (driver) => {
      const { kept, port, config } = await activate({ driver })
      const load = new SteadyLoad(port, RATE)
      const connections = new Connections(port)
      for (let n = 0; n < RESTARTS; n++) {
        await load.answers(RATE / 2)
        expect(await kept.stop()).toBe(0)
        await kept.start(config)
      }
      await load.answers(RATE)
      expect(await load.stop()).toBe(0)
      expect(load.answered).toBeGreaterThan(RATE * RESTARTS)
      expect(await connections.stop()).toEqual([])
      expect(connections.answered).toBeGreaterThan(RESTARTS)
    },
  )

  it('and none on a handover to a new process, nor on the restart after it', async () => {
    const { kept, port, config } = await activate({ workers: 2 })
    const load = new SteadyLoad(port, RATE)
    await load.answers(RATE / 2)
    process.kill(kept.pid, 'SIGUSR2')
    const successor = Number((await kept.logged('handed over'))['pid'])
    await load.answers(RATE / 2)
    process.kill(successor, 'SIGTERM')
    await kept.logged('byname has stopped', 2)
    await kept.start(config)
    await load.answers(RATE / 2)
    expect(await load.stop()).toBe(0)
  })
})

/** Questions a second, and how often the service is started again under them. */
const RATE = 3000
const RESTARTS = 2

/** Asks over one connection after the other; what the service ends between two questions is asked again. */
class Connections {
  answered = 0
  readonly #problems: string[] = []
  #isStopping = false
  readonly #done: Promise<void>

  constructor(port: number) {
    this.#done = this.#run({ address: '127.0.0.1', port })
  }

  /** Returns what went wrong, a line each. */
  async stop(): Promise<string[]> {
    this.#isStopping = true
    await this.#done
    return this.#problems
  }

  async #run(server: { address: string; port: number }): Promise<void> {
    while (!this.#isStopping) {
      try {
        const client = await TcpClient.open(server)
        client.socket.on('error', ({ message }) => this.#problems.push(message))
        await client.ask('web.example')
        this.answered++
        client.close()
      } catch (error) {
        const message = error instanceof Error ? error.message : String(error)
        if (message !== 'the connection was closed') this.#problems.push(message)
      }
    }
  }
}
