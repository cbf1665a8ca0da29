import { COOKIE_BYTES } from '../dns/cookie.ts'
import { Query } from '../dns/query.ts'

/** Bits of the last byte of a cache key: what makes answers to the same question differ. An answer class stands above them. */
export const Variant = { DO: 1, CD: 2, NO_RECURSION: 4 } as const
/** Where the number of the answer class stands in that byte. */
export const CLASS_SHIFT = 3

/** Stands for all types in a cache key (RFC 8020). Queries for type 0 are malformed, so none has this key. */
export const ANY_TYPE_KEY = 0

/** A query together with what is known of the client that sent it. */
export class ClientQuery extends Query {
  /** 0 UDP, 1 TCP (PROTOS). */
  proto = 0
  /** 0 IPv4, 1 IPv6 (FAMILIES). */
  family = 0
  /** Largest reply, in bytes, OPT included. */
  limit = 512
  /** Payload size that our OPT tells the client. */
  advertise = 1232
  /** When it arrived, in ms. */
  receivedAt = 0
  /** The client's address, 4 or 16 bytes at `addressAt`; whoever named the client owns them. */
  address: Uint8Array = new Uint8Array(4)
  addressAt = 0
  addressLength = 4
  /** The client's port, 0 if it is not known. */
  port = 0
  /** Number of the upstream server that the answer is from; 0: none, or not known. */
  server = 0
  /** What plug-ins have to do with the reply (plugin-stage.ts); 0: nothing. */
  plugins = 0
  /** Where a rule or a plug-in has rewritten the question: header and question as the client sent them; null: it is the client's own. */
  original: Uint8Array | null = null
  /** TTL of the CNAME that leads from the client's question to the rewritten one; -1: the client does not see that there are two. */
  aliasTtl = -1
  /** No rule allows the name, which is below a search domain, and `egress.audit` only watches: an answer tells whether it exists. */
  isWatched = false
  /** Number of the answer class (rule-set.ts) by a rule, in the bits that the variant of a cache key has for it; 0: none. */
  classBits = 0
  /** The cookie that the reply carries if the query had one (`cookieAt` > 0). */
  readonly replyCookie: Uint8Array = new Uint8Array(COOKIE_BYTES)
}
