/** What byname uses of the WebAssembly JavaScript interface: TypeScript has it only together with all of the browser's. */
declare namespace WebAssembly {
  class CompileError extends Error {}
  class LinkError extends Error {}
  class RuntimeError extends Error {}
  /** @throws CompileError, from its constructor */
  interface Module {
    readonly [Symbol.toStringTag]: string
  }
  const Module: new (bytes: Uint8Array) => Module
  class Memory {
    readonly buffer: ArrayBuffer
  }
  class Global {
    value: unknown
  }
  type ExportValue = ((...args: number[]) => unknown) | Memory | Global | object
  class Instance {
    /** @throws LinkError, RuntimeError, RangeError */
    constructor(module: Module, imports: Record<string, Record<string, (...args: never[]) => unknown>>)
    readonly exports: Readonly<Record<string, ExportValue>>
  }
  function validate(bytes: Uint8Array): boolean
}
