/**
 * Runs an episode: the real engine, stream desk, cache, image compiler and table keeper in a world of its own, with the
 * reference resolver looking at every step.
 *
 * ```
 *  actions ─┐                     ┌─ Outlet: held clients, datagrams and upstream queries over streams
 *  network ─┼─→ clock ─→ engine ──┤                     │
 *  timers  ─┘                     └─ replies ─→ checks  └─→ virtual network ─→ later, or never
 * ```
 */
import { Engine } from '../../src/engine/engine.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { UpstreamQuery } from '../../src/engine/stream-port.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { Image } from '../../src/table/image.ts'
import type { Action, Client, Episode } from './episode.ts'
import { checkCountersAtRest } from './counter-rules.ts'
import { EventQueue } from './event-queue.ts'
import { hashText, mix, Random } from './random.ts'
import { askedBy, makeQuery } from './queries.ts'
import { Referee } from './referee.ts'
import { checkAtRest } from './rest-checks.ts'
import { SimulatedOutlet } from './simulated-outlet.ts'
import { StreamClients } from './stream-clients.ts'
import { TableSource } from './table-source.ts'
import { ToldAnswers } from './told-answers.ts'
import { type NetworkEvent, UPSTREAM_BUFFER, VirtualNetwork } from './virtual-network.ts'
import { Violation } from './violation.ts'

type Event = NetworkEvent | { kind: 'adopt'; image: SharedArrayBuffer; worker: number }

export interface EpisodeResult {
  violation: Violation | null
  /** Index of the action in hand when it failed. */
  actions: number
  queries: number
  virtualMs: number
  upstreamMessages: number
  /** How often things happened that an episode is there for. */
  sightings: Map<string, number>
}

/** Where the receive buffer's messages begin: what stands before and behind must not be looked at. */
const RECEIVE_AT = 37
const START_MS = 1000

export function runEpisode(episode: Episode): EpisodeResult {
  const simulation = new Simulation(episode)
  let violation: Violation | null = null
  try {
    simulation.run()
  } catch (error) {
    violation =
      error instanceof Violation
        ? error
        : new Violation(`threw ${error instanceof Error ? error.stack : String(error)}`)
  }
  return {
    violation,
    actions: simulation.done,
    queries: simulation.referee.queries,
    virtualMs: simulation.now - START_MS,
    upstreamMessages: simulation.network.messages,
    sightings: simulation.referee.sightings,
  }
}

class Simulation {
  now = START_MS
  done = 0
  readonly episode: Episode
  readonly referee: Referee
  readonly network: VirtualNetwork
  private readonly counters: WorkerCounters = new WorkerCounters()
  private readonly told: ToldAnswers = new ToldAnswers()
  private readonly events: EventQueue<Event> = new EventQueue()
  private readonly outlet: SimulatedOutlet
  private readonly streams: StreamClients
  private readonly tables: TableSource
  private readonly random: Random
  private readonly receive: Buffer = Buffer.alloc(80_000)
  private settings: EngineSettings
  private engine: Engine
  private worker = 1
  /** By how much actions come later than planned, because time has leapt. */
  private skew = START_MS
  private spins = 0
  private lastMailAt = 0

  constructor(episode: Episode) {
    this.episode = episode
    this.settings = { ...episode.settings[0]!, startedAtMs: START_MS }
    this.random = new Random(mix(episode.seed, 0xe61e))
    this.network = new VirtualNetwork(episode, (at, event) => this.events.add(at, event))
    this.network.configure(this.settings)
    this.referee = new Referee(episode, this.network)
    const waiters = Math.min(16_384, this.settings.maxInFlight) * 2
    this.streams = new StreamClients(
      waiters,
      this.referee,
      (message) => this.sendStream(message),
      () => this.now,
    )
    this.outlet = new SimulatedOutlet(waiters, this.network, this.referee, this.streams, () => this.now)
    this.tables = new TableSource(episode)
    this.engine = this.startEngine()
  }

  private startEngine(): Engine {
    const engine = new Engine({
      settings: this.settings,
      outlet: this.outlet,
      counters: this.counters,
      random: () => this.random.next(),
      seed: this.tables.seed,
      now: this.now,
      onLoop: (server, from) => this.referee.loops.tell(server, from),
      tap: this.told.tap(() => this.now),
    })
    this.tables.compiler.pool.workerStarted(this.worker)
    this.referee.started(engine, this.settings, this.now)
    const { held } = this.tables.compiler
    if (held !== null) this.adopt(engine, held.buffer)
    return engine
  }

  run(): void {
    const { actions } = this.episode
    for (this.done = 0; this.done < actions.length; this.done++) {
      const action = actions[this.done]!
      const at = action.at + this.skew
      this.runUntil(at)
      this.perform(action)
      this.endRound()
    }
    this.rest()
    this.recover()
    this.rest()
    this.tables.checkNothingWaits()
    this.referee.loops.checkAsked(this.now)
    checkCountersAtRest(this.counters, this.referee.ledger)
    checkAtRest(this.engine, this.counters)
  }

  /** Lets all that is due until `at` happen. */
  private runUntil(at: number): void {
    for (;;) {
      const next = Math.min(this.events.nextAt, this.engine.nextDue)
      if (next > at) break
      this.wake(Math.max(this.now, next))
      let event = this.events.takeDue(this.now)
      for (; event !== null; event = this.events.takeDue(this.now)) this.happen(event)
      this.endRound()
    }
    if (at > this.now) this.wake(at)
  }

  private wake(now: number): void {
    // A poll that returns for a timer must find it due soon, not turn in circles.
    this.spins = now === this.now ? this.spins + 1 : 0
    if (this.spins > 1000)
      throw new Violation(`the engine wants to be woken at ${this.engine.nextDue}, again and again, at ${now}`)
    // The clock of a loop that turned in vain moves on.
    this.now = this.spins > 2 ? now + 0.05 : now
    this.referee.context = { kind: 'timer' }
    this.engine.advance(this.now)
    this.referee.checkDeadlines(this.now)
  }

  private endRound(): void {
    this.streams.flush()
    this.engine.endBatch(this.now + 0.02)
    this.told.check(this.counters)
    this.referee.checkRound(this.engine, this.counters, this.now)
  }

  private happen(event: Event): void {
    const { referee } = this
    if (event.kind === 'adopt') {
      if (event.worker === this.worker) this.adopt(this.engine, event.image)
      return
    }
    if (event.kind === 'loop') return this.askedByServer(event)
    referee.arrived(this.network.judge(event, this.now), event.kind === 'datagram' && event.isForged, this.now)
    if (event.kind === 'socket error') {
      const { socket } = event
      return referee.socketFails(socket, () => this.engine.upstreamFailed(socket), this.now)
    }
    if (event.kind === 'upstreamReply') {
      if (!event.isStray) this.streams.exchanged(event.token, event.bytes, event.failure, this.engine)
      return
    }
    const { receive } = this
    const length = Math.min(event.bytes.length, UPSTREAM_BUFFER)
    event.bytes.copy(receive, RECEIVE_AT, 0, length)
    receive.fill(0xc0, RECEIVE_AT + length, RECEIVE_AT + length + 64)
    this.engine.upstreamDatagram(event.socket, receive, RECEIVE_AT, length, event.bytes.length > UPSTREAM_BUFFER)
    receive.fill(0xff, RECEIVE_AT, RECEIVE_AT + length)
    referee.dealtWith()
  }

  private perform(action: Action): void {
    const { engine, episode, referee } = this
    referee.context = { kind: 'other' }
    switch (action.kind) {
      case 'query':
        return this.ask(episode.clients[action.client]!, action)
      case 'cut query':
        return this.outlet.cutQuery(
          engine,
          episode.clients[action.client]!,
          action.packet,
          action.asked,
          this.settings,
          this.now,
        )
      case 'push': {
        for (const image of this.tables.push(action.table, action.shuffle)) this.post(image, action.adoptAfterMs)
        return
      }
      case 'identity': {
        referee.see('identity')
        for (const image of this.tables.setIdentity(action.identity)) this.post(image, 1)
        return
      }
      case 'manners': {
        this.network.manners[action.server] = { ...action.manners }
        return
      }
      case 'configure': {
        this.settings = { ...episode.settings[action.settings]!, startedAtMs: START_MS }
        this.network.configure(this.settings)
        referee.configured(this.settings, this.now)
        return engine.configure(this.settings)
      }
      case 'restart': {
        referee.restarted()
        this.tables.compiler.pool.workerGone(this.worker)
        this.worker++
        this.streams.newDesk()
        this.outlet.reset()
        this.network.restarted()
        this.network.configure(this.settings)
        this.engine = this.startEngine()
        return
      }
      case 'new stream worker':
        return this.streams.newStreamWorker()
      case 'flush': {
        referee.flushed(action.name)
        if (action.name === null) engine.cache?.flush()
        else engine.cache?.flushName(Buffer.from(action.name, 'latin1'))
        return
      }
      case 'leap': {
        this.skew += action.ms
        referee.leapt(this.now + action.ms)
        this.runUntil(this.now + action.ms)
        return
      }
      case 'habit': {
        this.network.habits[action.server] = action.habit
        return
      }
      case 'forge':
        return this.network.forge(action.count, action.seed, this.now)
      case 'guess':
        return this.network.guessAt(action.count, action.seed, this.now)
      case 'socket error': {
        const socket = this.network.someSocket(action.seed)
        const tell = (): void => {
          referee.disturbed(this.now)
          if (socket > 0) engine.upstreamFailed(socket)
        }
        referee.socketFails(socket, tell, this.now)
      }
    }
  }

  private ask(client: Client, action: Extract<Action, { kind: 'query' }>): void {
    if (action.isStream) this.streams.ask(client, action.packet, action.asked, this.settings, this.engine)
    else this.outlet.ask(this.engine, client, action.packet, action.asked, this.settings, this.now)
  }

  /** A server passes a question on, and that comes to us. */
  private askedByServer({ server, bytes, relay }: Extract<Event, { kind: 'loop' }>): void {
    const { clients } = this.episode
    const asked = askedBy(bytes)
    if (asked === null) throw new Violation('a query to a server is none that anybody may ask')
    this.outlet.ask(this.engine, clients[server % clients.length]!, bytes, asked, this.settings, this.now, relay)
  }

  private sendStream({ token, server, transport, query, timeoutMs }: UpstreamQuery): void {
    const { now } = this
    const index = this.network.labels.indexOf(server)
    const outcome = this.network.stream(index, token, transport, Buffer.from(query), timeoutMs, now)
    this.referee.sent(outcome, index, transport, now)
  }

  private adopt(engine: Engine, buffer: SharedArrayBuffer): void {
    const image = new Image(buffer)
    engine.adopt(image)
    this.referee.adopted(this.tables.madeOf(image.generation), this.now)
    this.tables.acknowledged(this.worker, image.generation, (waiting) => this.post(waiting, 1))
  }

  /** Sends an image to the worker, which reads its mail after `afterMs`, but always in order. */
  private post(image: Image, afterMs: number): void {
    this.lastMailAt = Math.max(this.lastMailAt, this.now + afterMs)
    this.events.add(this.lastMailAt, { kind: 'adopt', image: image.buffer, worker: this.worker })
  }

  /** Waits until nothing is under way, and expects that this does not last longer than a deadline and the slowest reply. */
  private rest(): void {
    this.network.mayLoop = false
    const until = this.now + 30_000
    // Also for what nobody waits for: it is quiet, but not empty yet.
    while (this.engine.forwarder.inFlight.open > 0 || this.events.nextAt < until) {
      const next = Math.min(this.events.nextAt, this.engine.nextDue)
      if (next > until) break
      this.runUntil(next)
    }
    this.referee.checkQuiet(this.engine, this.counters)
  }

  /** All servers are well again: within a while all of them must be in use, and no query may fail. */
  private recover(): void {
    const { network, referee, settings } = this
    network.endTrouble()
    const random = new Random(mix(this.episode.seed, hashText('recovery')))
    const names: string[] = []
    for (let k = 0; k < 40; k++) {
      for (const zone of ['', '\u0004corp']) {
        // One at a time: both would be more than some rate limits allow.
        this.runUntil(this.now + 1000)
        referee.recovered(k > 1)
        // A name that was not asked yet: what is in the cache shows nothing of the servers.
        const name = `\u0007${String(this.episode.seed % 10_000).padStart(4, '0')}-${String(k).padStart(2, '0')}`
        const before = makeQuery(
          random,
          { mesh: [`${name}${zone}\0`], upstream: [`${name}${zone}\0`], special: [`${name}${zone}\0`] },
          false,
        ).asked
        if (before.verdict !== 'ok') continue
        const { packet, asked } = makeQuery(random, this.episode.names, false, { ...before, type: 16 })
        const { asked: question, expectation } = this.outlet.ask(
          this.engine,
          this.episode.clients[0]!,
          packet,
          asked,
          settings,
          this.now,
        )
        // Many names that rules change to the same one are one question.
        if (expectation.kind === 'upstream' && question.isRewritten !== true) names.push(before.name)
        this.endRound()
      }
    }
    referee.checkHealth(this.counters, this.settings, names)
    referee.recovered(false)
  }
}
