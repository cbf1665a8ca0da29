/** An admin endpoint of a made-up daemon, whose time and traffic a test moves. */
import { readFileSync } from 'node:fs'
import { Observer } from '../../src/observe/observer.ts'
import type { CredentialState, ObserveSources, Problem } from '../../src/observe/sources.ts'
import type { QuerySample } from '../../src/querylog/query-feed.ts'
import { Cell, Source, UpstreamField, WorkerCounters } from '../../src/stats/counters.ts'
import { fakeLog, fakeMesh, fakeSources } from './fake-sources.ts'
import { handClock } from './hand-clock.ts'

/** Made by bin/build.mjs. */
export const PAGE: URL = new URL('../../dist/status-page.html', import.meta.url)

const START_MS = Date.UTC(2026, 10, 30, 12)
const SAMPLE_SECONDS = 5
const DAY_MS = 86_400_000

/** Traffic of the next seconds. */
interface Traffic {
  perSecond: number
  /** Of the queries that are forwarded, 0…1. */
  servfail?: number
  nxdomain?: number
  /** Of the first server; null: it does not answer. */
  rttMs?: number | null
}

/** The made-up daemon. */
export class PageWorld {
  readonly clock: ReturnType<typeof handClock> = handClock()
  readonly counters: WorkerCounters = new WorkerCounters()
  readonly flushed: (string | null)[] = []
  problems: Problem[] = []
  /** Where the page is, after the start. */
  url = ''
  token: string | null = null
  tableAtMs = START_MS - 3000
  readonly observer: Observer
  readonly #samples: Set<(sample: QuerySample) => void> = new Set()
  #random = 42

  constructor(changes: Partial<ObserveSources> = {}, port: number = 0) {
    const sources = fakeSources({
      version: '0.1.0',
      startedAtMs: START_MS,
      nowMs: () => this.nowMs,
      driver: () => ({ name: 'batch', why: 'koffi is there' }),
      counters: () => [this.counters],
      serverLabels: () => ['10.0.0.2:53', '10.0.0.3:53'],
      serverUses: () => [
        { routes: ['.'], isLoop: false },
        { routes: ['.'], isLoop: false },
      ],
      mesh: () =>
        fakeMesh({
          hosts: 1204,
          bytes: 214_000,
          source: 'xds istiod.istio-system.svc:15012',
          updatedAtMs: this.tableAtMs,
        }),
      credentials: () => this.#credentials(),
      problems: () => this.problems,
      adminToken: () => (this.token === null ? null : { token: this.token }),
      samples: {
        subscribe: (handler) => {
          this.#samples.add(handler)
          return () => this.#samples.delete(handler)
        },
        catchUp: () => {},
      },
      flush: (name) => {
        this.flushed.push(name)
        return Promise.resolve(3)
      },
      ...changes,
    })
    let cpuSeconds = 0
    this.observer = new Observer({
      sources,
      metrics: null,
      admin: { address: '127.0.0.1', port },
      clock: this.clock,
      usage: () => ({ rssBytes: 88e6 + this.#chance() * 1e6, anonymousBytes: 37e6, cpuSeconds: (cpuSeconds += 0.01) }),
      pageTemplate: () => readFileSync(PAGE, 'utf8'),
      log: fakeLog(),
    })
    this.counters.upstreamSet(0, UpstreamField.healthy, 1)
    this.counters.upstreamSet(1, UpstreamField.healthy, 1)
  }

  get nowMs(): number {
    return START_MS + this.clock.now()
  }

  /** From here on it takes samples. */
  async start(): Promise<void> {
    await this.observer.start()
    this.url = `http://127.0.0.1:${(await this.observer.adminServer!.bound())!.port}/`
  }

  /** Lets traffic flow for so many samples. */
  pass(samples: number, traffic: Traffic): void {
    for (let n = 0; n < samples; n++) {
      this.#count(traffic)
      this.clock.pass(SAMPLE_SECONDS * 1000)
    }
  }

  /** Hands on a sample as a data worker would. */
  sample(name: string, changes: Partial<QuerySample> = {}): void {
    const { upstream: source } = Source
    const usual = { type: 1, rcode: 0, source, latencyMs: 3, client: '10.4.1.17', weight: 1, isFailure: false }
    for (const handler of this.#samples) handler({ atMs: this.nowMs, name, ...usual, ...changes })
  }

  #count({ perSecond, servfail = 0, nxdomain = 0.15, rttMs = 8 }: Traffic): void {
    const { counters } = this
    const count = Math.round(perSecond * SAMPLE_SECONDS * (0.85 + 0.3 * this.#chance()))
    for (let n = 0; n < count; n++) {
      counters.request(0, 0, n % 3 === 0 ? 28 : 1)
      const kind = this.#chance()
      if (kind < 0.55) this.#reply(Source.mesh, 0, 0.000_03)
      else if (kind < 0.87) {
        counters.add(Cell.cacheRequests, 1)
        counters.add(Cell.cacheHitsPositive, 1)
        this.#reply(Source.cache, this.#chance() < nxdomain ? 3 : 0, 0.000_04)
      } else {
        counters.add(Cell.cacheRequests, 1)
        this.#forward(servfail, nxdomain, rttMs)
      }
    }
    counters.set(Cell.cacheEntries, 412)
    counters.set(Cell.inFlight, rttMs === null ? 9 : 1)
    counters.upstreamSet(0, UpstreamField.healthy, rttMs === null ? 0 : 1)
    counters.upstreamSet(0, UpstreamField.rttSeconds, ((rttMs ?? 8) * (0.8 + 0.4 * this.#chance())) / 1000)
    counters.upstreamSet(1, UpstreamField.rttSeconds, (14 * (0.8 + 0.4 * this.#chance())) / 1000)
  }

  #forward(servfail: number, nxdomain: number, rttMs: number | null): void {
    const { counters } = this
    const server = this.#chance() < 0.6 ? 0 : 1
    counters.upstreamAdd(server, UpstreamField.requestsUdp, 1)
    if (rttMs === null && server === 0) counters.upstreamAdd(0, UpstreamField.failuresTimeout, 1)
    const rcode = this.#chance() < servfail ? 2 : this.#chance() < nxdomain ? 3 : 0
    this.#reply(Source.upstream, rcode, rttMs === null ? 0.4 : (rttMs / 1000) * (0.7 + this.#chance()))
  }

  #reply(source: Source, rcode: number, seconds: number): void {
    this.counters.response(source, rcode, 0, 80)
    this.counters.duration(source, seconds, 1)
  }

  #credentials(): CredentialState[] {
    const good = { problem: null, problemSinceMs: null, isNeeded: true }
    return [
      { kind: 'root', from: '/etc/certs/root-cert.pem', expiresAtMs: START_MS + 3000 * DAY_MS, ...good },
      {
        kind: 'certificate',
        from: '/etc/certs/cert-chain.pem',
        issuedAtMs: START_MS - DAY_MS / 4,
        expiresAtMs: START_MS + (3 * DAY_MS) / 4,
        ...good,
      },
    ]
  }

  /** The same in every run. */
  #chance(): number {
    this.#random = (Math.imul(this.#random, 1_664_525) + 1_013_904_223) >>> 0
    return this.#random / 2 ** 32
  }
}

/** An hour of an ordinary day. */
export function ordinaryHour(world: PageWorld): void {
  for (let minute = 0; minute < 60; minute++) {
    const wave = 40 + 25 * Math.sin(minute / 9) + (minute > 35 && minute < 42 ? 40 : 0)
    if (minute % 20 === 19) world.tableAtMs = world.nowMs
    world.pass(12, { perSecond: wave })
    for (const [name, weight] of ORDINARY) world.sample(name, { weight })
  }
  world.tableAtMs = world.nowMs - 12_000
}

const ORDINARY: readonly [name: string, weight: number][] = [
  ['reviews.shop.svc.cluster.local.', 40],
  ['ratings.shop.svc.cluster.local.', 25],
  ['api.stripe.com.', 12],
  ['storage.googleapis.com.', 9],
  ['payments.shop.svc.cluster.local.', 7],
  ['db.corp.example.', 5],
]

/** An hour at the end of which a resolver dies, istiod is away, and a name without dots storms through the search domains. */
export function badHour(world: PageWorld): void {
  for (let minute = 0; minute < 60; minute++) {
    const isBad = minute >= 45
    world.pass(12, isBad ? { perSecond: 90, servfail: 0.9, nxdomain: 0.5, rttMs: null } : { perSecond: 45 })
    for (const [name, weight] of ORDINARY) world.sample(name, { weight })
    if (!isBad) continue
    for (const name of ['api.stripe.com.', 'storage.googleapis.com.', 'db.corp.example.'])
      world.sample(name, { rcode: 2, isFailure: true, weight: 0 })
    world.sample('cache.internal.shop.svc.cluster.local.', { rcode: 3, weight: 50 })
  }
  world.problems = [
    {
      about: 'control_plane',
      text: 'the control plane is away: istiod.istio-system.svc:15012: connection refused',
      sinceMs: world.nowMs - 14 * 60_000,
    },
  ]
}
