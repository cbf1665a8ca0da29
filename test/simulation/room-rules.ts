/**
 * Who may be refused for want of room: a question when as many are under way as may be, or as one of several routes may
 * have, a client when so many wait already, for the same question or for all. And only as long as all that is in the way is
 * young: else the oldest of its route makes room.
 */
import { Cell, Drop, type WorkerCounters } from '../../src/stats/counters.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { routeOf } from './denial-rules.ts'
import type { Pending } from './pending.ts'

type Route = EngineSettings['routes'][number]

/** A question for which clients wait. */
interface Wait {
  name: string
  route: Route
  /** Since when clients wait. */
  since: number
  /** It began then; it may have begun before, for nobody. */
  isBegun: boolean
}

const MOST_QUESTIONS = 16_384
/** A question may have a fourth of all places for clients; where there are few, so many. */
const LEAST_EACH = 512
/** What has been under way for so long may not be in the way of others. */
const MAKES_ROOM_AFTER_MS = 200
/** Longer than any question is open. */
const LONGEST_MS = 10_000
const SLACK_MS = 5

export class RoomRules {
  private readonly counters: WorkerCounters
  private readonly waitingFor: ReadonlyMap<string, number>
  private readonly waits: Map<string, Wait> = new Map()
  private settings: EngineSettings
  /** Since when routes are as they are. */
  private configuredAt: number
  private questionsRefused = 0
  private clientsRefused = 0
  private inHand = ''

  /** `waitingFor`: how many wait, by question. */
  constructor(
    counters: WorkerCounters,
    waitingFor: ReadonlyMap<string, number>,
    settings: EngineSettings,
    now: number,
  ) {
    this.counters = counters
    this.waitingFor = waitingFor
    this.settings = settings
    this.configuredAt = now
  }

  configured(settings: EngineSettings, now: number): void {
    this.settings = settings
    this.configuredAt = now
    for (const wait of this.waits.values()) wait.route = routeOf(wait.name, settings)
  }

  /** A query for the question with this key is about to be given to the engine. */
  begins(key: string): void {
    this.inHand = key
    this.questionsRefused = this.counters.droppedOf(Drop.inFlightFull)
    this.clientsRefused = this.counters.droppedOf(Drop.waitersFull)
  }

  /** A client waits for a question for which nobody has waited. What is wrong with that, or null. */
  waitBegins({ asked: { name }, key }: Pending, now: number): string | null {
    const route = routeOf(name, this.settings)
    this.waits.set(key, { name, route, since: now, isBegun: true })
    const { share } = this
    const has = this.of(route).length
    const isSettled = now > this.configuredAt + LONGEST_MS
    return isSettled && has > share ? `a route has ${has} places for questions of ${share}` : null
  }

  /** The question was under way before. */
  joined(key: string): void {
    const wait = this.waits.get(key)
    if (wait !== undefined) wait.isBegun = false
  }

  waitEnds(key: string): void {
    this.waits.delete(key)
  }

  /** The question is given up so that the one in hand finds a place. What is wrong with that, or null. */
  makesRoom(key: string): string | null {
    const { isBegun, route, since } = this.waits.get(key)!
    // It need not make room for a client of its own.
    const older = [...this.waits].find(([other, wait]) => {
      return other !== this.inHand && wait.route === route && wait.since < since
    })
    return isBegun && older !== undefined ? `a question makes room, although ${older[0]} is older` : null
  }

  /** True if the query found no room, or another one made room for it. */
  get isRefused(): boolean {
    const { counters } = this
    return (
      counters.droppedOf(Drop.inFlightFull) > this.questionsRefused ||
      counters.droppedOf(Drop.waitersFull) > this.clientsRefused
    )
  }

  /** Checks that there was no room for the query; what is wrong, or null. */
  check({ asked: { name }, key }: Pending, now: number): string | null {
    const { most, share } = this
    if (this.counters.droppedOf(Drop.inFlightFull) === this.questionsRefused) {
      const each = this.waitingFor.get(key) ?? 0
      const all = [...this.waitingFor.values()].reduce((sum, count) => sum + count, 0)
      return each < Math.max(LEAST_EACH, most >> 1) && all < 2 * most ? 'a client is refused, although few wait' : null
    }
    const open = this.counters.get(Cell.inFlight)
    // Those are under way for nobody: for a fresh answer in place of a stale one, say.
    const hidden = open - this.waits.size
    const own = this.of(routeOf(name, this.settings))
    if (open < most && own.length + hidden < share)
      return `a question is refused, although only ${open} of ${most} are under way, and ${own.length} of ${share} on its route`
    // Where it is not its own route that is full, the one that has most places makes room, or that had a moment ago.
    const isOwnFull = own.length >= share || this.settings.routes.length === 1
    const isKnown = isOwnFull || hidden === 0
    const routes = isOwnFull ? [own] : [...new Set(this.settings.routes)].map((route) => this.of(route))
    const oldest = routes
      .filter((waits) => waits.length > 0)
      .map((waits) => Math.min(...waits.map(({ since }) => since)))
    const isOld = isKnown && oldest.length > 0 && now - Math.max(...oldest) > MAKES_ROOM_AFTER_MS + SLACK_MS
    return isOld ? 'a question is refused because of an old one' : null
  }

  private get most(): number {
    return Math.min(MOST_QUESTIONS, this.settings.maxInFlight)
  }

  /** Of several routes none may have all places. */
  private get share(): number {
    return this.settings.routes.length === 1 ? this.most : this.most - (this.most >> 2)
  }

  private of(route: Route): Wait[] {
    return [...this.waits.values()].filter((wait) => wait.route === route)
  }
}
