/**
 * The ring between a data worker and the control thread, in shared memory: one thread writes, one reads, and neither waits.
 * It outlives both threads, so that a worker that is started again goes on where the one before it stopped.
 *
 * ```
 *    0 i32 written: offset behind the last whole record          the worker's
 *    8 f64 records written   16 f64 records dropped, as it was full
 *   24 f64 Unix time in ms less engine time
 *   64 i32 read: offset of the first record not read yet         the control thread's
 *  128 i32 generation of what follows
 *  132 i32 what is wanted (Wants)   136 i32 sources wanted, a bit each   140 i32 rcodes wanted, a bit each
 *  144 f64 one answer in so many is logged   152 i32 least latency logged, in µs
 *  192 records …
 *
 *  record   0 i32 bytes, a multiple of 8; 0: go on at 192    4 i32 for whom (Taken), 0: for nobody any more
 *           8 f64 engine time at which the query came, in ms 16 i32 latency in µs, −1 until its batch ends
 *          20 i32 answers that it stands for among samples   24 u16 type   26 u16 rcode   28 u16 client's port
 *          30 u16 bytes of the reply   32 u16 flags of the query   34 u16 flags of the reply   36 u16 id
 *          38 u8 source   39 u8 transport (PROTOS)   40 u8 bytes of the address   41 u8 bytes of the name
 *          42 u8 number of the upstream server, 0: none   43 u8 1: the query had an OPT, 2: with DO, 4: it is not kept whole
 *          44 u16 bytes kept of the query   46 u16 bytes kept of the reply   48 address, 16 bytes
 *          64 name in wire format, as the client wrote it │ query │ reply
 * ```
 * Numbers are in the machine's byte order. No record lies around the end: what is left there is passed over.
 */

/** Bytes before the records. */
export const RING_HEAD = 192
/** Bytes of a record before its name. */
export const RECORD_HEAD = 64
/** The longest query, and reply, that a record keeps; of longer ones header and question. */
export const MOST_QUERY_BYTES = 512
export const MOST_REPLY_BYTES = 4096
/** The longest record. */
export const MOST_RECORD_BYTES: number = RECORD_HEAD + 256 + MOST_QUERY_BYTES + MOST_REPLY_BYTES + 8

/** Words (i32) of the head. */
export const WORD_WRITTEN = 0
export const WORD_READ = 16
export const WORD_GENERATION = 32
export const WORD_WANTS = 33
export const WORD_SOURCES = 34
export const WORD_RCODES = 35
export const WORD_LEAST_LATENCY = 38
/** Doubles of the head. */
export const DOUBLE_RECORDS = 1
export const DOUBLE_DROPPED = 2
export const DOUBLE_CLOCK = 3
export const DOUBLE_LOG_PERIOD = 18

/** What the control thread wants to be told. */
export const Wants = {
  /** Answers for the query log. */
  LOG: 1,
  /** A bounded number of answers a second, and failures (SERVFAIL) beside them. */
  SAMPLES: 2,
  /** With what is logged: query and reply as they were on the wire. */
  MESSAGES: 4,
} as const

/** For whom an answer was written down. */
export const Taken = {
  LOG: 1,
  SAMPLE: 2,
  /** A failure, for those who take samples: it is no part of the random ones unless SAMPLE is set as well. */
  FAILURE: 4,
} as const

/** A ring of `bytes` in all, at least so large that half of it holds the longest record. Memory is touched as it is used. */
export function createRing(bytes: number): SharedArrayBuffer {
  const buffer = new SharedArrayBuffer(Math.max(bytes & ~7, RING_HEAD + 2 * MOST_RECORD_BYTES))
  const words = new Int32Array(buffer)
  words[WORD_WRITTEN] = RING_HEAD
  words[WORD_READ] = RING_HEAD
  return buffer
}
