/**
 * What byname and a plug-in say to each other: the binary interface, version 1. docs/plugins.md tells authors of it.
 *
 * ```
 *  exports   memory, byname_abi() → 1, byname_buffer() → pointer, byname_configure(length), byname_query(length) → action,
 *            byname_reply(length) [→ action], if it wants to see replies
 *
 *  buffer    header, then the message as it is on the wire. Numbers of the header are little-endian.   ● a plug-in may change it
 *   0 u16 version, 1              2 u16 bytes of the header: the message begins there
 *   4 u32 bytes of the message ●  8 u32 bytes that there is room for in all
 *  12 u8  0 query, 1 reply       13 u8 0 UDP, 1 TCP          14 u8 family of the address, 4 or 6   15 u8 source of a reply
 *  16 16 bytes: the client's address, an IPv4 one in the first four
 *  32 u16 the client's port      34 u16 query type           36 u16 query class      38 u16 where the question's name begins
 *  40 u64 time now, ms since 1970
 *  48 u16 most bytes of a reply  50 u16 flags, HeaderFlag    52 u16 rcode ●          54 u16 extended error ●, 65,535: none
 *  56 u32 TTL ● of the SOA that byname puts into NODATA and NXDOMAIN                 60 u16 where the question ends   62 u16 0
 *  64 message ●
 * ```
 */

/** Version that `byname_abi` must return. */
export const ABI_VERSION = 1
/** Where the message begins. Later versions may add to the header, so plug-ins read it from there. */
export const PLUGIN_HEADER_BYTES = 64
/** Room that byname uses of a plug-in's buffer at most: header and the longest message. */
export const BUFFER_BYTES: number = PLUGIN_HEADER_BYTES + 65_535
/** With less room behind the pointer not even ordinary queries would fit. */
export const LEAST_BUFFER_BYTES: number = PLUGIN_HEADER_BYTES + 512
/** Counters of its own that a plug-in may have. */
export const MAX_PLUGIN_COUNTERS = 16
/** Bytes of a counter's name. */
export const MAX_COUNTER_NAME = 40
/** Bytes of a line that a plug-in logs; more are cut. */
export const MAX_LOG_BYTES = 256
/** What is taken from the budget in a microsecond: an instruction takes about a nanosecond, many take less. */
export const UNITS_PER_MICROSECOND = 1000
/** Microseconds for the start function, `_initialize` and `byname_configure` together. A data worker waits for them. */
export const CONFIGURE_MICROSECONDS = 100_000

/** What a plug-in returns. Of a reply ANSWER says that the buffer holds another one. */
export const Action = { PASS: 0, ANSWER: 1, REWRITE: 2, RCODE: 3, DROP: 4 } as const

/** What is known of the query. */
export const HeaderFlag = {
  EDNS: 1,
  DNSSEC_OK: 2,
  CHECKING_DISABLED: 4,
  RECURSION_DESIRED: 8,
  SAME_MACHINE: 16,
} as const

/** Source of a query, which nobody has answered. */
export const NO_SOURCE = 255
/** An extended error that is none. */
export const NO_EXTENDED_ERROR = 0xffff

/** Why a call failed, in the order of the `reason` label. */
export const PLUGIN_ERRORS: readonly string[] = [
  'trap',
  'timeout',
  'action',
  'reply',
  'query',
  'too_large',
  'unavailable',
]
/** Index into PLUGIN_ERRORS. */
export const PluginError = {
  /** It trapped, recursion without end included. */
  TRAP: 0,
  /** It used up its time. */
  TIMEOUT: 1,
  /** It returned what is no action. */
  ACTION: 2,
  /** Its reply does not fit the query, or is malformed. */
  REPLY: 3,
  /** Its changed query is malformed. */
  QUERY: 4,
  /** The message does not fit into its buffer. */
  TOO_LARGE: 5,
  /** It is switched off, or being made again. */
  UNAVAILABLE: 6,
} as const

/** A function that a plug-in imports, and the type of its result (a code of WebAssembly's), null without one. */
export interface PluginImport {
  module: string
  name: string
  result: number | null
}

/** A plug-in, loaded and tried. It is posted to the data workers. */
export interface PluginSettings {
  /** Another one whenever the file or a setting is another. */
  id: number
  /** For people and metrics. */
  name: string
  /** Null as long as no file of it could be used: `onError` says what becomes of queries. */
  module: WebAssembly.Module | null
  imports: readonly PluginImport[]
  /** Exports that the budget is reached by. */
  budgetName: string
  setBudgetName: string
  /** What `byname_configure` gets. */
  config: Uint8Array
  timeoutUs: number
  onError: 'pass' | 'servfail'
}
