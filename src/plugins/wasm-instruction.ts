/**
 * The instructions of WebAssembly 2.0 (core specification §5.4), with tail calls and relaxed vectors: how long each is in the
 * module, and what it costs. Those of later proposals are refused.
 */
import { Refusal, type WasmReader } from './wasm-bytes.ts'

/** What of the module its functions depend on. */
export interface CodeContext {
  /** Index of the global variable that holds the budget. */
  budget: number
  /** Functions with a lower index are byname's own. */
  imports: number
}

/** Calling byname: it looks at what it is given. */
const HOST_CALL_UNITS = 500
const GROW_UNITS = 5000
/** Putting a reference into a table. */
const REFERENCE_UNITS = 20

/** Instructions, by the bytes that they are written with. */
export const Op = {
  UNREACHABLE: 0x00,
  BLOCK: 0x02,
  LOOP: 0x03,
  IF: 0x04,
  ELSE: 0x05,
  END: 0x0b,
  BR: 0x0c,
  BR_IF: 0x0d,
  BR_TABLE: 0x0e,
  RETURN: 0x0f,
  CALL: 0x10,
  CALL_INDIRECT: 0x11,
  RETURN_CALL: 0x12,
  RETURN_CALL_INDIRECT: 0x13,
  SELECT_TYPED: 0x1c,
  LOCAL_GET: 0x20,
  LOCAL_SET: 0x21,
  LOCAL_TEE: 0x22,
  GLOBAL_GET: 0x23,
  GLOBAL_SET: 0x24,
  TABLE_GET: 0x25,
  TABLE_SET: 0x26,
  MEMORY_SIZE: 0x3f,
  MEMORY_GROW: 0x40,
  I32_CONST: 0x41,
  I64_CONST: 0x42,
  F32_CONST: 0x43,
  F64_CONST: 0x44,
  I32_LT_S: 0x48,
  I32_SUB: 0x6b,
  I32_SHL: 0x74,
  I32_SHR_U: 0x76,
  REF_NULL: 0xd0,
  REF_IS_NULL: 0xd1,
  REF_FUNC: 0xd2,
  PREFIX_GC: 0xfb,
  PREFIX_BULK: 0xfc,
  PREFIX_SIMD: 0xfd,
  PREFIX_ATOMIC: 0xfe,
} as const

const I32 = 0x7f
const FUNCREF = 0x70
const EXTERNREF = 0x6f
/** Four kinds of numbers, vectors and two of references. */
const VALUE_TYPES: ReadonlySet<number> = new Set([I32, 0x7e, 0x7d, 0x7c, 0x7b, FUNCREF, EXTERNREF])

/** What the instructions belong to that byname does not take. */
const REFUSED: ReadonlyMap<number, string> = new Map([
  ...[0x06, 0x07, 0x08, 0x09, 0x0a, 0x18, 0x19, 0x1f].map((op): [number, string] => [op, 'exception handling']),
  ...[0x14, 0x15, 0xd3, 0xd4, 0xd5, 0xd6].map((op): [number, string] => [op, 'typed function references']),
  [Op.PREFIX_GC, 'garbage collection'],
  [Op.PREFIX_ATOMIC, 'threads'],
])

/** Division and square roots, whole and fractional, of plain numbers. */
const SLOW: ReadonlySet<number> = new Set([0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3])
const SLOW_UNITS = 8

/** Reads one instruction; tells what it costs, and what has to be done about it. */
export class Instruction {
  op = 0
  /** Second number of an instruction with a prefix. */
  sub = 0
  units = 0

  /** Reads the instruction at the reader's place, its immediates included. */
  read(reader: WasmReader, context: CodeContext): void {
    const { at } = reader
    const op = reader.byte()
    this.op = op
    this.sub = 0
    this.units = 1
    const refused = REFUSED.get(op)
    if (refused !== undefined) throw unknown(op, null, at, refused)
    if (op >= 0x28 && op <= 0x3e) return this.#readMemory(reader)
    if (op >= 0x45 && op <= 0xc4) {
      if (SLOW.has(op)) this.units = SLOW_UNITS
      return
    }
    switch (op) {
      case Op.UNREACHABLE:
      case 0x01:
      case Op.ELSE:
      case Op.END:
      case Op.RETURN:
      case 0x1a:
      case 0x1b:
      case Op.REF_IS_NULL:
        return
      case Op.BLOCK:
      case Op.LOOP:
      case Op.IF:
        return readBlockType(reader, at)
      case Op.CALL:
      case Op.RETURN_CALL:
        this.units = reader.u32() < context.imports ? HOST_CALL_UNITS : 4
        return
      case Op.CALL_INDIRECT:
      case Op.RETURN_CALL_INDIRECT:
        reader.u32()
        reader.u32()
        this.units = 8
        return
      case Op.BR:
      case Op.BR_IF:
      case Op.LOCAL_GET:
      case Op.LOCAL_SET:
      case Op.LOCAL_TEE:
      case Op.GLOBAL_GET:
      case Op.GLOBAL_SET:
      case Op.REF_FUNC:
        reader.skipNumber(32)
        return
      case Op.TABLE_GET:
      case Op.TABLE_SET:
        reader.skipNumber(32)
        this.units = REFERENCE_UNITS
        return
      case Op.BR_TABLE:
        for (let count = reader.u32(); count >= 0; count--) reader.skipNumber(32)
        this.units = 3
        return
      case Op.SELECT_TYPED:
        for (let count = reader.u32(); count > 0; count--) readValueType(reader)
        return
      case Op.MEMORY_SIZE:
        return zeroByte(reader)
      case Op.MEMORY_GROW:
        zeroByte(reader)
        this.units = GROW_UNITS
        return
      case Op.I32_CONST:
        return reader.skipNumber(32)
      case Op.I64_CONST:
        return reader.skipNumber(64)
      case Op.F32_CONST:
        return reader.skip(4)
      case Op.F64_CONST:
        return reader.skip(8)
      case Op.REF_NULL: {
        const type = reader.byte()
        if (type !== FUNCREF && type !== EXTERNREF) throw unknown(op, null, at, 'typed function references')
        return
      }
      case Op.PREFIX_BULK:
        return this.#readBulk(reader, at)
      case Op.PREFIX_SIMD:
        return this.#readVector(reader, at)
      default:
        throw unknown(op, null, at, null)
    }
  }

  /** Alignment and offset; a second memory would stand between them. */
  #readMemory(reader: WasmReader): void {
    const { at } = reader
    if ((reader.u32() & 0x40) !== 0) throw new Refusal(`has more than one memory, used at offset ${at}`)
    reader.skipNumber(32)
    this.units = 2
  }

  #readBulk(reader: WasmReader, at: number): void {
    const sub = reader.u32()
    this.sub = sub
    if (sub > 17) throw unknown(Op.PREFIX_BULK, sub, at, null)
    if (sub === 8 || sub === 12 || sub === 14) {
      reader.skipNumber(32)
      reader.skipNumber(32)
    } else if (sub === 10) {
      zeroByte(reader)
      zeroByte(reader)
    } else if (sub === 11) zeroByte(reader)
    else if (sub >= 8) reader.skipNumber(32)
    if (sub >= 8) this.units = sub === 15 ? GROW_UNITS : 40
  }

  #readVector(reader: WasmReader, at: number): void {
    const sub = reader.u32()
    this.sub = sub
    this.units = 2
    // 0x100 … 0x113 are the relaxed ones.
    if (sub > 0x113) throw unknown(Op.PREFIX_SIMD, sub, at, null)
    if (sub <= 11 || sub === 92 || sub === 93) return this.#readMemory(reader)
    if (sub === 12 || sub === 13) reader.skip(16)
    else if (sub >= 21 && sub <= 34) reader.skip(1)
    else if (sub >= 84 && sub <= 91) {
      this.#readMemory(reader)
      reader.skip(1)
    } else if (sub === 0xe3 || sub === 0xe7 || sub === 0xef || sub === 0xf3) this.units = SLOW_UNITS
  }
}

/** Nothing, one value, or the index of a type. */
function readBlockType(reader: WasmReader, at: number): void {
  const type = reader.s33()
  if (type < 0 && type !== -64 && !VALUE_TYPES.has(type & 0x7f)) throw unknownType(at)
}

/** Reads the type of a value. @throws Refusal if it is of none of those that WebAssembly 2.0 has */
export function readValueType(reader: WasmReader): number {
  const { at } = reader
  const type = reader.byte()
  if (!VALUE_TYPES.has(type)) throw unknownType(at)
  return type
}

function unknownType(at: number): Refusal {
  return new Refusal(
    `has a type at offset ${at} which belongs to typed references or garbage collection, and byname takes none of that`,
  )
}

function zeroByte(reader: WasmReader): void {
  const { at } = reader
  if (reader.byte() !== 0) throw new Refusal(`has more than one memory, used at offset ${at}`)
}

function unknown(op: number, sub: number | null, at: number, feature: string | null): Refusal {
  const code = `0x${op.toString(16).padStart(2, '0')}${sub === null ? '' : ` ${sub}`}`
  const what =
    feature === null ? 'which byname does not know' : `which belongs to ${feature}, and byname takes none of that`
  return new Refusal(`has the instruction ${code} at offset ${at}, ${what}`)
}

/** How the instructions that work by a number on the stack pay: units are the number shifted left by so much, or right. */
export function shiftOf({ op, sub }: Instruction): number | null {
  if (op === Op.MEMORY_GROW) return 12
  if (op !== Op.PREFIX_BULK) return null
  // memory.init, memory.copy, memory.fill: four bytes a unit.
  if (sub === 8 || sub === 10 || sub === 11) return -2
  // table.init, table.copy, table.grow, table.fill.
  return sub === 12 || sub === 14 || sub === 15 || sub === 17 ? 5 : null
}
