/** `byname table --diff`: where the tables that are compared come from. */
import { statSync } from 'node:fs'
import { MAX_FILE_BYTES, readBoundedFile } from '../base/bounded-file.ts'
import { ConfigError } from '../config/config-error.ts'
import { parseHostPort } from '../config/address.ts'
import { AutoVips, hostsToAllocate, usedAddresses } from '../mesh/auto-vip.ts'
import { MeshFiles } from '../mesh/mesh-files.ts'
import {
  buildNameTable,
  familiesOf,
  indexMesh,
  servicesDomainOf,
  takesAutomaticVips,
} from '../mesh/name-table-builder.ts'
import { readVipFile, VIP_FILE } from '../mesh/vip-file.ts'
import { decodeNameTable } from '../table/nds-decoder.ts'
import { adminAddress, getFromAdmin } from './admin-client.ts'
import type { CommandArguments } from './arguments.ts'
import { type CommandContext, ExitCode } from './command.ts'
import { compareTables, comparedName, type ComparedTable, differenceText, isSame } from './table-difference.ts'

/** Levels in which a dump may hold the table: resources of a response of a control plane. */
const MOST_LEVELS = 6

/**
 * Compares byname's table with another one and shows the difference. Returns 0 if they are the same, 1 if not, as diff does.
 * @throws ConfigError (exit code 2) if either cannot be had
 */
export async function showTableDifference(
  other: string,
  given: CommandArguments,
  context: CommandContext,
): Promise<number> {
  const to = `byname at ${adminAddress(given, context).text}`
  const [theirs, ours] = await Promise.all([readOther(other, given, context), readAdmin(given, context)])
  const difference = compareTables(theirs, ours)
  if (given.has('json')) context.out(`${JSON.stringify({ from: other, to, ...difference }, null, 2)}\n`)
  else context.out(differenceText(difference, other, to))
  return isSame(difference) ? ExitCode.done : ExitCode.failed
}

async function readAdmin(given: CommandArguments, context: CommandContext): Promise<ComparedTable> {
  const path = '/debug/table'
  try {
    return tableOf(parseJson(await getFromAdmin(path, given, context)), path)
  } catch (error) {
    throw error instanceof ConfigError
      ? error
      : new ConfigError([error instanceof Error ? error.message : String(error)])
  }
}

/** A file, a folder of mesh files, or the admin endpoint of another byname. */
async function readOther(other: string, given: CommandArguments, context: CommandContext): Promise<ComparedTable> {
  const found = statSync(other, { throwIfNoEntry: false })
  if (found?.isDirectory()) return await readFolder(other, given, context)
  if (found !== undefined) return readFile(other)
  const address = parseHostPort(other)
  if ('reason' in address)
    throw new ConfigError([`--diff ${other}: there is no such file or folder, and it is no ADDR:PORT`])
  return await readAdmin({ ...given, text: (option) => (option === 'admin' ? other : given.text(option)) }, context)
}

function readFile(path: string): ComparedTable {
  const read = readBoundedFile(path, MAX_FILE_BYTES.nameTable)
  if ('problem' in read) throw new ConfigError([`${path} ${read.problem.reason}`])
  const json = parseJson(new TextDecoder().decode(read.bytes))
  if (json !== undefined) return tableOf(json, path)
  const table = read.bytes.length === 0 ? null : decodeNameTable(read.bytes)
  if (table === null)
    throw new ConfigError([
      `${path} holds no name table: neither JSON as "byname table --json" and ndsz print it, nor a serialized NameTable`,
    ])
  return new Map([...table].map(([host, info]) => [comparedName(host), info]))
}

/** What byname would make of mesh files for the workload that the daemon is beside. Nothing is written. */
async function readFolder(folder: string, given: CommandArguments, context: CommandContext): Promise<ComparedTable> {
  const reading = await new MeshFiles(folder).read()
  if ('failure' in reading) throw new ConfigError([reading.failure])
  for (const problem of reading.problems) context.err(`byname table: ${problem}\n`)
  const vips = new AutoVips(readVipFile(`${folder}/${VIP_FILE}`).kept)
  const { serviceEntries } = indexMesh(reading.resources)
  const assigned = vips.assign(hostsToAllocate(serviceEntries), usedAddresses(serviceEntries))
  const identity = await daemonIdentity(given, context)
  const table = buildNameTable(indexMesh(reading.resources, assigned), {
    namespace: identity('namespace'),
    cluster: identity('cluster'),
    network: identity('network'),
    servicesDomain: servicesDomainOf(identity('domain')),
    families: familiesOf('', identity('ip')),
    takesAutomaticVips: takesAutomaticVips(''),
  })
  return new Map([...table].map(([host, info]) => [comparedName(host), info]))
}

async function daemonIdentity(given: CommandArguments, context: CommandContext): Promise<(key: string) => string> {
  try {
    const config = parseJson(await getFromAdmin('/debug/config', given, context))
    const identity = isObject(config) && isObject(config['identity']) ? config['identity'] : {}
    return (key) => textOf(identity[key])
  } catch (error) {
    throw new ConfigError([error instanceof Error ? error.message : String(error)])
  }
}

/** Undefined for what is no JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

/** @throws ConfigError if there is none in it */
function tableOf(json: unknown, from: string): ComparedTable {
  const hosts = findHosts(json, 0)
  if (hosts === null) throw new ConfigError([`${from} holds no name table: there is no {"table": {HOST: …}} in it`])
  const table: ComparedTable = new Map()
  for (const host of Object.keys(hosts)) {
    const info = hosts[host]
    if (!isObject(info)) throw new ConfigError([`${from}: host ${JSON.stringify(host)} is no object with ips`])
    const ips = Array.isArray(info['ips']) ? info['ips'].map(String) : []
    table.set(comparedName(host), { ips, registry: textOf(info['registry']), namespace: textOf(info['namespace']) })
  }
  return table
}

/**
 * The hosts of a table in proto3 JSON, as byname and Istio's agent print it; or of the first one in what istiod prints of
 * a resource or a response (`{"resource": {"@type": …, "table": …}}`). An empty table may be left out of the former.
 */
function findHosts(json: unknown, level: number): Record<string, unknown> | null {
  if (level === MOST_LEVELS || !isContainer(json)) return null
  if (!Array.isArray(json) && isObject(json)) {
    if (isObject(json['table'])) return json['table']
    const isEmpty = Object.keys(json).length === 0 || (Object.keys(json).length === 1 && Object.hasOwn(json, '@type'))
    if (isEmpty) return {}
  }
  for (const each of Object.values(json)) {
    const found = findHosts(each, level + 1)
    if (found !== null) return found
  }
  return null
}

function isContainer(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}

function isObject(value: unknown): value is Record<string, unknown> {
  return isContainer(value) && !Array.isArray(value)
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : ''
}
