/** Numbers of the protocol, from the IANA DNS parameters registry. */

export const Type = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DNAME: 39,
  OPT: 41,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  SVCB: 64,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const

/** The class of all records here (RFC 1035 §3.2.4). */
export const CLASS_IN = 1

/** Response codes; those above 15 need an OPT record (RFC 6891 §6.1.3). */
export const Rcode = {
  NOERROR: 0,
  FORMERR: 1,
  SERVFAIL: 2,
  NXDOMAIN: 3,
  NOTIMP: 4,
  REFUSED: 5,
  YXDOMAIN: 6,
  BADVERS: 16,
  BADCOOKIE: 23,
} as const

/** Opcodes; UPDATE is RFC 2136, DSO is RFC 8490. */
export const Opcode = { QUERY: 0, UPDATE: 5, DSO: 6 } as const

/** Bits of the header's second 16-bit word (RFC 1035 §4.1.1, RFC 4035 §3). */
export const Flag = {
  QR: 0x8000,
  OPCODE: 0x7800,
  AA: 0x0400,
  TC: 0x0200,
  RD: 0x0100,
  RA: 0x0080,
  AD: 0x0020,
  CD: 0x0010,
  RCODE: 0x000f,
} as const

/** EDNS option codes. */
export const EdnsOption = { COOKIE: 10, KEEPALIVE: 11, PADDING: 12, EDE: 15 } as const

/** Info-codes of extended DNS errors (RFC 8914 §4). */
export const Ede = {
  NONE: -1,
  OTHER: 0,
  STALE_ANSWER: 3,
  CACHED_ERROR: 13,
  NOT_READY: 14,
  BLOCKED: 15,
  CENSORED: 16,
  FILTERED: 17,
  PROHIBITED: 18,
  STALE_NXDOMAIN: 19,
  NO_REACHABLE_AUTHORITY: 22,
  NETWORK_ERROR: 23,
  SYNTHESIZED: 29,
} as const

/** Length of the header (RFC 1035 §4.1.1). */
export const HEADER_BYTES = 12
/** Smallest UDP payload every client takes (RFC 1035 §4.2.1). */
export const MIN_UDP_PAYLOAD = 512
/** Largest message over a stream (RFC 1035 §4.2.2). */
export const MAX_MESSAGE = 65_535
