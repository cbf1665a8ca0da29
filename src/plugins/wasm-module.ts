/**
 * Rewrites a module so that it can be run without fear: its time is bounded by a budget (wasm-code.ts), its memory and its
 * tables by a size. It must be a valid module; what it has beyond WebAssembly 2.0 is refused.
 *
 * ```
 *  type · import · function · table · memory · global · export · start · element · data count · code · data
 *   +1              +1        bounded  bounded   +1       +2                                     paid
 * ```
 * What is added comes last in its section, so no index changes: the budget, a global variable; a function that sets it; and
 * the two exports by which byname reaches them. Custom sections (names, debug information) are left out.
 */
import { Refusal, WasmReader, WasmWriter } from './wasm-bytes.ts'
import { instrumentBody } from './wasm-code.ts'
import { readValueType } from './wasm-instruction.ts'

/** Bytes of a page of memory. */
const PAGE_BYTES = 65_536
const MOST_PAGES = 65_536
/** Entries that a table may have. */
const MOST_ENTRIES = 65_536
/** More would only be memory that nobody counts. */
const MOST_TABLES = 8
/** Kinds of imports and exports. */
const KINDS: readonly string[] = ['function', 'table', 'memory', 'global', 'tag']

/** A type of a function. */
export interface FunctionType {
  /** Codes of value types (I32 …). */
  params: readonly number[]
  results: readonly number[]
}

/** Codes of value types. */
export const ValueType = { I32: 0x7f, I64: 0x7e, F32: 0x7d, F64: 0x7c } as const

/** A function that the module takes from outside. */
export interface FunctionImport {
  module: string
  name: string
  type: FunctionType
}

/** What a module gives. */
export interface ModuleExport {
  kind: string
  /** Null where it is no function. */
  type: FunctionType | null
}

/** A module that was made safe. */
export interface SafeModule {
  bytes: Uint8Array
  imports: FunctionImport[]
  exports: ReadonlyMap<string, ModuleExport>
  /** Exports that were added: the budget (a global variable, i32), and the function that sets it. */
  budgetName: string
  setBudgetName: string
}

/** What a module may use. */
export interface ModuleBounds {
  maxMemoryBytes: number
  /** What the start function may spend. */
  startUnits: number
}

const Section = {
  CUSTOM: 0,
  TYPE: 1,
  IMPORT: 2,
  FUNCTION: 3,
  TABLE: 4,
  MEMORY: 5,
  GLOBAL: 6,
  EXPORT: 7,
  START: 8,
  ELEMENT: 9,
  CODE: 10,
  DATA: 11,
  DATA_COUNT: 12,
  TAG: 13,
} as const
/** The order in which they stand. */
const ORDER: readonly number[] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 10, 11]
const FUNCTION_FORM = 0x60

/** Makes a valid module safe, or says in one line why that is not possible. Never throws. */
export function makeSafe(bytes: Uint8Array, bounds: ModuleBounds): { module: SafeModule } | { problem: string } {
  try {
    return { module: new Rewriter(bytes, bounds).rewrite() }
  } catch (error) {
    if (error instanceof Refusal) return { problem: error.message }
    throw error
  }
}

class Rewriter {
  readonly #bounds: ModuleBounds
  readonly #sections: ReadonlyMap<number, WasmReader>
  readonly #out: WasmWriter
  #types: FunctionType[] = []
  #imports: FunctionImport[] = []
  /** By function, imports first: its type. */
  #functions: FunctionType[] = []
  #globals = 0
  readonly #exports: Map<string, ModuleExport> = new Map()

  constructor(bytes: Uint8Array, bounds: ModuleBounds) {
    this.#bounds = bounds
    this.#sections = splitSections(bytes)
    this.#out = new WasmWriter(bytes.length * 2 + 256)
  }

  rewrite(): SafeModule {
    const out = this.#out
    out.bytes([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0])
    this.#readTypes()
    this.#readImports()
    this.#readFunctions()
    this.#globals = this.#section(Section.GLOBAL)?.u32() ?? 0
    this.#readExports()
    const budgetName = this.#freeName('byname:budget')
    const setBudgetName = this.#freeName('byname:set_budget')
    for (const id of ORDER) this.#writeSection(id, budgetName, setBudgetName)
    return { bytes: out.written, imports: this.#imports, exports: this.#exports, budgetName, setBudgetName }
  }

  /** A new reader of a section's content, null if the module has none. */
  #section(id: number): WasmReader | null {
    const section = this.#sections.get(id)
    return section === undefined ? null : new WasmReader(section.bytes, section.at, section.end)
  }

  #readTypes(): void {
    const reader = this.#section(Section.TYPE)
    if (reader === null) return
    for (let count = reader.u32(); count > 0; count--) {
      const { at } = reader
      if (reader.byte() !== FUNCTION_FORM) {
        throw new Refusal(`has a type at offset ${at} that is no function's: garbage collection is not taken`)
      }
      this.#types.push({ params: readTypes(reader), results: readTypes(reader) })
    }
  }

  #readImports(): void {
    const reader = this.#section(Section.IMPORT)
    if (reader === null) return
    for (let count = reader.u32(); count > 0; count--) {
      const module = reader.name()
      const name = reader.name()
      const kind = reader.byte()
      if (kind !== 0) {
        throw new Refusal(
          `imports the ${KINDS[kind] ?? 'unknown'} ${quote(module, name)}: only functions can be imported`,
        )
      }
      const type = this.#typeAt(reader.u32())
      this.#imports.push({ module, name, type })
      this.#functions.push(type)
    }
  }

  #readFunctions(): void {
    const reader = this.#section(Section.FUNCTION)
    for (let count = reader?.u32() ?? 0; count > 0; count--) this.#functions.push(this.#typeAt(reader!.u32()))
  }

  #readExports(): void {
    const reader = this.#section(Section.EXPORT)
    if (reader === null) return
    for (let count = reader.u32(); count > 0; count--) {
      const name = reader.name()
      const kind = reader.byte()
      const index = reader.u32()
      this.#exports.set(name, {
        kind: KINDS[kind] ?? 'unknown',
        type: kind === 0 ? (this.#functions[index] ?? null) : null,
      })
    }
  }

  #typeAt(index: number): FunctionType {
    const type = this.#types[index]
    if (type === undefined) throw new Refusal(`has no type ${index}`)
    return type
  }

  #freeName(wanted: string): string {
    let name = wanted
    while (this.#exports.has(name)) name += '_'
    return name
  }

  #writeSection(id: number, budgetName: string, setBudgetName: string): void {
    const reader = this.#section(id)
    const content = new WasmWriter(reader === null ? 64 : reader.end - reader.at + 64)
    if (id === Section.TABLE || id === Section.MEMORY) {
      if (reader === null) return
      if (id === Section.TABLE) this.#writeTables(reader, content)
      else this.#writeMemory(reader, content)
    } else if (id === Section.CODE) this.#writeCode(reader, content)
    else if (id === Section.TYPE) {
      append(reader, content, (to) => to.bytes([FUNCTION_FORM, 1, ValueType.I32, 0]), 1)
    } else if (id === Section.FUNCTION) append(reader, content, (to) => to.u32(this.#types.length), 1)
    else if (id === Section.GLOBAL) append(reader, content, (to) => this.#writeBudget(to), 1)
    else if (id === Section.EXPORT) {
      append(reader, content, (to) => this.#writeExports(to, budgetName, setBudgetName), 2)
    } else if (reader === null) return
    else content.copy(reader.bytes, reader.at, reader.end)
    this.#out.byte(id)
    this.#out.u32(content.length)
    this.#out.bytes(content.written)
  }

  #writeBudget(to: WasmWriter): void {
    to.bytes([ValueType.I32, 1, 0x41])
    to.s32(this.#bounds.startUnits)
    to.byte(0x0b)
  }

  #writeExports(to: WasmWriter, budgetName: string, setBudgetName: string): void {
    to.name(budgetName)
    to.byte(3)
    to.u32(this.#globals)
    to.name(setBudgetName)
    to.byte(0)
    to.u32(this.#functions.length)
  }

  #writeTables(reader: WasmReader, to: WasmWriter): void {
    const count = reader.u32()
    if (count > MOST_TABLES) throw new Refusal(`has ${count} tables, more than ${MOST_TABLES}`)
    to.u32(count)
    let room = MOST_ENTRIES
    for (let k = 0; k < count; k++) {
      const { at } = reader
      to.byte(readValueType(reader))
      const { least, most } = readLimits(reader, at, 'table')
      room -= least
      if (room < 0) throw new Refusal(`has tables of more than ${MOST_ENTRIES} entries`)
      to.byte(1)
      to.u32(least)
      to.u32(Math.min(most ?? MOST_ENTRIES, Math.max(least, MOST_ENTRIES)))
    }
  }

  #writeMemory(reader: WasmReader, to: WasmWriter): void {
    const { at } = reader
    const count = reader.u32()
    if (count > 1) throw new Refusal('has more than one memory')
    to.u32(count)
    if (count === 0) return
    const { least, most } = readLimits(reader, at + 1, 'memory')
    const { maxMemoryBytes } = this.#bounds
    if (least * PAGE_BYTES > maxMemoryBytes) {
      throw new Refusal(
        `needs ${least * PAGE_BYTES} bytes of memory from the start, and maxMemoryBytes is ${maxMemoryBytes}: raise it`,
      )
    }
    to.byte(1)
    to.u32(least)
    to.u32(Math.min(most ?? MOST_PAGES, Math.floor(maxMemoryBytes / PAGE_BYTES)))
  }

  #writeCode(reader: WasmReader | null, to: WasmWriter): void {
    const context = { budget: this.#globals, imports: this.#imports.length }
    const count = reader?.u32() ?? 0
    to.u32(count + 1)
    const body = new WasmWriter(4096)
    for (let k = 0; k < count; k++) {
      const params = this.#functions[context.imports + k]?.params.length ?? 0
      body.clear()
      instrumentBody(reader!.part(reader!.u32()), params, context, body)
      to.u32(body.length)
      to.bytes(body.written)
    }
    // The function that sets the budget: local.get 0, global.set.
    body.clear()
    body.bytes([0, 0x20, 0, 0x24])
    body.u32(context.budget)
    body.byte(0x0b)
    to.u32(body.length)
    to.bytes(body.written)
  }
}

/** The sections of a module by their number, without custom ones. */
function splitSections(bytes: Uint8Array): Map<number, WasmReader> {
  const reader = new WasmReader(bytes)
  reader.skip(8)
  const sections = new Map<number, WasmReader>()
  while (!reader.isAtEnd) {
    const { at } = reader
    const id = reader.byte()
    const part = reader.part(reader.u32())
    if (id === Section.CUSTOM) continue
    if (id === Section.TAG)
      throw new Refusal('has tags, which belong to exception handling, and byname takes none of that')
    if (!ORDER.includes(id) || sections.has(id))
      throw new Refusal(`has a section ${id} at offset ${at}, which byname does not know`)
    sections.set(id, part)
  }
  return sections
}

function readTypes(reader: WasmReader): number[] {
  return Array.from({ length: reader.u32() }, () => readValueType(reader))
}

/** Least and most of a memory or table, `most` null without one. */
function readLimits(reader: WasmReader, at: number, what: string): { least: number; most: number | null } {
  const flags = reader.byte()
  if ((flags & 2) !== 0)
    throw new Refusal(`has a shared ${what} at offset ${at}, which belongs to threads, and byname takes none of that`)
  if ((flags & 4) !== 0) throw new Refusal(`has a ${what} with 64-bit addresses at offset ${at}; build it for wasm32`)
  if (flags > 1) throw new Refusal(`has a ${what} of a kind that byname does not know, at offset ${at}`)
  return { least: reader.u32(), most: flags === 1 ? reader.u32() : null }
}

/** Writes a list with `count` more entries at its end. */
function append(reader: WasmReader | null, to: WasmWriter, write: (to: WasmWriter) => void, count: number): void {
  to.u32((reader?.u32() ?? 0) + count)
  if (reader !== null) to.copy(reader.bytes, reader.at, reader.end)
  write(to)
}

function quote(module: string, name: string): string {
  return JSON.stringify(`${module}.${name}`)
}
