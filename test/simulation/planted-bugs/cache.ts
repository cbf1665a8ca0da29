/** Mistakes in the cache: what is kept, for how long, and what it answers. */
import type { PlantedBug } from './planted-bug.ts'

export const CACHE_BUGS: readonly PlantedBug[] = [
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
    name: "the stored question's case leaks",
    find: 'copyBytes(query.packet, query.at + HEADER_BYTES, question - HEADER_BYTES, out, outAt + HEADER_BYTES)',
    replace: 'copyBytes(bytes, message + HEADER_BYTES, question - HEADER_BYTES, out, outAt + HEADER_BYTES)',
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
    find: 'extraFlags | (query.flags & (Flag.RD | Flag.CD))',
    replace: 'extraFlags | (query.flags & Flag.RD)',
    seeds: 20,
  },
  {
    name: 'AD is shown to those who did not ask for it',
    find: 'const ad = wantsAd && store.has(at, StoredFlag.AUTHENTIC)',
    replace: 'const ad = store.has(at, StoredFlag.AUTHENTIC)',
    seeds: 20,
  },
  {
    name: 'a cut answer does not say so',
    find: 'truncated = section < 2 ? Flag.TC : 0',
    replace: 'truncated = 0',
    seeds: 20,
  },
  {
    name: 'the TTL has no upper bound',
    find: 'return ttl < floor ? floor : ttl > cap ? cap : ttl',
    replace: 'return ttl < floor ? floor : ttl',
    seeds: 60,
  },
  {
    name: 'stale answers are served for ever',
    find: '< store.lifetimeSeconds(block) + staleSeconds',
    replace: '< Number.POSITIVE_INFINITY',
    seeds: 200,
  },
  {
    name: 'stale answers keep their TTL',
    find: 'return writeStored(store, block, query, 0, STALE_TTL_SECONDS,',
    replace: 'return writeStored(store, block, query, 0, -1,',
    seeds: 60,
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
    find: '    key[name.length + 1] = type\n    key[name.length + 2] = variant\n',
    replace: '    key[name.length + 1] = type & ~1\n    key[name.length + 2] = variant\n',
    seeds: 20,
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
    find: '  key[length + 2] = variant\n',
    replace: '  key[length + 2] = variant & 2\n',
    seeds: 60,
  },
  {
    name: 'names below one that does not exist are asked for all the same',
    find: 'return this.#context.settings.cache.nxdomainCut === true\n',
    replace: 'return this.#context.settings.cache.nxdomainCut === true && this.#context.now < 0\n',
    seeds: 60,
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
    name: 'a stale answer does not say that it is one',
    find: 'Ede.STALE_NXDOMAIN : Ede.STALE_ANSWER',
    replace: 'Ede.NONE : Ede.NONE',
    seeds: 60,
  },
  {
    name: 'the extended error of an answer is not kept',
    find: 'halves[half + HALF_EDE] = answer.ede === Ede.NONE ? NO_EDE : answer.ede',
    replace: 'halves[half + HALF_EDE] = NO_EDE',
    seeds: 20,
  },
  {
    name: 'a hit is counted as a look-up twice',
    find: '    counters.add(Cell.cacheRequests, 1)\n    if (this.#found',
    replace: '    counters.add(Cell.cacheRequests, 2)\n    if (this.#found',
    seeds: 20,
  },
  {
    name: 'a denial of a name below a service serves stale',
    find: 'if (store.has(block, StoredFlag.FAILURE | StoredFlag.BRIEF)) return false',
    replace: 'if (store.has(block, StoredFlag.FAILURE)) return false',
    seeds: 400,
  },
]
