/** Looking for loops: each server of the default route is asked for a name of its own now and then, and nothing else is. */
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { ParsedMessage } from './message.ts'
import { probedServer } from './reference-resolver.ts'
import { Violation } from './violation.ts'

const HINFO = 13
/** Soon after the start, or after other names came; once more after so long. */
const FIRST_MS = 500
const AGAIN_MS = 10_000
/** Timers may be late, and time leaps. */
const SLACK_MS = 100

export class LoopRules {
  private settings!: EngineSettings
  private since = 0
  /** When each server was asked last. */
  private readonly askedAt: Map<number, number> = new Map()
  /** Those that were asked their name while a client waited for the same: it may have been a probe. */
  private readonly perhapsAsked: Set<number> = new Set()
  /** What the engine has told of loops: the server, and whence the query came back. */
  private told: { server: string; from: string }[] = []

  started(settings: EngineSettings, now: number): void {
    this.settings = settings
    this.begin(now)
  }

  configured(settings: EngineSettings, now: number): void {
    const isSame = settings.loopProbe !== undefined && settings.loopProbe.id === this.settings.loopProbe?.id
    this.settings = settings
    if (!isSame) this.begin(now)
  }

  private begin(now: number): void {
    this.since = now
    this.askedAt.clear()
    this.perhapsAsked.clear()
  }

  /** True if the query to a server is a probe, and as it should be. */
  isProbe(query: ParsedMessage, server: number, now: number): boolean {
    const { settings } = this
    const probed = this.probedBy(query)
    if (probed < 0) return false
    const before = this.askedAt.get(server)
    const isDue = this.isDue(server, now)
    this.askedAt.set(server, now)
    if (settings.loopProbe?.sends === false) throw new Violation('a probe of a worker that sends none')
    if (probed !== server) throw new Violation(`server ${server} gets the probe of server ${probed}`)
    if (!isDue) throw new Violation(`a probe at ${now}, after one at ${before ?? this.since}`)
    return true
  }

  /** True if the query to a server for which a client waits may as well be a probe. */
  isPerhapsProbe(query: ParsedMessage, server: number, now: number): boolean {
    const isPerhaps =
      this.settings.loopProbe?.sends !== false && this.probedBy(query) === server && this.isDue(server, now)
    if (isPerhaps) this.perhapsAsked.add(server)
    return isPerhaps
  }

  /** The server whose probe has the name and type of a query, or -1. */
  private probedBy({ name, type }: ParsedMessage): number {
    return type === HINFO ? probedServer(name, this.settings) : -1
  }

  private isDue(server: number, now: number): boolean {
    const before = this.askedAt.get(server)
    return now >= (before === undefined ? this.since + FIRST_MS : before + AGAIN_MS) - SLACK_MS
  }

  /** The engine says that a server passes queries on to it. */
  tell(server: string, from: Uint8Array): void {
    this.told.push({ server, from: from.join('.') })
  }

  /** A query has been given to the engine: it must have told of a loop if it was one (`server` not −1), and of no other. */
  check(server: number, from: Uint8Array): void {
    const told = this.told.splice(0)
    const wanted = server < 0 ? [] : [{ server: this.settings.servers[server]!.label, from: from.join('.') }]
    if (JSON.stringify(told) !== JSON.stringify(wanted))
      throw new Violation(`told of loops ${JSON.stringify(told)} instead of ${JSON.stringify(wanted)}`)
  }

  /** At the end, `now`: each server must have been asked, if there was time for it. */
  checkAsked(now: number): void {
    const { loopProbe, servers } = this.settings
    if (loopProbe?.sends !== true || now < this.since + FIRST_MS + SLACK_MS) return
    servers.forEach(({ label }, index) => {
      const isAsked = this.askedAt.has(index) || this.perhapsAsked.has(index)
      if (loopProbe.names[index] !== null && loopProbe.names[index] !== undefined && !isAsked)
        throw new Violation(`server ${label} was never asked whether it passes queries on to us`)
    })
  }
}
