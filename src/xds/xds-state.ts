/** What is wrong. */
export interface Trouble {
  /** Unix time in ms. */
  sinceMs: number
  /** The server that it is about, `HOST:PORT`. */
  address: string
  /** One line. */
  reason: string
}

/** What is known of the subscription, for metrics and /debug/xds. Times are Unix times in ms. */
export interface XdsState {
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
  /** Of the response last received. */
  nonce: string
  /** Of the table last accepted. */
  version: string
  /** Tables accepted; `unchanged` of them were equal to the one in use. */
  accepted: number
  unchanged: number
  /** Responses refused (NACK). */
  rejected: number
  lastMessageAtMs: number | null
  /** When a table was last accepted. */
  lastAcceptedAtMs: number | null
  /** Since `lastAcceptedAtMs`: how old the table may be. */
  ageSeconds: number | null
  /** Why a stream failed or a response was refused, last; null: never. */
  lastError: string | null
  lastErrorAtMs: number | null
  /** Why there is no connection, and since when; null while there is one, and until the first attempt has failed. */
  away: Trouble | null
  /** Why the table last received is not in use, and since when tables have been refused; null if it is in use. */
  refused: Trouble | null
  /** When the next attempt is due; null while one is under way or a stream is open. */
  nextAttemptAtMs: number | null
}
