/** The policy of both drivers for their sockets towards upstream servers. */

/** Sockets to one server, one of them drawn at random for each query or batch (RFC 5452 §9.2). */
export const SOCKETS_EACH = 4
/** Queries by one socket, and its age, after which another one takes its place. */
export const MAX_USES = 8192
export const MAX_AGE_MS = 60_000
/** How long a replaced socket waits for replies beyond the deadline of the queries sent by it. */
export const LINGER_MS = 500
