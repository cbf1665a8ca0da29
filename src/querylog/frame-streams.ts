/**
 * Frame streams, by which dnstap is carried (https://farsightsec.github.io/fstrm): data frames, and control frames
 * around them. Numbers are in network byte order.
 *
 * ```
 *  data     length 4 | payload
 *  control  0 4 | length 4 | type 4 | { 1 4 | length 4 | content type } …
 *
 *  file     START data … STOP
 *  socket   → READY   ← ACCEPT   → START data … STOP   ← FINISH
 * ```
 */

/** Types of control frames. */
export const Control = { ACCEPT: 1, START: 2, STOP: 3, READY: 4, FINISH: 5 } as const
const FIELD_CONTENT_TYPE = 1
/** The longest control frame that a reader may send (FSTRM_CONTROL_FRAME_LENGTH_MAX). */
const MOST_CONTROL_BYTES = 512
const WORD = 4

/** A control frame; `contentType` is what the frames carry, if it says so. */
export function controlFrame(type: number, contentType: string | null): Buffer {
  const content = contentType === null ? null : Buffer.from(contentType)
  const length = WORD + (content === null ? 0 : 2 * WORD + content.length)
  const frame = Buffer.alloc(2 * WORD + length)
  frame.writeUInt32BE(length, WORD)
  frame.writeUInt32BE(type, 2 * WORD)
  if (content !== null) {
    frame.writeUInt32BE(FIELD_CONTENT_TYPE, 3 * WORD)
    frame.writeUInt32BE(content.length, 4 * WORD)
    content.copy(frame, 5 * WORD)
  }
  return frame
}

/** A control frame as it was read. */
export interface ControlFrame {
  type: number
  /** What the sender takes; none means anything. */
  contentTypes: string[]
  /** Bytes of the frame. */
  length: number
}

/**
 * Reads the control frame at the start of `bytes`: null if it is not whole yet, a line for people if it is none. Readers
 * send nothing else.
 */
export function readControlFrame(bytes: Buffer): ControlFrame | string | null {
  if (bytes.length < 2 * WORD) return null
  const length = bytes.readUInt32BE(WORD)
  if (bytes.readUInt32BE(0) !== 0 || length < WORD || length > MOST_CONTROL_BYTES)
    return 'what is at the other end does not speak frame streams'
  const end = 2 * WORD + length
  if (bytes.length < end) return null
  const contentTypes: string[] = []
  for (let at = 3 * WORD; at + 2 * WORD <= end; ) {
    const isContentType = bytes.readUInt32BE(at) === FIELD_CONTENT_TYPE
    const from = at + 2 * WORD
    at = from + bytes.readUInt32BE(at + WORD)
    if (at > end) return 'a control frame of frame streams is malformed'
    if (isContentType) contentTypes.push(bytes.toString('latin1', from, at))
  }
  return { type: bytes.readUInt32BE(2 * WORD), contentTypes, length: end }
}
