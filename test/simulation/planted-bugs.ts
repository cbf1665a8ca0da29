/** Mistakes that the simulation must find: each is a small change to a copy of the source. */
export interface PlantedBug {
  name: string
  file: string
  find: string
  replace: string
  /** Seeds within which it must be caught, from the first one on. */
  seeds: number
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'a reply counts whatever socket it came in by',
    file: 'engine/forwarder.ts',
    find: 'if (inFlight.attemptSocket[a] !== socket)',
    replace: 'if (inFlight.attemptSocket[a] === -5)',
    seeds: 20,
  },
  {
    name: 'the id of a reply is not looked at, only the socket',
    file: 'engine/forwarder.ts',
    find: 'const a = inFlight.attemptById(readU16(packet, start))',
    replace:
      'const a = inFlight.attemptSocket.findIndex((s, k) => s === socket && inFlight.attemptExchange[k] !== NONE)',
    seeds: 20,
  },
  {
    name: 'the name in a reply is not compared',
    file: 'dns/answer.ts',
    find: 'if (LOWER[packet[from + i]!] !== asked[askedAt + i]) return false',
    replace: 'if (packet[from + i] === 256) return false',
    seeds: 20,
  },
  {
    name: 'the class in a reply is not compared',
    file: 'dns/answer.ts',
    find: 'readU16(packet, type + 2) === CLASS_IN',
    replace: 'readU16(packet, type + 2) >= CLASS_IN',
    seeds: 60,
  },
  {
    name: 'a query counts as a reply',
    file: 'engine/forwarder.ts',
    find: 'if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR)',
    replace: 'if ((flags & Flag.OPCODE) !== 0)',
    seeds: 60,
  },
  {
    name: 'ages are rounded up',
    file: 'engine/stored-answer.ts',
    find: 'Math.floor((now - store.storedAt(at)) / 1000)',
    replace: 'Math.ceil((now - store.storedAt(at)) / 1000)',
    seeds: 20,
  },
  {
    name: 'an answer lives a second too long',
    file: 'engine/engine.ts',
    find: 'if (age < lifetime) {',
    replace: 'if (age <= lifetime) {',
    seeds: 20,
  },
  {
    name: 'a waiter is forgotten',
    file: 'engine/forwarder.ts',
    find: `      outlet.sendReply(w, length)
      inFlight.freeWaiter(w)
    }
    if (this.#isHopeful(x)`,
    replace: `      outlet.sendReply(w, length)
      inFlight.freeWaiter(w)
      if (inFlight.waiters[x] === 1) inFlight.takeWaiter(x, waiter)
    }
    if (this.#isHopeful(x)`,
    seeds: 20,
  },
  {
    name: 'a waiter is not given back after a failure',
    file: 'engine/forwarder.ts',
    find: `      outlet.sendReply(w, length)
      inFlight.freeWaiter(w)
    }
    this.#close(x)`,
    replace: `      outlet.sendReply(w, length)
    }
    this.#close(x)`,
    seeds: 20,
  },
  {
    name: "the stored question's case leaks",
    file: 'engine/stored-answer.ts',
    find: 'copyBytes(query.packet, query.at + HEADER_BYTES, nameLength, out, outAt + HEADER_BYTES)',
    replace: 'void nameLength',
    seeds: 20,
  },
  {
    name: 'the slot of an image is rewritten while a worker reads it',
    file: 'table/image-pool.ts',
    find: 'for (const oldest of this.workers.values()) if (oldest <= slot.generation) return false',
    replace: '',
    seeds: 200,
  },
  {
    name: 'a worker keeps the first table',
    file: 'engine/engine.ts',
    find: '    this.#image = image\n',
    replace: '    this.#image ??= image\n',
    seeds: 20,
  },
  {
    name: 'a changed table counts as equal',
    file: 'table/content-hash.ts',
    find: 'this.low === other.low && this.high === other.high && this.entries === other.entries && this.bytes === other.bytes',
    replace: 'this.low !== other.high + 0.5',
    seeds: 20,
  },
  {
    name: 'the negative TTL is the TTL of the SOA alone',
    file: 'dns/answer.ts',
    find: 'into.soaTtl = Math.min(ttlOf(packet, fixed + 4), ttlOf(packet, at - 4))',
    replace: 'into.soaTtl = ttlOf(packet, fixed + 4)',
    seeds: 20,
  },
  {
    name: 'a timer is never cancelled',
    file: 'engine/forwarder.ts',
    find: '    this.timers.cancel(x)\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'an attempt that is closed is still found by its id',
    file: 'engine/in-flight.ts',
    find: 'this.#byId[this.attemptId[a]!] = 0',
    replace: 'void this.#byId',
    seeds: 20,
  },
  {
    name: 'what was asked without RD is kept',
    file: 'engine/forwarder.ts',
    find: 'lifetime > 0 && (variant & Variant.NO_RECURSION) === 0',
    replace: 'lifetime > 0',
    seeds: 20,
  },
  {
    name: 'queries without RD are answered from the cache, and answers do not tell them apart',
    file: 'engine/engine.ts',
    find: 'const isRecursive = (query.flags & 0x0100) !== 0',
    replace: 'const isRecursive = true',
    seeds: 60,
  },
  {
    name: 'answers with and without DO are the same',
    file: 'engine/engine.ts',
    find: '(query.dnssecOk ? Variant.DO : 0) |',
    replace: '',
    seeds: 20,
  },
  {
    name: 'CD is not copied',
    file: 'engine/stored-answer.ts',
    find: '(query.flags & (Flag.RD | Flag.CD))',
    replace: '(query.flags & Flag.RD)',
    seeds: 20,
  },
  {
    name: 'AD is shown to those who did not ask for it',
    file: 'engine/stored-answer.ts',
    find: 'const wantsAd = (query.flags & Flag.AD) !== 0 || query.dnssecOk',
    replace: 'const wantsAd = true',
    seeds: 20,
  },
  {
    name: 'a truncated reply is taken for the whole',
    file: 'engine/forwarder.ts',
    find: 'if (isStream ? (flags & Flag.TC) !== 0 : isCut || (flags & Flag.TC) !== 0) {',
    replace: 'if (!isStream && isCut) {',
    seeds: 20,
  },
  {
    name: 'a cut answer does not say so',
    file: 'engine/stored-answer.ts',
    find: 'truncated = section < 2 ? Flag.TC : 0',
    replace: 'truncated = 0',
    seeds: 20,
  },
  {
    name: "the client's payload size is not looked at",
    file: 'engine/engine.ts',
    find: 'query.limit = query.payloadSize < query.advertise ? query.payloadSize : query.advertise',
    replace: 'query.limit = query.advertise',
    seeds: 20,
  },
  {
    name: 'the TTL has no upper bound',
    file: 'engine/stored-answer.ts',
    find: 'return ttl < floor ? floor : ttl > cap ? cap : ttl',
    replace: 'return ttl < floor ? floor : ttl',
    seeds: 60,
  },
  {
    name: 'a TTL with the top bit is a large one',
    file: 'dns/answer.ts',
    find: 'return ttl > 0x7fffffff ? 0 : ttl',
    replace: 'return ttl > 0x7fffffff ? 0x7fffffff : ttl',
    seeds: 60,
  },
  {
    name: 'stale answers are served for ever',
    file: 'engine/forwarder.ts',
    find: '< store.lifetimeSeconds(block) + this.#settings.cache.staleSeconds',
    replace: '< Number.POSITIVE_INFINITY',
    seeds: 200,
  },
  {
    name: 'stale answers keep their TTL',
    file: 'engine/forwarder.ts',
    find: 'writeStored(cache.store, block, waiter, 0, STALE_TTL_SECONDS,',
    replace: 'writeStored(cache.store, block, waiter, 0, -1,',
    seeds: 60,
  },
  {
    name: 'REFUSED is passed on',
    file: 'dns/reply.ts',
    find: 'rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED ||',
    replace: 'rcode === Rcode.SERVFAIL ||',
    seeds: 20,
  },
  {
    name: 'the cache keeps the older of two answers',
    file: 'engine/cache.ts',
    find: '    this.#forget(hash, from.bytes, from.keyAt(at), from.keyLength(at))\n',
    replace: '    void hash\n',
    seeds: 200,
  },
  {
    name: 'a flush leaves the old generation',
    file: 'engine/cache.ts',
    find: `    this.#young.clear()
    this.#old.clear()
    return entries`,
    replace: `    this.#young.clear()
    return entries`,
    seeds: 400,
  },
  {
    name: 'a flush of a name does nothing',
    file: 'engine/cache.ts',
    find: '        generation.kill(block)\n        count++',
    replace: '        count++',
    seeds: 200,
  },
  {
    name: 'the cache finds an answer of another type',
    file: 'engine/engine.ts',
    find: '    key[name.length + 1] = query.type\n',
    replace: '    key[name.length + 1] = query.type & ~1\n',
    seeds: 20,
  },
  {
    name: 'servers that are down are not probed',
    file: 'engine/upstreams.ts',
    find: 'if (!state.isDown || now < state.probeAt ||',
    replace: 'if (state.isDown || now < state.probeAt ||',
    seeds: 60,
  },
  {
    name: 'one question may cause any number of messages',
    file: 'engine/forwarder.ts',
    find: 'const MAX_MESSAGES = 8',
    replace: 'const MAX_MESSAGES = 80',
    seeds: 200,
  },
  {
    name: 'a server that fails is not asked another time, and no other one either',
    file: 'engine/forwarder.ts',
    find: "    if (isAgain && reason !== 'network')",
    replace: "    inFlight.failedTwice[x] = 0xffff_ffff\n    if (isAgain && reason !== 'network')",
    seeds: 60,
  },
  {
    name: 'a wildcard answers for its own name',
    file: 'table/image.ts',
    find: 'for (let k = 1; k < labels; k++) {',
    replace: 'for (let k = 0; k < labels; k++) {',
    seeds: 200,
  },
  {
    name: 'the CNAME of an expanded wildcard is cut too short',
    file: 'engine/mesh-answers.ts',
    find: 'const length = name.labelAt[image.prefixLabels]!',
    replace: 'const length = name.labelAt[image.prefixLabels - 1]!',
    seeds: 200,
  },
  {
    name: 'an address record is rotated beyond the last',
    file: 'engine/mesh-answers.ts',
    find: 'if (++k === count) k = 0',
    replace: 'if (++k > count) k = 0',
    seeds: 20,
  },
  {
    name: 'no SOA says how long there is nothing',
    file: 'engine/mesh-answers.ts',
    find: '  setCounts(out, outAt, answers, 1, query.hasEdns ? 1 : 0)',
    replace: '  setCounts(out, outAt, answers, 0, query.hasEdns ? 1 : 0)',
    seeds: 20,
  },
  {
    name: 'queries are answered before there is a table',
    file: 'engine/engine.ts',
    find: 'if (image === null && this.#isWaitingForTable()) {',
    replace: 'if (image === null && this.#isWaitingForTable() && this.now < 0) {',
    seeds: 60,
  },
  {
    name: 'everybody may ask',
    file: 'engine/access.ts',
    find: 'for (const prefix of settings.access) if (isWithin(prefix, address, at, length)) return true\n  return false',
    replace:
      'for (const prefix of settings.access) if (isWithin(prefix, address, at, length)) return true\n  return true',
    seeds: 20,
  },
  {
    name: 'a reload leaves attempts at servers that have another index now',
    file: 'engine/forwarder.ts',
    find: 'while (this.inFlight.firstAttempt[x] !== NONE) this.inFlight.closeAttempt(this.inFlight.firstAttempt[x]!)',
    replace: '',
    seeds: 400,
  },
  {
    name: 'a server that does not know EDNS is asked with an OPT again and again',
    file: 'engine/forwarder.ts',
    find: 'if (this.upstreams.isEdnsBroken(inFlight.attemptServer[a]!, this.#context.now)) return end - at',
    replace: '',
    seeds: 400,
  },
  {
    name: 'a loop that sleeps is not told of the next timer',
    file: 'engine/timers.ts',
    find: 'if (this.#armed++ === 0 || at < this.#earliest) this.#earliest = at',
    replace: 'if (this.#armed++ === 0) this.#earliest = at',
    seeds: 60,
  },
  {
    name: 'the reply over a stream goes to the connection that asks now',
    file: 'worker/stream-desk.ts',
    find: 'this.#turnTo(this.#held[waiter]!)',
    replace: 'this.#turnTo(this.#asking)',
    seeds: 20,
  },
  {
    name: 'a new stream worker inherits the connections of the one before',
    file: 'worker/stream-desk.ts',
    find: 'this.#held.fill(NO_CONNECTION)',
    replace: 'void this.#held',
    seeds: 200,
  },
  {
    name: 'a reply counts twice',
    file: 'engine/engine.ts',
    find: 'this.counters.response(source, rcode, query.proto, length)\n',
    replace:
      'this.counters.response(source, rcode, query.proto, length)\n    if (rcode === Rcode.REFUSED) this.counters.response(source, rcode, query.proto, length)\n',
    seeds: 20,
  },
  {
    name: 'records that a server plants are passed on',
    file: 'dns/scrub.ts',
    find: '  if (markKept(into)) return true\n',
    replace: '  if (markKept(into) || into.answers > 0) return true\n',
    seeds: 60,
  },
]
