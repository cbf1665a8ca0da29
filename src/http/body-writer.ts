import type { ServerResponse } from 'node:http'
import { setImmediate as nextTurn } from 'node:timers/promises'

/** Small pieces are joined until they are this long: each write costs a system call and a chunk's frame. */
const WRITE_CHARS = 65_536

/**
 * Writes a body in pieces and ends the response. It takes a piece only when the client has read what was written before,
 * and lets the event loop turn after each write, so that a long body delays nothing else. When `signal` aborts it ends
 * the producer (the iterator's `return`) and stops; what was sent then is not marked as complete.
 * @throws what the producer throws
 */
export async function writeBody(
  response: ServerResponse,
  pieces: Iterable<string> | AsyncIterable<string>,
  signal: AbortSignal,
): Promise<void> {
  const gone = Promise.withResolvers<null>()
  const onAbort = (): void => gone.resolve(null)
  signal.addEventListener('abort', onAbort)
  const iterator = Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : joined(pieces)
  try {
    while (!signal.aborted) {
      const next = await Promise.race([iterator.next(), gone.promise])
      if (next === null) break
      if (next.done === true) {
        response.end()
        return
      }
      if (!response.write(next.value)) await Promise.race([drained(response), gone.promise])
      await nextTurn()
    }
    // Not awaited: a producer that waits for something answers only when that has come.
    void endOf(iterator)
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}

async function endOf(iterator: Iterator<string> | AsyncIterator<string>): Promise<void> {
  try {
    await iterator.return?.()
  } catch {
    // Nobody is left to be told.
  }
}

function* joined(pieces: Iterable<string>): Generator<string, void, undefined> {
  let text = ''
  for (const piece of pieces) {
    text += piece
    if (text.length < WRITE_CHARS) continue
    yield text
    text = ''
  }
  if (text !== '') yield text
}

function drained(response: ServerResponse): Promise<null> {
  return new Promise((resolve) => response.once('drain', () => resolve(null)))
}
