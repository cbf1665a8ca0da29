/** What is wrong. */
export interface Trouble {
  /** Unix time in ms. */
  sinceMs: number
  /** The server that it is about, `HOST:PORT`. */
  address: string
  /** One line. */
  reason: string
}

/** What is known of the connection to the control plane, for people. Times are Unix times in ms. */
export interface ConnectionState {
  /** The server has answered on the stream now open. */
  connected: boolean
  /** Server of the stream, or of the attempt under way or next. */
  address: string
  dialect: 'delta' | 'state of the world'
  /** What the control plane says of itself, '' if nothing; Istio puts a JSON document here. */
  controlPlane: string
  connectedSinceMs: number | null
  /** Attempts to open a stream. */
  streamsOpened: number
  /** Those after the first. */
  reconnects: number
  lastMessageAtMs: number | null
  /** Responses of types that nobody asked for: refused (NACK). */
  unwanted: number
  /** Why a stream failed or a response was refused, last; null: never. */
  lastError: string | null
  lastErrorAtMs: number | null
  /** Why there is no connection, and since when; null while there is one, and until the first attempt has failed. */
  away: Trouble | null
  /** When the next attempt is due; null while one is under way or a stream is open. */
  nextAttemptAtMs: number | null
}

/** What is known of one type's resources. */
export interface TypeState {
  /** Of the response last received. */
  nonce: string
  /** Of the response last accepted. */
  version: string
  /** Responses accepted; `unchanged` of them brought what was held already. */
  accepted: number
  unchanged: number
  /** Responses refused (NACK). */
  rejected: number
  /** When a response was last accepted. */
  lastAcceptedAtMs: number | null
  /** Why the response last received is not in use, and since when they have been refused; null if it is in use. */
  refused: Trouble | null
}

/** The connection, and the name table's type on it: for metrics and /debug/xds. */
export interface XdsState extends ConnectionState, TypeState {
  /** Of `TypeState`, and those of types that nobody asked for. */
  rejected: number
  /** Since `lastAcceptedAtMs`: how old the table may be. */
  ageSeconds: number | null
}
