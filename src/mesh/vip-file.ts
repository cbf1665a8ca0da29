import { readFile, rename, writeFile } from 'node:fs/promises'
import { lineOf } from '../base/log.ts'

/** Name of the file beside the mesh files. Begins with a dot: it is none of them. */
export const VIP_FILE = '.byname-vips.json'

/** Reads the automatic addresses that were kept; none if there is no such file. `problem`: it is there and no use. */
export async function readVipFile(path: string): Promise<{ kept: [string, string][]; problem: string | null }> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const isMissing = error instanceof Error && 'code' in error && error.code === 'ENOENT'
    return { kept: [], problem: isMissing ? null : lineOf(error) }
  }
  try {
    const json: unknown = JSON.parse(text)
    const addresses = typeof json === 'object' && json !== null && 'addresses' in json ? json.addresses : null
    if (typeof addresses !== 'object' || addresses === null) return { kept: [], problem: 'it has no "addresses"' }
    const kept = Object.entries(addresses).filter((pair): pair is [string, string] => typeof pair[1] === 'string')
    return { kept, problem: null }
  } catch (error) {
    return { kept: [], problem: lineOf(error) }
  }
}

/** Writes the file in one step: a reader sees the old one or the new one. @throws if that is not possible */
export async function writeVipFile(path: string, kept: readonly (readonly [string, string])[]): Promise<void> {
  const about = 'Automatic addresses of hosts that another host keeps from the one their name gives. Written by byname.'
  const text = `${JSON.stringify({ about, addresses: Object.fromEntries(kept) }, null, 2)}\n`
  const fresh = `${path}.${process.pid}.tmp`
  await writeFile(fresh, text)
  await rename(fresh, path)
}
