/** Mistakes in name tables, in who keeps them, and in what threads tell each other. */
import type { PlantedBug } from './planted-bug.ts'

export const TABLES_BUGS: readonly PlantedBug[] = [
  {
    name: 'the slot of an image is rewritten while a worker reads it',
    find: 'for (const oldest of this.workers.values()) if (oldest <= slot.generation) return false',
    replace: '',
    seeds: 200,
  },
  {
    name: 'a changed table counts as equal',
    find: 'this.low === other.low && this.high === other.high && this.entries === other.entries && this.bytes === other.bytes',
    replace: 'this.low !== other.high + 0.5',
    seeds: 20,
  },
  {
    name: 'the least specific wildcard wins',
    find: 'for (let k = 1; k < labels; k++) {',
    replace: 'for (let k = labels - 1; k >= 1; k--) {',
    seeds: 200,
  },
  {
    name: 'the reply over a stream goes to the connection that asks now',
    find: 'this.#turnTo(this.#held[waiter]!)',
    replace: 'this.#turnTo(this.#asking)',
    seeds: 20,
  },
  {
    name: 'a new stream worker inherits the connections of the one before',
    find: 'this.#held.fill(NO_CONNECTION)',
    replace: 'void this.#held',
    seeds: 200,
  },
  {
    name: 'another search domain waits for the next push',
    find: '    this.#options.compiler.setIdentity(identity)\n    this.#refresh()\n',
    replace: '    this.#options.compiler.setIdentity(identity)\n',
    seeds: 20,
  },
  {
    name: 'a search domain that found no free slot is forgotten',
    find: '    else if (this.#refreshWaits) this.#refresh()\n',
    replace: '',
    seeds: 400,
  },
  {
    name: 'a table that found no free slot is forgotten',
    find: '    if (waiting !== null) this.accept(waiting.bytes, waiting.version)\n    else if',
    replace: '    if',
    seeds: 400,
  },
  {
    name: 'another search domain leaves the old one in the image',
    find: '    header.searchDomain(this.who)\n    this.heldSurvey = null\n',
    replace: '    this.heldSurvey = null\n',
    seeds: 20,
  },
]
