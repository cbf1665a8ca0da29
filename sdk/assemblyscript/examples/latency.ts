/**
 * Slow look-ups, to see how a program takes them. A plug-in cannot wait: all clients of the data worker would wait with it. So it
 * drops a part of the queries, and the client's resolver asks again after its own timeout (5 s unless resolv.conf says otherwise).
 * config: "10 slow.example", how many of 100 queries are dropped, and for which name and those below; without a name for all.
 */
import { Action, bytesAbove, Config, counter, nameCounter, questionName, random } from '../byname'
export { byname_abi, byname_buffer } from '../byname'

const NAME: usize = memory.data(256)
let percent = 0

export function byname_configure(length: i32): i32 {
  nameCounter(0, 'dropped')
  Config.begin(length)
  if (!Config.next()) return 1
  percent = Config.toNumber()
  if (percent < 0) return 1
  return Config.next() && Config.toName(NAME) == 0 ? 1 : 0
}

export function byname_query(_length: i32): i32 {
  if (bytesAbove(questionName(), NAME) < 0 || random() % 100 >= <u32>percent) return Action.pass
  counter(0, 1)
  return Action.drop
}
