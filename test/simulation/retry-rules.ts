/** How often a server may be asked one question by datagrams that it leaves without an answer (RFC 9520 §3.1). */
import type { Sent } from './virtual-network.ts'

const MOST = 3

interface Datagram {
  sent: Sent
  socket: number
  mayBeProbe: boolean
}

export class RetryRules {
  /** Datagrams since a question began, by question. */
  private readonly datagrams: Map<string, Datagram[]> = new Map()
  private readonly beganAt: Map<string, number> = new Map()
  /** What was sent until then is not known any more. */
  clearedAt: number = Number.NEGATIVE_INFINITY
  /** When a socket met an error last. */
  private readonly failedAt: Map<number, number> = new Map()

  /** What was sent is given up: by a restart, or for other servers. */
  disturbed(now: number): void {
    this.datagrams.clear()
    if (Number.isFinite(now)) this.clearedAt = now
  }

  /** A client asks, and nobody waits for the same. */
  asked(key: string, now: number): void {
    this.beganAt.set(key, now)
    this.datagrams.delete(key)
  }

  /**
   * A question goes over TCP because somebody guesses at a reply to one of its datagrams, under the id of which it is asked
   * there: that one is not listened for any more.
   */
  turnedToStream(keys: readonly string[], server: number, id: number): void {
    for (const { sent } of keys.flatMap((key) => this.datagrams.get(key) ?? []))
      if (sent.server === server && sent.query.id === id) sent.mayBeSettled = true
  }

  socketFailed(socket: number, now: number): void {
    this.failedAt.set(socket, now)
  }

  /** Questions whose only datagram since they began went out by this socket, not before `since`, and has no reply. */
  lostWith(socket: number, since: number): Sent[] {
    const lost: Sent[] = []
    for (const list of this.datagrams.values()) {
      const [only] = list
      if (list.length > 1 || only === undefined || only.socket !== socket) continue
      if (only.sent.at > since && !only.sent.mayBeSettled) lost.push(only.sent)
    }
    return lost
  }

  /**
   * How many datagrams of a question may be unanswered, if one of them went to the server; else none. What a socket loses
   * that fails is none of them, unless its time, `timeoutMs`, was up before.
   */
  unanswered(key: string, server: number, timeoutMs: number, now: number): number {
    const open = (this.datagrams.get(key) ?? []).filter(({ sent, socket }) => {
      const failedAt = this.failedAt.get(socket) ?? Number.NEGATIVE_INFINITY
      return sent.query.opt !== null && !sent.isSettled && (failedAt < sent.at || failedAt >= sent.at + timeoutMs)
    })
    // At the same moment nothing can have been left unanswered.
    return open.some(({ sent }) => sent.server === server && sent.at < now) ? open.length : 0
  }

  /**
   * Checks a datagram that has just been sent; what is wrong with it, or null. `since`: no question that is open is older.
   */
  check(sent: Sent, socket: number, mayBeProbe: boolean, since: number): string | null {
    // Without an OPT it may be for either of two questions: then it counts only where the other one was not asked.
    const lately = sent.keys.filter((one) => (this.beganAt.get(one) ?? Number.NEGATIVE_INFINITY) >= since)
    if (sent.query.opt === null && lately.length !== 1) return null
    const key = sent.query.opt === null ? lately[0]! : sent.keys[0]!
    const list = this.datagrams.get(key) ?? []
    if (list.length === 0) this.datagrams.set(key, list)
    list.push({ sent, socket, mayBeProbe })
    const unanswered = list.filter((datagram) => datagram.sent.server === sent.server && this.isUnanswered(datagram))
    const probes = unanswered.some((datagram) => datagram.mayBeProbe) ? 1 : 0
    return unanswered.length - probes > MOST ? 'a question once more to a server that does not answer it' : null
  }

  private isUnanswered({ sent, socket }: Datagram): boolean {
    return !sent.mayBeSettled && (this.failedAt.get(socket) ?? Number.NEGATIVE_INFINITY) < sent.at
  }
}
