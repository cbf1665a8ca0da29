/**
 * One running copy of a plug-in: its memory, its buffer, and calls that end within their budget. A call that traps leaves
 * memory that nobody can vouch for, so such an instance is not called again.
 */
import { copyBytes } from '../../dns/reply.ts'
import {
  ABI_VERSION,
  BUFFER_BYTES,
  CONFIGURE_MICROSECONDS,
  LEAST_BUFFER_BYTES,
  PLUGIN_HEADER_BYTES,
  PluginError,
  type PluginSettings,
  UNITS_PER_MICROSECOND,
} from './plugin-abi.ts'
import { importsFor, type PluginHost } from './plugin-host.ts'

/** What a call returns that failed: none of the actions. Why stands in `failure`. */
export const FAILED = -1

/** Why a plug-in cannot be made, in one line. */
export class PluginFailure extends Error {}

/** A plug-in that was made and configured. */
export class PluginInstance {
  /** Its memory: whoever looks at it calls `look` first. */
  memory: Uint8Array = new Uint8Array(0)
  /** Where its buffer begins in `memory`, and what room there is. */
  bufferAt = 0
  capacity = 0
  /** The header's 16 words, null where the buffer begins at an address that no word has. */
  words: Int32Array | null = null
  /** Index into PLUGIN_ERRORS of the call that failed last, and what V8 said. */
  failure: number = PluginError.TRAP
  failureText = ''
  /** Milliseconds, by what it has spent, that starting and configuring it took. */
  makingMs = 0
  /** `byname_reply` is there. It may return nothing: then what it leaves in the buffer is the reply. */
  readonly hasReply: boolean
  readonly #units: number
  readonly #wasmMemory: WebAssembly.Memory
  readonly #budget: WebAssembly.Global
  readonly #setBudget: (units: number) => unknown
  readonly #query: (length: number) => unknown
  readonly #reply: (length: number) => unknown

  /** Takes up to CONFIGURE_MICROSECONDS. @throws PluginFailure in one line */
  constructor(settings: PluginSettings, host: PluginHost) {
    const { module, imports, timeoutUs, budgetName, setBudgetName, config } = settings
    this.#units = timeoutUs * UNITS_PER_MICROSECOND
    if (module === null) throw new PluginFailure('has no file that can be used')
    let isMade = false
    const wasm = instantiate(
      module,
      importsFor(imports, host, () => (isMade ? this.look() : null)),
    )
    const { memory, [budgetName]: budget } = wasm.exports
    if (!(memory instanceof WebAssembly.Memory) || !(budget instanceof WebAssembly.Global)) {
      throw new PluginFailure('does not export its memory as "memory"')
    }
    this.#wasmMemory = memory
    this.#budget = budget
    isMade = true
    const named = (name: string): ((...args: number[]) => unknown) | null => {
      const { [name]: value } = wasm.exports
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- functions of WebAssembly take numbers: the loader has looked at their types.
      return typeof value === 'function' ? (value as (...args: number[]) => unknown) : null
    }
    this.#setBudget = named(setBudgetName)!
    this.#query = named('byname_query')!
    const reply = named('byname_reply')
    this.hasReply = reply !== null
    this.#reply = reply ?? this.#query
    this.#setBudget(CONFIGURE_MICROSECONDS * UNITS_PER_MICROSECOND)
    this.#run('_initialize', named('_initialize'))
    const version = this.#run('byname_abi', named('byname_abi'))
    if (version !== ABI_VERSION) {
      throw new PluginFailure(`is made for version ${Number(version)} of the interface, and byname has ${ABI_VERSION}`)
    }
    this.#findBuffer(this.#run('byname_buffer', named('byname_buffer')))
    if (config.length > this.capacity) {
      throw new PluginFailure(`has a buffer of ${this.capacity} bytes, and its config has ${config.length}`)
    }
    copyBytes(config, 0, config.length, this.memory, this.bufferAt)
    const refusal = this.#run('byname_configure', named('byname_configure'), config.length)
    if (refusal !== undefined && refusal !== 0) {
      throw new PluginFailure(`refuses its config (byname_configure returned ${Number(refusal)})`)
    }
    // It may have put it elsewhere, by what it was told.
    this.#findBuffer(this.#run('byname_buffer', named('byname_buffer')))
    this.makingMs = CONFIGURE_MICROSECONDS / 1000 - this.#left / UNITS_PER_MICROSECOND / 1000
  }

  /** The memory as it is now: it is another object once it has grown. */
  look(): Uint8Array {
    if (this.memory.length === 0) {
      this.#view()
    }
    return this.memory
  }

  /** Asks about the query of `length` bytes, header included, in the buffer. Returns what the plug-in returned, or FAILED. */
  query(length: number): number {
    try {
      this.#setBudget(this.#units)
      return asAction(this.#query(length))
    } catch (error) {
      return this.#failed(error)
    }
  }

  /** Shows the reply in the buffer. Returns what the plug-in returned, null if that is nothing, or FAILED. */
  reply(length: number): number | null {
    try {
      this.#setBudget(this.#units)
      const returned = this.#reply(length)
      return returned === undefined ? null : asAction(returned)
    } catch (error) {
      return this.#failed(error)
    }
  }

  get #left(): number {
    return Number(this.#budget.value)
  }

  #failed(error: unknown): number {
    this.failure = this.#left < 0 ? PluginError.TIMEOUT : PluginError.TRAP
    this.failureText = this.failure === PluginError.TIMEOUT ? 'it used up its time' : textOf(error)
    return FAILED
  }

  #findBuffer(pointer: unknown): void {
    const at = Number(pointer) >>> 0
    this.memory = new Uint8Array(this.#wasmMemory.buffer)
    if (at + LEAST_BUFFER_BYTES > this.memory.length) {
      throw new PluginFailure(
        `has its buffer at ${at}, and ${this.memory.length} bytes of memory: at least ${LEAST_BUFFER_BYTES} must be there`,
      )
    }
    this.bufferAt = at
    this.#view()
  }

  #view(): void {
    const { buffer } = this.#wasmMemory
    const { bufferAt } = this
    this.memory = new Uint8Array(buffer)
    this.capacity = Math.min(BUFFER_BYTES, this.memory.length - bufferAt)
    this.words = bufferAt % 4 === 0 ? new Int32Array(buffer, bufferAt, PLUGIN_HEADER_BYTES / 4) : null
  }

  #run(name: string, call: ((...args: number[]) => unknown) | null, ...args: number[]): unknown {
    try {
      return call?.(...args)
    } catch (error) {
      this.#failed(error)
      throw new PluginFailure(`fails in ${name}: ${this.failureText}`, { cause: error })
    }
  }
}

function instantiate(module: WebAssembly.Module, imports: ReturnType<typeof importsFor>): WebAssembly.Instance {
  try {
    return new WebAssembly.Instance(module, imports)
  } catch (error) {
    throw new PluginFailure(
      `cannot be started: ${textOf(error)}${error instanceof WebAssembly.RuntimeError ? ' (or its start function used up its time)' : ''}`,
      {
        cause: error,
      },
    )
  }
}

/** FAILED is byname's own. */
function asAction(returned: unknown): number {
  const action = Number(returned)
  return action < 0 ? Number.MAX_SAFE_INTEGER : action
}

/** What V8 says of an error, in one line. */
function textOf(error: unknown): string {
  if (error instanceof RangeError && /call stack/i.test(error.message))
    return 'it called itself too often (stack overflow)'
  const message = error instanceof Error ? error.message : String(error)
  return message
    .replace(/^WebAssembly\.Instance\(\):\s*/, '')
    .replace(/\s+/g, ' ')
    .slice(0, 200)
}
