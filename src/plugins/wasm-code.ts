/**
 * Makes a function pay for what it does. V8 lets WebAssembly run for as long as it likes, so each function takes from a
 * budget as it is entered, and each loop at the begin of each round: as much as there are instructions up to the next
 * payment, the dear ones counted more than once. Where the budget falls below zero, `unreachable` ends the call.
 *
 * ```
 *  loop                          loop
 *    i32.const 1                   global.get $budget  i32.const 8  i32.sub  global.set $budget
 *    i32.add …            ─→       global.get $budget  i32.const 0  i32.lt_s  if  unreachable  end
 *    br_if 0                       i32.const 1
 *  end                             i32.add …
 * ```
 * Instructions that work on as many bytes as the stack says (memory.fill and its like) pay by that number as well. All
 * else stays as it is: no index changes, so nothing else has to.
 */
import { Refusal, type WasmReader, type WasmWriter } from './wasm-bytes.ts'
import { type CodeContext, Instruction, Op, readValueType, shiftOf } from './wasm-instruction.ts'

/** Units that entering a function costs, and a round of a loop: what the payment itself takes. */
const ENTRY_UNITS = 5
const ROUND_UNITS = 3

const EMPTY_BLOCK = 0x40
const I32 = 0x7f

/** What a block costs in all, where the number stands, and whether a payment belongs to it. */
interface Region {
  units: number
  /** Where in the output its number stands. */
  numberAt: number
}

/**
 * Writes the function body in `reader`, which has `params` parameters, with its payments. A body is what stands in the code
 * section after its size: local variables and instructions.
 */
export function instrumentBody(reader: WasmReader, params: number, context: CodeContext, out: WasmWriter): void {
  const groups: { count: number; type: number }[] = []
  let locals = 0
  for (let count = reader.u32(); count > 0; count--) {
    const group = { count: reader.u32(), type: readValueType(reader) }
    locals += group.count
    groups.push(group)
  }
  const from = reader.at
  const hasSizes = paysBySize(reader, context)
  reader.at = from
  out.u32(groups.length + (hasSizes ? 1 : 0))
  for (const { count, type } of [...groups, ...(hasSizes ? [{ count: 1, type: I32 }] : [])]) {
    out.u32(count)
    out.byte(type)
  }
  const whole: Region = { units: ENTRY_UNITS + (locals >> 2), numberAt: writePayment(context, out) }
  writeInstructions(reader, whole, params + locals, context, out)
}

/** True if any instruction of the body needs a place for its number. */
function paysBySize(reader: WasmReader, context: CodeContext): boolean {
  const instruction = new Instruction()
  while (!reader.isAtEnd) {
    instruction.read(reader, context)
    if (shiftOf(instruction) !== null) return true
  }
  return false
}

function writeInstructions(
  reader: WasmReader,
  whole: Region,
  spare: number,
  context: CodeContext,
  out: WasmWriter,
): void {
  const instruction = new Instruction()
  // By open block, whom its instructions are paid by.
  const payers: Region[] = [whole]
  const done: Region[] = [whole]
  while (!reader.isAtEnd) {
    const from = reader.at
    instruction.read(reader, context)
    const payer = payers.at(-1)
    if (payer === undefined) throw new Refusal(`has instructions after the end of a function, at offset ${from}`)
    payer.units += instruction.units
    const shift = shiftOf(instruction)
    if (shift !== null) writeSizePayment(shift, spare, context, out)
    out.copy(reader.bytes, from, reader.at)
    const { op } = instruction
    if (op === Op.LOOP) {
      const round = { units: ROUND_UNITS, numberAt: writePayment(context, out) }
      payers.push(round)
      done.push(round)
    } else if (op === Op.BLOCK || op === Op.IF) payers.push(payer)
    else if (op === Op.END) payers.pop()
  }
  if (payers.length > 0) throw new Refusal(`has a function without end, at offset ${reader.at}`)
  for (const { units, numberAt } of done) out.setS32(numberAt, units)
}

/** Takes a number that is written later from the budget; returns where it stands. */
function writePayment({ budget }: CodeContext, out: WasmWriter): number {
  out.byte(Op.GLOBAL_GET)
  out.u32(budget)
  out.byte(Op.I32_CONST)
  const numberAt = out.length
  out.s32(0)
  out.byte(Op.I32_SUB)
  out.byte(Op.GLOBAL_SET)
  out.u32(budget)
  writeCheck(budget, out)
  return numberAt
}

/** Takes from the budget what the number on the stack, which stays there, comes to. */
function writeSizePayment(shift: number, spare: number, { budget }: CodeContext, out: WasmWriter): void {
  out.byte(Op.LOCAL_TEE)
  out.u32(spare)
  out.byte(Op.GLOBAL_GET)
  out.u32(budget)
  out.byte(Op.LOCAL_GET)
  out.u32(spare)
  if (shift > 0) {
    // More than this is refused by the instruction itself, before it does anything; and the sum must not wrap around.
    out.bytes([Op.I32_CONST, 0xff, 0xff, 0x03, 0x71])
  }
  out.byte(Op.I32_CONST)
  out.s32(Math.abs(shift))
  out.byte(shift > 0 ? Op.I32_SHL : Op.I32_SHR_U)
  out.byte(Op.I32_SUB)
  out.byte(Op.GLOBAL_SET)
  out.u32(budget)
  writeCheck(budget, out)
}

function writeCheck(budget: number, out: WasmWriter): void {
  out.byte(Op.GLOBAL_GET)
  out.u32(budget)
  out.bytes([Op.I32_CONST, 0, Op.I32_LT_S, Op.IF, EMPTY_BLOCK, Op.UNREACHABLE, Op.END])
}
