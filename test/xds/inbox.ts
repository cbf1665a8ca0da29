import { WAIT_MS } from '../wait.ts'

/** Things that happen, for a test to await one by one in order. */
export class Inbox<T> {
  readonly #arrived: T[] = []
  readonly #waiting: ((item: T) => void)[] = []

  put(item: T): void {
    const waiter = this.#waiting.shift()
    if (waiter === undefined) this.#arrived.push(item)
    else waiter(item)
  }

  /** The next item not yet taken. @throws if none comes within `WAIT_MS` */
  next(): Promise<T> {
    if (this.#arrived.length > 0) return Promise.resolve(this.#arrived.shift()!)
    return new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`nothing more has come within ${WAIT_MS} ms`)), WAIT_MS)
      this.#waiting.push((item) => {
        clearTimeout(late)
        resolve(item)
      })
    })
  }

  /** Takes items until one fits, and returns that. */
  async nextWhere(fits: (item: T) => boolean): Promise<T> {
    for (;;) {
      const item = await this.next()
      if (fits(item)) return item
    }
  }

  /** Items that nobody has taken. */
  get waiting(): number {
    return this.#arrived.length
  }
}
