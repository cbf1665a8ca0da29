/**
 * Answers from this machine's hosts file: an index over entries that never change, probed with the hash that reading the
 * question has made anyway.
 */
import { Ede, Flag, Type } from '../../dns/constants.ts'
import { finishHash, hashBytes, type ScannedName } from '../../dns/name.ts'
import { beginReply, copyBytes, QUESTION_NAME, writeRecordHead } from '../../dns/reply.ts'
import { Source } from '../../stats/counters.ts'
import type { ClientQuery } from '../client-query.ts'
import { replyOptBytes, finishReply } from '../reply-opt.ts'
import type { HostEntry } from '../settings.ts'
import { type AnswerContext, type AnswerStage, PASS } from './answer-stage.ts'
import { SOA_DATA, writeAddresses, writeSoaData } from './mesh-answers.ts'

const A_BYTES = 16
const AAAA_BYTES = 28

/** Names and addresses of the hosts file. */
export class HostsFileStage implements AnswerStage {
  readonly name = 'hosts file'
  readonly source: Source = Source.local
  readonly #context: AnswerContext
  #index: HostIndex | null = null

  constructor(context: AnswerContext) {
    this.#context = context
    this.refresh()
  }

  /** Takes the hosts of the settings, and the seed, as they are now. */
  refresh(): void {
    const { seed, settings } = this.#context
    const { hosts } = settings
    this.#index = hosts === undefined || hosts.length === 0 ? null : new HostIndex(hosts, seed)
  }

  /** Passes on types other than those of addresses and, for an address, PTR. */
  answer(query: ClientQuery, out: Uint8Array, outAt: number): number {
    if (this.#index === null) return PASS
    const entry = this.#index.find(query.name)
    if (entry === null) return PASS
    const { random, settings } = this.#context
    switch (query.type) {
      case Type.A:
      case Type.AAAA:
      case Type.ANY:
      case Type.HTTPS:
      case Type.SVCB:
        if (entry.v4.length + entry.v6.length === 0) return PASS
        return writeHostAddresses(entry, query, settings.ttlSeconds, random(), out, outAt)
      case Type.PTR:
        return entry.target.length === 0 ? PASS : writeHostName(entry, query, settings.ttlSeconds, out, outAt)
      default:
        return PASS
    }
  }

  finding(query: ClientQuery): string {
    if (this.#index === null) return 'no hosts file in use'
    return this.#index.find(query.name) === null ? 'the file has no such name' : 'the file has the name'
  }
}

/** The entries by the hash of their names. */
class HostIndex {
  readonly #entries: readonly HostEntry[]
  /** Hash and entry + 1, by hash slot; at most half full. */
  readonly #slots: Int32Array

  /** `seed`: that of the names' hashes. */
  constructor(entries: readonly HostEntry[], seed: number) {
    this.#entries = entries
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(entries.length * 2 + 1)) * 2)
    const mask = this.#slots.length - 1
    entries.forEach(({ name }, place) => {
      // The root's zero byte is no part of the hash (scanName).
      const hash = finishHash(hashBytes(seed, name, 0, name.length - 1))
      let slot = (hash << 1) & mask
      while (this.#slots[slot + 1] !== 0) slot = (slot + 2) & mask
      this.#slots[slot] = hash
      this.#slots[slot + 1] = place + 1
    })
  }

  find(name: ScannedName): HostEntry | null {
    const hash = name.hash()
    const mask = this.#slots.length - 1
    for (let slot = (hash << 1) & mask; ; slot = (slot + 2) & mask) {
      const place = this.#slots[slot + 1]! - 1
      if (place < 0) return null
      if (this.#slots[slot] === hash && hasName(this.#entries[place]!, name)) return this.#entries[place]!
    }
  }
}

function hasName(entry: HostEntry, name: ScannedName): boolean {
  if (entry.name.length !== name.length) return false
  for (let i = 0; i < name.length; i++) if (entry.name[i] !== name.lower[i]) return false
  return true
}

function writeHostAddresses(
  entry: HostEntry,
  query: ClientQuery,
  ttlSeconds: number,
  random: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { type } = query
  const v4 = type === Type.A || type === Type.ANY ? entry.v4.length / 4 : 0
  const v6 = type === Type.AAAA || type === Type.ANY ? entry.v6.length / 16 : 0
  let at = beginReply(query, Flag.AA, out, outAt)
  if (v4 + v6 === 0) {
    at = writeRecordHead(out, at, QUESTION_NAME, Type.SOA, ttlSeconds, SOA_DATA)
    return finishReply(query, 0, 1, out, outAt, writeSoaData(out, at, ttlSeconds))
  }
  const stop = outAt + query.limit - replyOptBytes(query, Ede.NONE)
  const fit4 = Math.min(v4, Math.floor((stop - at) / A_BYTES))
  at = writeAddresses(entry.v4, 0, 4, v4, fit4, Type.A, QUESTION_NAME, ttlSeconds, random, out, at)
  const fit6 = fit4 < v4 ? 0 : Math.min(v6, Math.floor((stop - at) / AAAA_BYTES))
  at = writeAddresses(entry.v6, 0, 16, v6, fit6, Type.AAAA, QUESTION_NAME, ttlSeconds, random, out, at)
  if (fit4 + fit6 < v4 + v6) out[outAt + 2]! |= Flag.TC >> 8
  return finishReply(query, fit4 + fit6, 0, out, outAt, at)
}

function writeHostName(
  entry: HostEntry,
  query: ClientQuery,
  ttlSeconds: number,
  out: Uint8Array,
  outAt: number,
): number {
  const { target } = entry
  let at = beginReply(query, Flag.AA, out, outAt)
  at = writeRecordHead(out, at, QUESTION_NAME, Type.PTR, ttlSeconds, target.length)
  copyBytes(target, 0, target.length, out, at)
  return finishReply(query, 1, 0, out, outAt, at + target.length)
}
