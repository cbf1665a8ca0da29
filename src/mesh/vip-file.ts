import { writeAtomicFile } from '../base/atomic-file.ts'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { lineOf } from '../base/log.ts'

/** Name of the file beside the mesh files. Begins with a dot: it is none of them. */
export const VIP_FILE = '.byname-vips.json'

/** Reads the automatic addresses that were kept; none if there is no such file. `problem`: it is there and no use. */
export function readVipFile(path: string): { kept: [string, string][]; problem: string | null } {
  const read = readBoundedText(path, MAX_FILE_BYTES.automaticAddresses)
  if ('problem' in read) return { kept: [], problem: read.problem.code === 'ENOENT' ? null : read.problem.reason }
  try {
    const json: unknown = JSON.parse(read.text)
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
  const about =
    'Automatic addresses (NAMESPACE/NAME of a ServiceEntry / HOST), which are given in order of arrival. Written by byname.'
  const text = `${JSON.stringify({ about, addresses: Object.fromEntries(kept) }, null, 2)}\n`
  await writeAtomicFile(path, text)
}
