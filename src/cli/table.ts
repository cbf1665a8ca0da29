import { isMap } from '../config/layer.ts'
import { ADMIN_OPTIONS, getFromAdmin, showFromAdmin } from './admin-client.ts'
import { type Command, ExitCode } from './command.ts'
import { alignColumns } from './text-columns.ts'
import { printable } from '../base/printable.ts'

/** `byname table`: the name table in use. */
export const tableCommand: Command = {
  name: 'table',
  summary: 'Show the name table in use.',
  options: {
    json: { help: 'as proto3 JSON, which mesh.source.table reads' },
    diff: {
      value: 'FILE|ADDR',
      help: 'compare it with another table: a file, a folder of mesh files, another admin endpoint',
    },
    ...ADMIN_OPTIONS,
  },
  details: `--diff shows what byname's table has (+) and has not (-), and which hosts are other (~): their addresses as sets,
registry and namespace. FILE is JSON as --json, Istio's agent and istiod (debug/ndsz) print it, or a serialized NameTable.
The exit code is then 0 if the tables are the same, 1 if not, and 2 if they could not be compared.`,
  examples: ['byname table', 'byname table --diff ndsz.json', 'byname table --diff 10.0.0.7:15054 --json'],
  async run(given, context) {
    const other = given.text('diff')
    if (other !== undefined) {
      const { showTableDifference } = await import('./table-diff.ts')
      return await showTableDifference(other, given, context)
    }
    if (given.has('json')) {
      const body = await getFromAdmin('/debug/table', given, context)
      context.out(body.endsWith('\n') ? body : `${body}\n`)
    } else await showFromAdmin('/debug/table', given, context, tableText)
    return ExitCode.done
  },
}

/** A NameTable in proto3 JSON as aligned text, hosts in name order. */
export function tableText(read: unknown): string {
  const table = isMap(read) && isMap(read.table) ? read.table : {}
  const hosts = Object.keys(table).toSorted()
  if (hosts.length === 0) return 'The name table is empty.\n'
  const rows = hosts.map((host) => {
    const info = table[host]
    if (!isMap(info)) return [printable(host)]
    const ips = Array.isArray(info.ips) ? info.ips.map(String).join(' ') : ''
    return [host, textOf(info.registry), textOf(info.namespace), textOf(info.shortname), ips].map(printable)
  })
  return alignColumns([['HOST', 'REGISTRY', 'NAMESPACE', 'SHORT NAME', 'ADDRESSES'], ...rows])
}

/** Proto3 JSON leaves empty texts out. */
function textOf(value: unknown): string {
  return typeof value === 'string' && value !== '' ? value : '-'
}
