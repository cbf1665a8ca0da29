/** Asks for other names, and all below them. config: "old.example new.example", in pairs. */
import { Action, bytesAbove, Config, nameLength, questionName, rename } from '../byname'
export { byname_abi, byname_buffer } from '../byname'

const ROOM = 65536
const NAMES: usize = memory.data(65536)
let used = 0

export function byname_configure(length: i32): i32 {
  let count = 0
  Config.begin(length)
  for (; Config.next(); count++) {
    if (used + 256 > ROOM) return 2
    const bytes = Config.toName(NAMES + used)
    if (bytes == 0) return 1
    used += bytes
  }
  // An odd number of names is a mistake.
  return count & 1
}

export function byname_query(_length: i32): i32 {
  for (let at = 0; at < used; ) {
    const from = NAMES + at
    const to = from + nameLength(from)
    const kept = bytesAbove(questionName(), from)
    if (kept >= 0) return rename(kept, to)
    at = <i32>(to - NAMES) + nameLength(to)
  }
  return Action.pass
}
