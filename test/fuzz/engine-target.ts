/** Makes up steps for an engine and does them: mutated queries from clients, mutated replies from servers, time. */
import { mix, Random } from '../simulation/random.ts'
import { Corpus, parseFound } from './corpus.ts'
import { CLIENTS, Harness } from './harness.ts'
import { Mutator } from './mutator.ts'
import type { Packet } from './packet.ts'
import { QueryMaker } from './query-maker.ts'
import { ReplyMaker } from './reply-maker.ts'
import { ReplyFlag, StepLog } from './steps.ts'
import type { FuzzTarget, TargetOptions } from './target.ts'
import { Anatomy } from './anatomy.ts'

/** Steps kept for the replay of a failure. */
const LOG_BYTES = 48 << 20
/** One query in many is sent so often: more than may wait for one answer (in-flight.ts). */
const FLOOD_CHANCE = 1 / 15_000
const FLOOD = 600

export class EngineTarget implements FuzzTarget {
  readonly #random: Random
  readonly #queries: Corpus
  readonly #replies: Corpus
  readonly #queryMaker: QueryMaker
  readonly #replyMaker: ReplyMaker
  readonly #queryMutator: Mutator
  readonly #replyMutator: Mutator
  readonly #anatomy: Anatomy = new Anatomy()
  readonly #packet: Packet
  readonly #log: StepLog = new StepLog(LOG_BYTES)
  readonly #episode: number
  readonly #seed: number
  #episodes = 0
  #packetsLeft = 0
  #harness: Harness
  engineSeed = 0
  packets = 0
  /** Replies that were checked, by engines that are gone. */
  #repliesBefore = 0
  #repeatedBefore = 0
  #renamedBefore = 0

  constructor({ seed, packet, episode }: TargetOptions) {
    const random = new Random(mix(seed, 0xf022))
    this.#seed = seed
    this.#random = random
    this.#packet = packet
    this.#episode = episode
    this.#queries = Corpus.of('queries', random)
    this.#replies = Corpus.of('replies', random)
    this.#queryMaker = new QueryMaker(random)
    this.#replyMaker = new ReplyMaker(random)
    this.#queryMutator = new Mutator(random, () => this.#queries.pick())
    this.#replyMutator = new Mutator(random, () => this.#replies.pick())
    this.#harness = this.#begin()
  }

  /** One packet more, and what goes with it. */
  step(): void {
    if (this.#repeats > 0) return this.#repeatQuery()
    if (this.#packetsLeft <= 0) {
      this.#finish()
      this.#harness = this.#begin()
    }
    this.#otherSteps()
    this.#packetsLeft--
    this.packets++
    if (this.#harness.outlet.sent > 0 && this.#random.chance(0.45)) this.#replyStep()
    else this.#queryStep()
  }

  finish(): void {
    this.#finish()
    this.#packetsLeft = 0
    this.#harness = this.#begin()
  }

  close(): void {
    // Everything is memory.
  }

  /** The packet of the last step has reached code that none before has reached. */
  keep(isReply: boolean, bytes: Uint8Array): void {
    if (isReply) this.#replies.add(bytes)
    else this.#queries.add(bytes)
  }

  takeFound(text: string): void {
    const { queries, replies } = parseFound(text)
    for (const packet of queries) this.#queries.add(packet)
    for (const packet of replies) this.#replies.add(packet)
  }

  get found(): { queries: readonly Uint8Array[]; replies: readonly Uint8Array[] } {
    return { queries: this.#queries.found, replies: this.#replies.found }
  }

  lastWasReply = false
  /** Times that the last query is still to be sent. */
  #repeats = 0
  #repeated: Uint8Array = new Uint8Array(0)

  get history(): StepLog {
    return this.#log
  }

  get summary(): string {
    const { check, replies } = this.#harness
    const all = this.#repliesBefore + replies
    const repeated = this.#repeatedBefore + check.repeated
    const renamed = this.#renamedBefore + check.renamed
    return `${all} replies, all read by the second parser, ${all - repeated} by dns-packet (${repeated} were seen before, ${renamed} with opaque types renamed), ${this.#episodes} engines`
  }

  #begin(): Harness {
    this.engineSeed = mix(this.#seed, ++this.#episodes) >>> 0
    this.#packetsLeft = this.#episode
    this.#log.clear()
    return new Harness(this.engineSeed)
  }

  #finish(): void {
    this.#log.add('z', 0, 0, null)
    this.#harness.finish()
    this.#repliesBefore += this.#harness.replies
    this.#repeatedBefore += this.#harness.check.repeated
    this.#renamedBefore += this.#harness.check.renamed
  }

  #do(kind: string, a: number, b: number, packet: Packet | null): void {
    this.#log.add(kind, a, b, packet)
    this.#harness.do(kind, a, b, this.#packet)
  }

  #otherSteps(): void {
    const random = this.#random
    const chance = random.fraction()
    if (chance < 0.3) this.#do('t', random.below(16) / 8, 0, null)
    else if (chance < 0.31) this.#do('t', random.below(1200), 0, null)
    else if (chance < 0.3105) this.#do('t', random.below(100_000), 0, null)
    else if (chance < 0.31052) this.#do('t', 86_400_000, 0, null)
    else if (chance < 0.3107) this.#do('c', random.below(1 << 20), 0, null)
    else if (chance < 0.311) this.#do('a', random.below(2), 0, null)
    else if (chance < 0.3112) this.#do('z', 0, 0, null)
    else if (chance < 0.314) this.#do('s', 0, random.below(16), null)
    else if (chance < 0.316) this.#do('e', 0, random.below(16), null)
  }

  /** The last query once more, as of a client that floods: more of them than may wait for one answer. */
  #repeatQuery(): void {
    this.#repeats--
    this.#packetsLeft--
    this.packets++
    this.#packet.set(this.#repeated)
    this.#packet.set16(0, this.#repeats)
    this.#do('q', this.#repeats % 3, 0, this.#packet)
  }

  #queryStep(): void {
    const random = this.#random
    const packet = this.#packet
    this.lastWasReply = false
    if (random.chance(0.6)) {
      this.#queryMaker.make(packet)
      if (random.chance(0.65)) this.#queryMutator.mutate(packet)
    } else {
      packet.set(this.#queries.pick())
      packet.set16(0, random.below(65_536))
      this.#queryMutator.mutate(packet)
    }
    // The driver's buffer has room for 4,096 bytes; a stream's frame may be longer.
    const client = random.chance(0.6) ? 0 : random.below(CLIENTS.length)
    const isTooLong = CLIENTS[client]!.proto === 0 && packet.length > 4096
    const isCut = isTooLong || random.chance(0.002)
    if (isTooLong) packet.length = 4096
    if (!isCut && random.chance(FLOOD_CHANCE)) {
      this.#repeats = FLOOD
      this.#repeated = packet.copy()
    }
    this.#do(isCut ? 'x' : 'q', client, 0, packet)
  }

  #replyStep(): void {
    const random = this.#random
    const packet = this.#packet
    const { outlet } = this.#harness
    this.lastWasReply = true
    let back = 0
    for (let tries = 0; tries < 4; tries++) {
      back = Math.floor(random.fraction() ** 3 * Math.min(200, outlet.sent))
      if (outlet.sentBefore(back)?.isAnswered === false) break
    }
    const sent = outlet.sentBefore(back)!
    if (random.chance(0.7)) {
      this.#replyMaker.make(sent.bytes, 0, sent.length, packet)
      if (random.chance(0.65)) this.#replyMutator.mutate(packet)
    } else {
      this.#takeReply(sent.bytes, sent.length)
      this.#replyMutator.mutate(packet)
    }
    let flags = 0
    if (random.chance(0.97)) flags |= ReplyFlag.ID
    if (random.chance(0.98)) flags |= ReplyFlag.SOCKET
    if (random.chance(0.01)) flags |= ReplyFlag.CUT
    if (random.chance(0.6)) flags |= ReplyFlag.QUESTION
    this.#do('r', flags, back, packet)
  }

  /** A reply of the corpus, with the question that was sent in place of its own. */
  #takeReply(query: Uint8Array, length: number): void {
    const packet = this.#packet
    const reply = this.#replies.pick()
    const head = this.#anatomy.read(query, 0, length).questionEnd
    const tail = this.#anatomy.read(reply, 0, reply.length).questionEnd
    if (tail === 0 || head === 0) {
      packet.set(reply)
      return
    }
    packet
      .clear()
      .append(reply, 0, 12)
      .append(query, 12, head - 12)
      .append(reply, tail)
  }
}
