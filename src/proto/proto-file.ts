import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** Path of a file of the protos folder, which is beside src here, and beside the bundle or one above it when packed. */
export function protoFile(name: string): string {
  for (const above of ['../../protos/', '../protos/', './protos/']) {
    const path = fileURLToPath(new URL(above + name, import.meta.url))
    if (existsSync(path)) return path
  }
  throw new Error(`protos/${name} is missing beside the program: install it again`)
}
