/** Mistakes in reading and writing messages. */
import type { PlantedBug } from './planted-bug.ts'

export const MESSAGES_BUGS: readonly PlantedBug[] = [
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
    name: 'the negative TTL is the TTL of the SOA alone',
    find: 'into.soaTtl = Math.min(ttlOf(packet, fixed + 4), ttlOf(packet, at - 4))',
    replace: 'into.soaTtl = ttlOf(packet, fixed + 4)',
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
    name: 'a TTL with the top bit is a large one',
    find: '  const ttl = readU32(packet, at)\n  return ttl > 0x7fffffff ? 0 : ttl',
    replace: '  const ttl = readU32(packet, at)\n  return ttl > 0x7fffffff ? 0x7fffffff : ttl',
    seeds: 60,
  },
  {
    name: 'REFUSED is passed on',
    find: 'rcode === Rcode.SERVFAIL || rcode === Rcode.REFUSED ||',
    replace: 'rcode === Rcode.SERVFAIL ||',
    seeds: 20,
  },
  {
    name: 'records that a server plants are passed on',
    find: 'if (!into.isPlain && !rebuild(into, type, dnssecOk)) return false',
    replace: 'if (!into.isPlain && into.answers === 0 && !rebuild(into, type, dnssecOk)) return false',
    seeds: 60,
  },
  {
    name: 'NODATA without an SOA passes for a referral',
    find: 'return answers === 0 ? (flags & Flag.AA) === 0 : authorities > 0',
    replace: 'return answers === 0 || authorities > 0',
    seeds: 200,
  },
  {
    name: 'an alias whose end is referred elsewhere passes for an answer',
    find: 'return answers === 0 ? (flags & Flag.AA) === 0 : authorities > 0',
    replace: 'return answers === 0 && (flags & Flag.AA) === 0',
    seeds: 200,
  },
  {
    name: 'a DNAME is not followed',
    find: 'else if (dname < 0 || isDirect',
    replace: 'else if (dname < 6000 || isDirect',
    seeds: 60,
  },
  {
    name: 'the CNAME that follows from a DNAME may not be kept',
    find: 'Type.CNAME, readU32(answer.packet, fixed + 4), chain, to',
    replace: 'Type.CNAME, 0, chain, to',
    seeds: 60,
  },
  {
    name: 'a DNAME that makes too long a name says that there is nothing',
    find: '  if (end === Chain.TOO_LONG) rcode = Rcode.YXDOMAIN\n',
    replace: '',
    seeds: 200,
  },
  {
    name: 'a DNAME may make names of 256 bytes',
    find: 'if (prefix + targetBytes > MAX_NAME) return false',
    replace: 'if (prefix + targetBytes > MAX_NAME + 1) return false',
    seeds: 400,
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
]
