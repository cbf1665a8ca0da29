/** Denies names, and all below them. config: "ads.example tracker.example". */
import { Action, bytesAbove, Config, counter, deny, nameCounter, nameLength, questionName } from '../byname'
export { byname_abi, byname_buffer } from '../byname'

const NXDOMAIN = 3
const BLOCKED = 15
const ROOM = 65536
/** Names in wire format, one after the other. */
const NAMES: usize = memory.data(65536)
let used = 0

export function byname_configure(length: i32): i32 {
  nameCounter(0, 'blocked')
  Config.begin(length)
  while (Config.next()) {
    if (used + 256 > ROOM) return 2
    const bytes = Config.toName(NAMES + used)
    if (bytes == 0) return 1
    used += bytes
  }
  return 0
}

export function byname_query(_length: i32): i32 {
  for (let at = 0; at < used; at += nameLength(NAMES + at)) {
    if (bytesAbove(questionName(), NAMES + at) < 0) continue
    counter(0, 1)
    return deny(NXDOMAIN, BLOCKED)
  }
  return Action.pass
}
