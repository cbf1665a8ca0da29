/**
 * Who makes room when all places for pending queries are taken. A route whose servers are silent may not take all of them,
 * and the query that has waited longest goes first.
 *
 * ```
 *  route 0   oldest ⇄ … ⇄ newest      at most three quarters of all places, if there is another route
 *  route 1   oldest ⇄ … ⇄ newest
 * ```
 */
import { NONE } from './attempts.ts'

/** Which pending query makes room for another. */
export class Room {
  readonly #next: Int32Array
  readonly #previous: Int32Array
  /** By pending query: the route in whose list it stands, NONE if in none. */
  readonly #route: Int32Array
  #oldest: Int32Array = new Int32Array(0)
  #newest: Int32Array = new Int32Array(0)
  #count: Int32Array = new Int32Array(0)
  #most: number
  readonly #places: number
  #taken = 0
  /** The route that has most places, or had a moment ago. */
  #fullest = 0

  /** `capacity`: pending queries are 0 … capacity − 1; `places`: so many of them clients may wait for. */
  constructor(capacity: number, places: number) {
    this.#next = new Int32Array(capacity).fill(NONE)
    this.#previous = new Int32Array(capacity).fill(NONE)
    this.#route = new Int32Array(capacity).fill(NONE)
    this.#places = places
    this.#most = places
  }

  /** Begins with empty lists for so many routes. */
  configure(routes: number): void {
    this.#route.fill(NONE)
    this.#oldest = new Int32Array(routes).fill(NONE)
    this.#newest = new Int32Array(routes).fill(NONE)
    this.#count = new Int32Array(routes)
    this.#most = routes === 1 ? this.#places : this.#places - (this.#places >> 2)
    this.#taken = 0
    this.#fullest = 0
  }

  /** Places taken, of all routes. */
  get taken(): number {
    return this.#taken
  }

  /** True if a query of this route finds a place. */
  isFreeFor(route: number): boolean {
    return this.#taken < this.#places && this.#count[route]! < this.#most
  }

  /** True if less than half of the places are taken: questions that no client waits for are not in anybody's way then. */
  get isSpare(): boolean {
    return this.#taken * 2 < this.#places
  }

  /** The query that has waited longest of those that have to make room for one of this route; NONE if there is none. */
  longestWaiting(route: number): number {
    return this.#oldest[this.#count[route]! >= this.#most ? route : this.#fullest]!
  }

  /** The one of the same route that has waited longest after `p`, or NONE. */
  nextLongest(p: number): number {
    return this.#next[p]!
  }

  /** Gives a pending query a place, as the newest of its route. */
  take(p: number, route: number): void {
    const newest = this.#newest[route]!
    this.#route[p] = route
    this.#previous[p] = newest
    this.#next[p] = NONE
    if (newest === NONE) this.#oldest[route] = p
    else this.#next[newest] = p
    this.#newest[route] = p
    this.#count[route] = this.#count[route]! + 1
    this.#taken++
    if (this.#count[route] > this.#count[this.#fullest]!) this.#fullest = route
  }

  /** Gives back the place of a pending query, if it has one. */
  leave(p: number): void {
    const route = this.#route[p]!
    if (route === NONE) return
    const next = this.#next[p]!
    const previous = this.#previous[p]!
    if (previous === NONE) this.#oldest[route] = next
    else this.#next[previous] = next
    if (next === NONE) this.#newest[route] = previous
    else this.#previous[next] = previous
    this.#route[p] = NONE
    this.#count[route] = this.#count[route]! - 1
    this.#taken--
  }
}
