import { uptime } from 'node:os'

/** How often the two clocks are compared. */
const CHECK_MS = 1000

/**
 * Milliseconds that never go back and count while the machine sleeps, without system calls of our own: Node's monotonic
 * clock stands still in sleep, so it is set forward by what the uptime ran ahead of it (TTLs would be stale otherwise).
 */
export function bootClock(): () => number {
  let ahead = uptime() * 1000 - performance.now()
  let checkedAt = performance.now()
  return () => {
    const now = performance.now()
    if (now - checkedAt > CHECK_MS) {
      checkedAt = now
      // Uptime is coarse: only a leap is news.
      const apart = uptime() * 1000 - now
      if (apart > ahead + CHECK_MS) ahead = apart
    }
    return now + ahead
  }
}
