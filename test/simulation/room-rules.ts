/**
 * Who may be refused for want of room: a question when as many are under way as may be, a client when so many wait already,
 * for the same question or for all. And only as long as all that is under way is young: else the oldest makes room.
 */
import { Cell, Drop, type WorkerCounters } from '../../src/stats/counters.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { Pending } from './pending.ts'

const MOST_QUESTIONS = 16_384
/** A question may have a fourth of all places for clients; where there are few, so many. */
const LEAST_EACH = 512
/** What has been under way for so long may not be in the way of others, where there is one route. */
const MAKES_ROOM_AFTER_MS = 200
const SLACK_MS = 5

export class RoomRules {
  private readonly counters: WorkerCounters
  private readonly waitingFor: ReadonlyMap<string, number>
  private questionsRefused = 0
  private clientsRefused = 0

  /** `waitingFor`: how many wait, by question. */
  constructor(counters: WorkerCounters, waitingFor: ReadonlyMap<string, number>) {
    this.counters = counters
    this.waitingFor = waitingFor
  }

  /** A query is about to be given to the engine. */
  begins(): void {
    this.questionsRefused = this.counters.droppedOf(Drop.inFlightFull)
    this.clientsRefused = this.counters.droppedOf(Drop.waitersFull)
  }

  /** True if the query found no room, or another one made room for it. */
  get isRefused(): boolean {
    const { counters } = this
    return (
      counters.droppedOf(Drop.inFlightFull) > this.questionsRefused ||
      counters.droppedOf(Drop.waitersFull) > this.clientsRefused
    )
  }

  /** Checks that there was no room for the query, `oldest` being the one that waits for longest; what is wrong, or null. */
  check(key: string, settings: EngineSettings, oldest: Pending | undefined, now: number): string | null {
    const most = Math.min(MOST_QUESTIONS, settings.maxInFlight)
    if (this.counters.droppedOf(Drop.inFlightFull) === this.questionsRefused) {
      const each = this.waitingFor.get(key) ?? 0
      const all = [...this.waitingFor.values()].reduce((sum, count) => sum + count, 0)
      return each < Math.max(LEAST_EACH, most >> 1) && all < 2 * most ? 'a client is refused, although few wait' : null
    }
    const open = this.counters.get(Cell.inFlight)
    const isOneRoute = settings.routes.length === 1
    // Of several routes none may have all places, and the oldest question may be another one's.
    const share = isOneRoute ? most : most - (most >> 2)
    if (open < share) return `a question is refused, although only ${open} of ${share} are under way`
    const ageMs = oldest === undefined ? 0 : now - oldest.receivedAt
    const afterMs = isOneRoute ? MAKES_ROOM_AFTER_MS : settings.deadlineMs
    return ageMs > afterMs + SLACK_MS ? 'a question is refused because of an old one' : null
  }
}
