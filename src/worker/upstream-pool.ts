/**
 * The policy of both drivers for their sockets towards upstream servers. A forger has to guess the port as well as the id
 * (RFC 5452 §4.5, §9.2). The kernel draws the port of each socket at random, and after a few questions another socket takes
 * its place: no port is in use for long enough to be found by trying.
 *
 * Two figures decide (x64, one core): `poll` looks at each socket for some 45 ns, and that is part of every hit, so they are
 * few at a time. Opening, connecting and closing one takes 5 µs, which is nothing for every thirty-second question and too
 * much for each of them.
 */

/** Sockets to each server at a time, one of them drawn at random for each batch. */
export const SOCKETS_EACH = 8
/** Questions that leave by a socket before it is replaced. */
export const MAX_USES = 32
/** The same in time. */
export const MAX_AGE_MS = 60_000
/**
 * Replaced sockets that wait for replies. While so many wait for a server that is silent, those in use stay longer: closing
 * one early would lose replies that are on their way.
 */
export const MAX_RETIRED = 64
/** How long a replaced socket waits for replies beyond the deadline of the queries sent by it, at most. */
export const LINGER_MS = 500
