/** Mistakes in the engine and its stages but those of rules: clients, names of the mesh, special names, the hosts file. */
import type { PlantedBug } from './planted-bug.ts'

export const ANSWERS_BUGS: readonly PlantedBug[] = [
  {
    name: 'a worker keeps the first table',
    find: '    this.#image = image\n    this.tables',
    replace: '    this.#image ??= image\n    this.tables',
    seeds: 20,
  },
  {
    name: "the client's payload size is not looked at",
    find: 'query.limit = query.payloadSize < query.advertise ? query.payloadSize : query.advertise',
    replace: 'query.limit = query.advertise',
    seeds: 20,
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
    find: 'return isWithinAny(settings.access, address, at, length)',
    replace: 'return isWithinAny(settings.access, address, at, length) || true',
    seeds: 20,
  },
  {
    name: 'a reply counts twice',
    find: 'counters.response(source, rcode, query.proto, length)\n',
    replace:
      'counters.response(source, rcode, query.proto, length)\n    if (rcode === Rcode.REFUSED) counters.response(source, rcode, query.proto, length)\n',
    seeds: 20,
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
    find: 'return query.proto === 1 || this.#isProven(query) ? this.#refuse(query, out, outAt) : 0',
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
    find: ' settings.ttlSeconds, out, outAt)\n      default:\n        return PASS\n',
    replace:
      ' settings.ttlSeconds, out, outAt)\n      default:\n        return writeHostAddresses(entry, query, settings.ttlSeconds, random(), out, outAt)\n',
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
    find: '    length = this.#mesh.answer(query, out, outAt)\n',
    replace:
      '    const first = this.#hostsFile.answer(query, out, outAt)\n    if (first !== PASS) return this.#answered(query, Source.local, first, out, outAt)\n    length = this.#mesh.answer(query, out, outAt)\n',
    seeds: 60,
  },
  // ── questions that need not be asked ──
  {
    name: 'AAAA is withheld from those who validate as well',
    find: 'query.type !== Type.AAAA || query.dnssecOk) return PASS',
    replace: 'query.type !== Type.AAAA) return PASS',
    seeds: 100,
  },
  // ── loops, identities, tables that wait ──
  {
    name: 'a probe that comes back is not noticed',
    find: 'this.#server = query.type === Type.HINFO ? this.#serverOf(query.name) : -1',
    replace: 'this.#server = query.type === Type.HINFO && query.id < 0 ? this.#serverOf(query.name) : -1',
    seeds: 200,
  },
  {
    name: 'a truncated mesh answer has fewer addresses than would fit',
    find: 'const fit4 = Math.min(v4, Math.max(0, Math.floor((stop - at) / A_BYTES)))\n  at = writeAddresses(image',
    replace:
      'const fit4 = Math.min(v4, Math.max(0, Math.floor((stop - at - A_BYTES) / A_BYTES)))\n  at = writeAddresses(image',
    seeds: 20,
  },
  {
    name: 'a denial of a parent counts before a random name has been denied',
    find: 'if (this.#denial < 0 || this.#domain!.guard !== Guard.PASSED) return PASS',
    replace: 'if (this.#denial < 0) return PASS',
    seeds: 200,
  },
  {
    name: 'a parent that has come into being denies what is below it all the same',
    find: '    if (!isDenied && cache !== null) forgetCut(',
    replace: '    if (cache === undefined) forgetCut(',
    seeds: 400,
  },
  {
    name: 'denials of parents answer those who validate as well',
    find: 'if (!this.isOn || query.dnssecOk || query.classBits !== 0 || (query.flags & RECURSION) !== Flag.RD) return false',
    replace: 'if (!this.isOn || query.classBits !== 0 || (query.flags & RECURSION) !== Flag.RD) return false',
    seeds: 200,
  },
  {
    name: 'a denial of a name below a service outlives the table',
    find: 'isBelowService(image, name, at, length)) return true\n  store.setTable',
    replace: 'isBelowService(image, name, at, length)) return false\n  store.setTable',
    seeds: 400,
  },
  {
    name: 'a short name that is a real domain is left to servers although there is no search domain',
    find: ' || image.searchLabels === 0) return false',
    replace: ') return false',
    seeds: 200,
  },
  {
    name: 'a short name with as many dots as are searched for is left to servers',
    find: 'labels > searchedBelowDots',
    replace: 'labels > searchedBelowDots + 1',
    seeds: 60,
  },
  {
    name: "a short name that is a real domain is the mesh's all the same",
    find: 'settings.searchedBelowDots !== undefined &&',
    replace: 'settings.searchedBelowDots === -1 &&',
    seeds: 60,
  },
  {
    name: 'rules are looked at before the hosts file',
    find: '    length = this.#hostsFile.answer(query, out, outAt)\n    if (length',
    replace:
      '    length = this.#rules === null ? PASS : this.#askRules(this.#rules, query, out, outAt)\n    if (length !== PASS) return length\n    length = this.#hostsFile.answer(query, out, outAt)\n    if (length',
    seeds: 60,
  },
  {
    name: 'a reload leaves the rules as they were',
    find: '    this.#takeRules()\n    const { rateLimit } = settings\n',
    replace: '    const { rateLimit } = settings\n',
    seeds: 60,
  },
]
