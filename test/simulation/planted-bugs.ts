/** Mistakes that the simulation must find: each is a small change to a copy of the source. */
export interface PlantedBug {
  name: string
  /** Stands exactly once in src, in a file that may have any name. */
  find: string
  replace: string
  /** Seeds within which it must be caught, from the first one on. */
  seeds: number
}

export const PLANTED_BUGS: readonly PlantedBug[] = [
  {
    name: 'a reply counts whatever socket it came in by',
    find: 'if (attempts.socket(a) !== socket)',
    replace: 'if (attempts.socket(a) === -5)',
    seeds: 20,
  },
  {
    name: 'of all that went out by a socket that fails only one is told',
    find: "        this.#pending.attemptFailed(a, 'network', Fault.ITS)\n    }\n",
    replace: "        return this.#pending.attemptFailed(a, 'network', Fault.ITS)\n    }\n",
    seeds: 60,
  },
  {
    name: 'names below the domain of a route are not on it',
    find: 'if (name[from] === 0) return routes.length - 1',
    replace: 'if (from === at || name[from] === 0) return routes.length - 1',
    seeds: 60,
  },
  {
    name: 'a question is refused while there is room for another',
    find: 'foreground >= maxForeground',
    replace: 'foreground >= maxForeground - 1',
    seeds: 20,
  },
  {
    name: 'few clients may wait for one question',
    find: 'this.#count[p]! >= this.#most',
    replace: 'this.#count[p]! >= this.#most >> 5',
    seeds: 60,
  },
  {
    name: 'the index of a route is one byte',
    find: 'this.#route = new Uint16Array(n)',
    replace: 'this.#route = new Uint8Array(n)',
    seeds: 200,
  },
  {
    name: 'BADCOOKIE counts without a cookie',
    find: 'answer.rcode === Rcode.BADCOOKIE && answer.cookieLength > 0',
    replace: 'answer.rcode === Rcode.BADCOOKIE',
    seeds: 200,
  },
  {
    name: 'the id of a reply is not looked at, only the socket',
    find: 'const a = attempts.byId(readU16(packet, start))',
    replace:
      'const a = Array.from({ length: attempts.capacity }, (_, k) => k).findIndex((k) => attempts.pendingOf(k) !== NONE && attempts.socket(k) === socket)',
    seeds: 20,
  },
  {
    name: 'the name in a reply is not compared',
    find: 'if (LOWER[packet[from + i]!] !== asked[askedAt + i]) return false',
    replace: 'if (packet[from + i] === 256) return false',
    seeds: 20,
  },
  {
    name: 'the class in a reply is not compared',
    find: 'readU16(packet, type + 2) === CLASS_IN',
    replace: 'readU16(packet, type + 2) >= CLASS_IN',
    seeds: 60,
  },
  {
    name: 'a query counts as a reply',
    find: 'if ((flags & (Flag.QR | Flag.OPCODE)) !== Flag.QR)',
    replace: 'if ((flags & Flag.OPCODE) !== 0)',
    seeds: 60,
  },
  {
    name: 'ages are rounded up',
    find: 'Math.floor((now - store.storedAt(at)) / 1000)',
    replace: 'Math.ceil((now - store.storedAt(at)) / 1000)',
    seeds: 20,
  },
  {
    name: 'an answer lives a second too long',
    find: 'if (age >= store.lifetimeSeconds(block)) return this.#answerExpired',
    replace: 'if (age > store.lifetimeSeconds(block)) return this.#answerExpired',
    seeds: 20,
  },
  {
    name: 'a waiter is forgotten',
    find: '      this.#send(w, Source.upstream, answer.rcode, length)\n',
    replace:
      '      this.#send(w, Source.upstream, answer.rcode, length)\n      if (waiters.of(p) === 1) waiters.take(p, waiter)\n',
    seeds: 20,
  },
  {
    name: 'a waiter is not given back after a failure',
    find: '    outlet.sendReply(w, length)\n    waiters.release(w)\n  }\n\n  /** Sends the reply',
    replace: '    outlet.sendReply(w, length)\n  }\n\n  /** Sends the reply',
    seeds: 20,
  },
  {
    name: "the stored question's case leaks",
    find: 'copyBytes(query.packet, query.at + HEADER_BYTES, question - HEADER_BYTES, out, outAt + HEADER_BYTES)',
    replace: 'copyBytes(bytes, message + HEADER_BYTES, question - HEADER_BYTES, out, outAt + HEADER_BYTES)',
    seeds: 20,
  },
  {
    name: 'the slot of an image is rewritten while a worker reads it',
    find: 'for (const oldest of this.workers.values()) if (oldest <= slot.generation) return false',
    replace: '',
    seeds: 200,
  },
  {
    name: 'a worker keeps the first table',
    find: '    this.#image = image\n    this.counters',
    replace: '    this.#image ??= image\n    this.counters',
    seeds: 20,
  },
  {
    name: 'a changed table counts as equal',
    find: 'this.low === other.low && this.high === other.high && this.entries === other.entries && this.bytes === other.bytes',
    replace: 'this.low !== other.high + 0.5',
    seeds: 20,
  },
  {
    name: 'the negative TTL is the TTL of the SOA alone',
    find: 'into.soaTtl = Math.min(ttlOf(packet, fixed + 4), ttlOf(packet, at - 4))',
    replace: 'into.soaTtl = ttlOf(packet, fixed + 4)',
    seeds: 20,
  },
  {
    name: 'a timer is never cancelled',
    find: '    this.timers.cancel(p)\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'an attempt that is closed is still found by its id',
    find: 'this.#byId[this.#id[a]!] = 0',
    replace: 'void this.#byId',
    seeds: 20,
  },
  {
    name: 'queries without RD are answered from the cache, and answers do not tell them apart',
    find: 'return (query.flags & Flag.RD) !== 0',
    replace: 'return query.flags >= 0',
    seeds: 60,
  },
  {
    name: 'answers with and without DO are the same',
    find: '(query.dnssecOk ? Variant.DO : 0) |',
    replace: '',
    seeds: 20,
  },
  {
    name: 'CD is not copied',
    find: '(query.flags & (Flag.RD | Flag.CD))',
    replace: '(query.flags & Flag.RD)',
    seeds: 20,
  },
  {
    name: 'AD is shown to those who did not ask for it',
    find: 'const ad = wantsAd && store.has(at, StoredFlag.AUTHENTIC)',
    replace: 'const ad = store.has(at, StoredFlag.AUTHENTIC)',
    seeds: 20,
  },
  {
    name: 'a truncated reply is taken for the whole',
    find: 'if (isCut || (flags & Flag.TC) !== 0) {',
    replace: 'if (isCut) {',
    seeds: 20,
  },
  {
    name: 'messages of other opcodes get no OPT back',
    find: '    seekOpt(query)\n    return Rcode.NOTIMP\n',
    replace: '    return Rcode.NOTIMP\n',
    seeds: 20,
  },
  {
    name: 'a query with records in other sections gets no OPT back',
    find: '  if (sections !== 0) seekOpt(query)\n',
    replace: '  if (sections !== 0) void sections\n',
    seeds: 60,
  },
  {
    name: 'a cut answer does not say so',
    find: 'truncated = section < 2 ? Flag.TC : 0',
    replace: 'truncated = 0',
    seeds: 20,
  },
  {
    name: "the client's payload size is not looked at",
    find: 'query.limit = query.payloadSize < query.advertise ? query.payloadSize : query.advertise',
    replace: 'query.limit = query.advertise',
    seeds: 20,
  },
  {
    name: 'the TTL has no upper bound',
    find: 'return ttl < floor ? floor : ttl > cap ? cap : ttl',
    replace: 'return ttl < floor ? floor : ttl',
    seeds: 60,
  },
  {
    name: 'a TTL with the top bit is a large one',
    find: 'return ttl > 0x7fffffff ? 0 : ttl',
    replace: 'return ttl > 0x7fffffff ? 0x7fffffff : ttl',
    seeds: 60,
  },
  {
    name: 'stale answers are served for ever',
    find: '< store.lifetimeSeconds(block) + staleSeconds',
    replace: '< Number.POSITIVE_INFINITY',
    seeds: 200,
  },
  {
    name: 'an answer that nobody may keep leaves the one before it in force',
    find: 'else if (isRecursive && (answer.rcode === Rcode.NOERROR ||',
    replace: 'else if (!isRecursive && (answer.rcode === Rcode.NOERROR ||',
    seeds: 200,
  },
  {
    name: 'stale answers keep their TTL',
    find: 'return writeStored(store, block, query, 0, STALE_TTL_SECONDS,',
    replace: 'return writeStored(store, block, query, 0, -1,',
    seeds: 60,
  },
  {
    name: 'REFUSED is passed on',
    find: 'rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED ||',
    replace: 'rcode === Rcode.SERVFAIL ||',
    seeds: 20,
  },
  {
    name: 'the cache keeps the older of two answers',
    find: '    this.forget(hash, from.bytes, from.keyAt(at), from.keyLength(at))\n',
    replace: '    void hash\n',
    seeds: 200,
  },
  {
    name: 'a flush leaves the old generation',
    find: `    this.#young.clear()
    this.#old.clear()
    return entries`,
    replace: `    this.#young.clear()
    return entries`,
    seeds: 400,
  },
  {
    name: 'a flush of a name does nothing',
    find: '        generation.kill(block)\n        count++',
    replace: '        count++',
    seeds: 200,
  },
  {
    name: 'a flush of a name leaves the denials of names above it',
    find: 'if (length !== name.length && !(isCut && suffixes.has(length))) continue',
    replace: 'if (length !== name.length || (isCut && suffixes.size === 0)) continue',
    seeds: 400,
  },
  {
    name: 'the cache finds an answer of another type',
    find: '    key[name.length + 1] = type\n',
    replace: '    key[name.length + 1] = type & ~1\n',
    seeds: 20,
  },
  {
    name: 'servers that are down are not probed',
    find: 'if (!state.isDown || now < state.probeAt ||',
    replace: 'if (state.isDown || now < state.probeAt ||',
    seeds: 60,
  },
  {
    name: 'one question may cause any number of messages',
    find: 'const MAX_MESSAGES = 8',
    replace: 'const MAX_MESSAGES = 80',
    seeds: 200,
  },
  {
    name: 'a server that does not answer is asked by datagrams again and again',
    find: 'const MAX_UNANSWERED = 3',
    replace: 'const MAX_UNANSWERED = 6',
    seeds: 60,
  },
  {
    name: 'a server that fails is not asked another time, and no other one either',
    find: '    if (isAgain && !isPassing)',
    replace: '    for (let k = 0; k < 32; k++) inFlight.ruledOut.add(p, k)\n    if (isAgain && !isPassing)',
    seeds: 200,
  },
  {
    name: 'the least specific wildcard wins',
    find: 'for (let k = 1; k < labels; k++) {',
    replace: 'for (let k = labels - 1; k >= 1; k--) {',
    seeds: 200,
  },
  {
    name: 'the CNAME of an expanded wildcard is cut too short',
    find: 'const length = name.labelAt[image.prefixLabels]!',
    replace: 'const length = name.labelAt[image.prefixLabels - 1]!',
    seeds: 200,
  },
  {
    name: 'an address record is rotated beyond the last',
    find: 'if (++k === count) k = 0',
    replace: 'if (++k > count) k = 0',
    seeds: 20,
  },
  {
    name: 'no SOA says how long there is nothing',
    find: '  setCounts(out, outAt, answers, 1, query.hasEdns ? 1 : 0)',
    replace: '  setCounts(out, outAt, answers, 0, query.hasEdns ? 1 : 0)',
    seeds: 20,
  },
  {
    name: 'queries are answered before there is a table',
    find: 'if (this.#context.image !== null || !this.#isWaiting()) return PASS',
    replace: 'if (this.#context.image !== null || !this.#isWaiting() || this.#context.now >= 0) return PASS',
    seeds: 60,
  },
  {
    name: 'everybody may ask',
    find: 'for (const prefix of settings.access) if (isWithin(prefix, address, at, length)) return true\n  return false',
    replace:
      'for (const prefix of settings.access) if (isWithin(prefix, address, at, length)) return true\n  return true',
    seeds: 20,
  },
  {
    name: 'a reload leaves attempts at servers that have another index now',
    find: '      attempts.closeAll(p)\n',
    replace: '',
    seeds: 400,
  },
  {
    name: 'timers of the tick that has begun fire late',
    find: 'for (let tick = target; tick >= first; tick--)',
    replace: 'for (let tick = target - 1; tick >= first; tick--)',
    seeds: 20,
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
    name: 'a reply counts twice',
    find: 'counters.response(source, rcode, query.proto, length)\n',
    replace:
      'counters.response(source, rcode, query.proto, length)\n    if (rcode === Rcode.REFUSED) counters.response(source, rcode, query.proto, length)\n',
    seeds: 20,
  },
  {
    name: 'records that a server plants are passed on',
    find: 'if (!into.isPlain && !rebuild(into, type, dnssecOk)) return false',
    replace: 'if (!into.isPlain && into.answers === 0 && !rebuild(into, type, dnssecOk)) return false',
    seeds: 60,
  },
  {
    name: 'records of an answer stay in the order in which the server gave them',
    find: 'if (owner !== next || readU16(packet, fixed + 2) !== CLASS_IN',
    replace: 'if (readU16(packet, fixed + 2) !== CLASS_IN',
    seeds: 60,
  },
  {
    name: 'aliases come after what they lead to',
    find: '  const end = writeChain(into, type, dnssecOk)\n',
    replace:
      '  const end = writeChain(into, type, dnssecOk)\n  if (writeAsked(into, type, dnssecOk)) {\n    writeAt = questionEnd\n    written.fill(0)\n    isWritten.fill(0)\n    beginCopy(rebuilt, 0)\n    writeAsked(into, type, dnssecOk)\n    writeChain(into, type, dnssecOk)\n  }\n',
    seeds: 60,
  },
  // ── cookies towards servers, and the case of names ──
  {
    name: 'the cookie in a reply is not compared with ours',
    find: 'for (let i = 0; i < CLIENT_BYTES; i++) if (packet[at + i] !== state.cookie[i]) return false\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'the cookie of an error is not looked at',
    find: '    if (attempts.cookie(a) === AttemptCookie.NONE) return otherwise\n',
    replace: '    if (attempts.cookie(a) !== -1) return otherwise\n',
    seeds: 60,
  },
  {
    name: 'a reply without the cookie that the server always sent is believed',
    find: 'if (this.isExpected(server, now)) return false\n',
    replace: '',
    seeds: 60,
  },
  {
    name: 'a cookie of another length counts as one',
    find: 'if (length !== CLIENT_BYTES && (length < LEAST_BYTES || length > MOST_BYTES)) return false\n',
    replace: '',
    seeds: 200,
  },
  {
    name: 'the cookie that a server gives is not sent back to it',
    find: '      state.length = length\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'the first cookie that a server gives is kept for ever',
    find: 'if (length > CLIENT_BYTES) {',
    replace: 'if (length > CLIENT_BYTES && state.length === CLIENT_BYTES) {',
    seeds: 20,
  },
  {
    name: 'all servers get the same cookie of ours',
    find: 'new DataView(cookie.buffer).setInt32(i, random() | 0)',
    replace: 'new DataView(cookie.buffer).setInt32(i, (random() | 0) & 0)',
    seeds: 20,
  },
  {
    name: 'servers over TLS and HTTPS get cookies',
    find: "const isInClear = transport === 'udp' || transport === 'tcp'",
    replace: "const isInClear = transport !== ('' as string)",
    seeds: 20,
  },
  {
    name: 'a server over TLS or HTTPS is asked in the clear',
    find: "const transport = usual === 'udp' ? 'tcp' : usual",
    replace: "const transport = usual === 'udp' ? 'tcp' : 'tcp'",
    seeds: 20,
  },
  {
    name: "a client's cookie is answered with another client's",
    find: 'if (query.cookieAt > 0) copyBytes(query.replyCookie, 0, COOKIE_BYTES, this.#queries, at + COOKIE_AT)',
    replace: 'if (query.cookieAt > 0) copyBytes(query.replyCookie, 0, COOKIE_BYTES, this.#queries, COOKIE_AT)',
    seeds: 20,
  },
  {
    name: 'the case of a reply is not compared',
    find: 'if (!isOurs) return this.#loseCase(a)',
    replace: 'if (!isOurs && isCut) return this.#loseCase(a)',
    seeds: 20,
  },
  {
    name: 'names are asked in small letters all the same',
    find: 'if (seed !== 0) mixCase(',
    replace: 'if (seed === 0) mixCase(',
    seeds: 20,
  },
  {
    name: 'capitals go on where a name is asked over TCP',
    find: '    this.#caseSeed[a] = 0\n  }\n',
    replace: '  }\n',
    seeds: 60,
  },
  {
    name: 'one complaint is enough for a server to be asked without EDNS for long',
    find: 'const EDNS_LOST_QUESTIONS = 3',
    replace: 'const EDNS_LOST_QUESTIONS = 1',
    seeds: 60,
  },
  {
    name: 'a server that answers with EDNS again is asked without all the same',
    find: 'this.#states[index]!.ednsLostInARow = 0',
    replace: 'void this.#states[index]',
    seeds: 400,
  },
  // ── rate limit, hosts file, names below one that does not exist ──
  {
    name: 'a bucket never fills again',
    find: 'this.#tokens[place]! + (now - this.#countedAt[place]!) * this.#perMs',
    replace: 'this.#tokens[place]! + (now - this.#countedAt[place]! > 1e12 ? this.#burst : 0)',
    seeds: 20,
  },
  {
    name: 'who asks too much is told so over UDP as well',
    find: 'return query.proto === 1 ? this.#refuse(query, out, outAt) : 0',
    replace: 'return this.#refuse(query, out, outAt)',
    seeds: 20,
  },
  {
    name: 'queries over the limit are not counted',
    find: '    this.counters.drop(Drop.rateLimited)\n',
    replace: '',
    seeds: 20,
  },
  {
    name: 'a reload leaves the rate limit as it was',
    find: '      this.#rateLimit = this.#makeRateLimit()\n    }',
    replace: '    }',
    seeds: 20,
  },
  {
    name: 'names of the hosts file are answered for every type',
    find: '      default:\n        return PASS\n    }\n  }\n',
    replace:
      '      default:\n        return writeHostAddresses(entry, query, settings.ttlSeconds, random(), out, outAt)\n    }\n  }\n',
    seeds: 20,
  },
  {
    name: 'a reload leaves the hosts file as it was',
    find: '    this.#hostsFile.refresh()\n    if (isResized) {',
    replace: '    if (isResized) {',
    seeds: 20,
  },
  {
    name: 'the hosts file comes before special names and the mesh',
    find: '    let length = this.#mesh.answer(query, out, outAt)\n',
    replace:
      '    const first = this.#hostsFile.answer(query, out, outAt)\n    if (first !== PASS) return this.#answered(query, Source.local, first, out, outAt)\n    let length = this.#mesh.answer(query, out, outAt)\n',
    seeds: 60,
  },
  {
    name: 'what a CNAME leads to does not exist, and so nothing is below the alias',
    find: '|| answer.answers > 0) return\n',
    replace: ') return\n',
    seeds: 200,
  },
  {
    name: 'a denial for names below keeps its TTL',
    find: 'Math.max(0, readU32(reply, ttlAt) - ageSeconds)',
    replace: 'readU32(reply, ttlAt)',
    seeds: 60,
  },
  {
    name: 'a denial outlives its time for names below',
    find: 'if (age >= cache.store.lifetimeSeconds(block) || ',
    replace: 'if (',
    seeds: 60,
  },
  {
    name: 'a denial counts for names that other servers are asked for',
    find: ' || upstreams.routeFor(name.lower, from, length) !== route) continue',
    replace: ' || route < 0) continue',
    seeds: 400,
  },
  {
    name: 'denials with and without DO are the same',
    find: '    key[length + 2] = variant\n',
    replace: '    key[length + 2] = variant & 2\n',
    seeds: 60,
  },
  {
    name: 'names below one that does not exist are asked for all the same',
    find: 'return this.#context.settings.cache.nxdomainCut === true\n',
    replace: 'return this.#context.settings.cache.nxdomainCut === true && this.#context.now < 0\n',
    seeds: 60,
  },
  // ── loops, identities, tables that wait ──
  {
    name: 'a probe that comes back is not noticed',
    find: 'this.#server = query.type === Type.HINFO ? this.#serverOf(query.name) : -1',
    replace: 'this.#server = query.type === Type.HINFO && query.id < 0 ? this.#serverOf(query.name) : -1',
    seeds: 200,
  },
  {
    name: 'loops are looked for all the time',
    find: 'const AGAIN_MS = 10_000',
    replace: 'const AGAIN_MS = 2000',
    seeds: 20,
  },
  {
    name: 'the probe of each server goes to the first',
    find: 'this.#askForLoop(server, name)',
    replace: 'this.#askForLoop(0, name)',
    seeds: 20,
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
  // ── what the invariants of the simulation itself were in doubt about ──
  {
    name: 'equal questions are asked each for itself',
    find: '    let p = inFlight.find(hash, key, keyLength)\n    const isJoining = p !== NONE\n',
    replace: '    let p: number = NONE\n    const isJoining = hash < NONE - 2 ** 32\n',
    seeds: 20,
  },
  {
    name: 'clients may wait for more pending queries than are allowed',
    find: 'foreground >= maxForeground',
    replace: 'foreground >= maxForeground + 2',
    seeds: 20,
  },
  {
    name: 'the timer of a stale answer is never cancelled',
    find: '    this.timers.cancel(p)\n    this.#staleTimers.cancel(p)\n',
    replace: '    this.timers.cancel(p)\n',
    seeds: 400,
  },
  {
    name: 'answers that were replaced still count as kept',
    find: '    this.store.mark(block, StoredFlag.DEAD)\n    this.live--\n',
    replace: '    this.store.mark(block, StoredFlag.DEAD)\n',
    seeds: 20,
  },
  {
    name: 'an answer that is kept is not found again',
    find: '    while (index[slot + 1] !== 0) slot = (slot + 2) & mask\n    index[slot] = hash\n',
    replace: '    while (index[slot + 1] !== 0) slot = (slot + 4) & mask\n    index[slot] = hash\n',
    seeds: 60,
  },
  {
    name: 'a truncated mesh answer has fewer addresses than would fit',
    find: 'const fit4 = Math.min(v4, Math.max(0, Math.floor((stop - at) / A_BYTES)))\n  at = writeAddresses(image',
    replace:
      'const fit4 = Math.min(v4, Math.max(0, Math.floor((stop - at - A_BYTES) / A_BYTES)))\n  at = writeAddresses(image',
    seeds: 20,
  },
  {
    name: 'one reply without the right cookie is enough for a server to get none',
    find: 'const LOST_QUESTIONS = 3',
    replace: 'const LOST_QUESTIONS = 1',
    seeds: 60,
  },
  {
    name: 'half an answer is kept',
    find: '    this.#storeAnswer(p)\n    this.#deliver(p, Flag.TC)\n',
    replace: '    if (this.#storeAnswer(p) > 0) context.cache?.put(this.#scratch, 0)\n    this.#deliver(p, Flag.TC)\n',
    seeds: 60,
  },
  {
    name: 'half an answer goes to clients over TCP as well',
    find: 'if (flags !== 0 && waiter.proto === TCP) {',
    replace: 'if (flags !== 0 && waiter.proto < 0) {',
    seeds: 20,
  },
  {
    name: 'half an answer passes for the whole',
    find: 'this.#deliver(p, Flag.TC)',
    replace: 'this.#deliver(p, 0)',
    seeds: 20,
  },
  {
    name: 'a stale answer does not say that it is one',
    find: 'Ede.STALE_NXDOMAIN : Ede.STALE_ANSWER',
    replace: 'Ede.NONE : Ede.NONE',
    seeds: 60,
  },
  {
    name: 'the reason that a server gives for a failure is not passed on',
    find: 'if (ede !== Ede.NONE) inFlight.setEde(p, ede)\n',
    replace: 'void ede\n',
    seeds: 60,
  },
  {
    name: 'the reason for a failure stays for other questions',
    find: '    this.#ede[p] = Ede.NONE\n',
    replace: '    if (this.#use[p] === 0) this.#ede[p] = Ede.NONE\n',
    seeds: 60,
  },
  {
    name: 'a server that refuses counts as one that is not there',
    find: "return reason === 'network' ||",
    replace: "return reason === 'refused' || reason === 'network' ||",
    seeds: 200,
  },
  {
    name: 'the extended error of an answer is not kept',
    find: 'halves[half + HALF_EDE] = answer.ede === Ede.NONE ? NO_EDE : answer.ede',
    replace: 'halves[half + HALF_EDE] = NO_EDE',
    seeds: 20,
  },
  {
    name: 'queries to servers are counted twice',
    find: 'context.counters.upstreamAdd(server, STREAM_FIELDS[transport], 1)',
    replace: 'context.counters.upstreamAdd(server, STREAM_FIELDS[transport], 2)',
    seeds: 20,
  },
  {
    name: 'a hit is counted as a look-up twice',
    find: '    counters.add(Cell.cacheRequests, 1)\n    if (this.#found',
    replace: '    counters.add(Cell.cacheRequests, 2)\n    if (this.#found',
    seeds: 20,
  },
]
