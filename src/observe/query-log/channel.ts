/** Where bytes of the query log go: a file or a socket, open. */
export interface Channel {
  /** Writes all of `bytes`, one call at a time. Rejects if it cannot, and then the channel is to be closed. */
  write(bytes: Uint8Array): Promise<void>
  /** Begins a new file if the old one has been moved away; not during a write. Rejects as `write` does. */
  reopen(): Promise<void>
  /** Ends it properly, within a second or so, also during a write; never rejects. */
  close(): Promise<void>
}

/**
 * Opens a channel. Rejects with an Error that says in a few words why it cannot be. `lost` is called if the other end goes
 * away while nothing is written.
 */
export type OpenChannel = (lost: (reason: string) => void) => Promise<Channel>
