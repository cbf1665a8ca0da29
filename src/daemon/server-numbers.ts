/** Small numbers for upstream servers, which the cache and the query log have instead of labels. */
import { MOST_SERVER_NUMBER, type UpstreamServer } from '../engine/settings.ts'

/** Gives each label a number of its own, for ever: answers of a server that is asked no more are still in caches. */
export class ServerNumbers {
  readonly #labels: string[] = []

  /** The servers with their numbers; beyond MOST_SERVER_NUMBER different ones they get none. */
  number(servers: readonly UpstreamServer[]): UpstreamServer[] {
    return servers.map((server) => {
      const number = this.#numberOf(server.label)
      return number === 0 ? server : { ...server, number }
    })
  }

  /** The label with this number, null if there is none. */
  labelOf(number: number): string | null {
    return this.#labels[number - 1] ?? null
  }

  #numberOf(label: string): number {
    const known = this.#labels.indexOf(label) + 1
    if (known > 0 || this.#labels.length === MOST_SERVER_NUMBER) return known
    return this.#labels.push(label)
  }
}
