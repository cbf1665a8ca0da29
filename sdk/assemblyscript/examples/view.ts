/**
 * Another address for some clients. config: "10.1.0.0/16 api.example 10.9.9.9", network, name and address, any number of
 * times; the first that fits counts. A name is meant without those below it. AAAA gets NODATA, so that clients take the address.
 */
import { Action, answer, bytesAbove, Config, deny, Header, questionName } from '../byname'
export { byname_abi, byname_buffer } from '../byname'

const A = 1
const AAAA = 28
const MOST = 200
/** Four bytes of network, four of its length, four of address, name. */
const STRIDE = 12 + 256
const VIEWS: usize = memory.data(53600)
let used = 0

export function byname_configure(length: i32): i32 {
  Config.begin(length)
  for (; Config.next(); used++) {
    if (used == MOST) return 2
    const view = VIEWS + used * STRIDE
    const end = Config.toAddress(view)
    if (end == 0) return 1
    const bits = end == Config.length ? 32 : Config.toNumber(end + 1)
    if (bits < 0 || bits > 32) return 1
    store<i32>(view, bits, 4)
    if (!Config.next() || Config.toName(view + 12) == 0) return 1
    if (!Config.next() || Config.toAddress(view + 8) != Config.length) return 1
  }
  return 0
}

function isIn(address: usize, view: usize): bool {
  const bits = load<i32>(view, 4)
  const mask: u32 = bits == 0 ? 0 : 0xffffffff << (32 - bits)
  return ((bswap<u32>(load<u32>(address)) ^ bswap<u32>(load<u32>(view))) & mask) == 0
}

export function byname_query(_length: i32): i32 {
  const type = Header.type()
  if (Header.family() != 4 || (type != A && type != AAAA)) return Action.pass
  for (let k = 0; k < used; k++) {
    const view = VIEWS + k * STRIDE
    if (!isIn(Header.address(), view) || bytesAbove(questionName(), view + 12) != 0) continue
    return type == AAAA ? deny(0) : answer(A, 30, view + 8, 4)
  }
  return Action.pass
}
