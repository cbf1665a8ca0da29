import { hostname, networkInterfaces } from 'node:os'
import { join } from 'node:path'
import { POD_LABELS, readPodLabels } from '../istio/pod-labels.ts'
import { isIstioMachine, readVmEnvironment } from '../istio/vm-environment.ts'
import type { z } from 'zod/mini'
import { MAX_FILE_BYTES, problemOf, readBoundedText } from '../base/bounded-file.ts'
import { parseHostPort, quote } from './address.ts'
import { ConfigError } from './config-error.ts'
import { type Environment, readEnvironment } from './environment.ts'
import { type IstioEnvironment, readIstioEnvironment } from './istio-environment.ts'
import { type Config, configSchema, type FileConfig } from './schema.ts'
import { keysAt, partsOf } from './schema-keys.ts'
import {
  depthOf,
  isMap,
  type KeyPath,
  type Layer,
  layerOf,
  mergeMaps,
  type PlainMap,
  type Setting,
  valueAt,
} from './layer.ts'
import { nearestOf } from './spelling.ts'
import { readYamlLayer } from './yaml-layer.ts'
import { readValues } from '../yaml/read-values.ts'

/** More would only hide the first. */
const MOST_PROBLEMS = 20

/** What there is to load from. Stronger ones last: `defaults`, the file, Istio's variables, BYNAME_*, `flags`. */
export interface LoadOptions {
  /** Path of the YAML file; without it BYNAME_CONFIG, and without that none. */
  file?: string | undefined
  env: Environment
  flags?: readonly Setting[]
  /** What a command sets unless somebody says otherwise. */
  defaults?: readonly Setting[]
  /** Folder of a machine's files (vm-environment.ts); undefined: Istio's own places, if there is a machine's cluster.env. */
  istioFolder?: string | undefined
  /** Returns a file's text; throws as node:fs does. By default files are read, up to a bound (base/bounded-file.ts). */
  readFile?: (path: string) => string
}

/** A configuration and what is worth saying about it. */
export interface LoadedConfig {
  config: Config
  /** One line each: variables that mean nothing to byname, settings that were adjusted. */
  warnings: string[]
  /** The file that was read, null if none. */
  file: string | null
  /** What it said, empty if there is none. */
  text: string
  /** A key with the place where it was written: `byname.yaml:12:5: cache.maxBytes`; the key alone where nobody did. */
  placeOf: (path: KeyPath) => string
  /** Where a key was written: `byname.yaml:12:5`, a variable, a flag; null where nobody did, and its default counts. */
  writtenAt: (path: KeyPath) => string | null
}

/**
 * Loads the configuration: file < environment < flags.
 * @throws ConfigError with everything that is wrong, each problem with its file, line and key, its variable or its flag.
 */
export function loadConfig(options: LoadOptions): LoadedConfig {
  const { env } = options
  const file = options.file ?? (env.BYNAME_CONFIG || null)
  const problems: string[] = []
  const text = file === null ? '' : readText(file, options.readFile, problems)
  const fileLayer = file === null ? layerOf([]) : readLayer(file, text, problems)
  const istio = readIstio(options)
  const own = readEnvironment(env)
  problems.push(...istio.problems)
  const warnings = [...own.warnings]
  const layers: Layer[] = [
    layerOf(builtIn(env)),
    layerOf(options.defaults ?? []),
    fileLayer,
    layerOf(istio.settings),
    layerOf(own.settings),
    layerOf(options.flags ?? []),
  ]
  let values = merge(layers)
  if (istio.source !== null && namesNoSource(valueAt(values, ['mesh', 'source']))) {
    layers.unshift(layerOf([istio.source]))
    values = merge(layers)
  }
  values = fitDeadline(values, istio)
  const { data, issues } = readValues(configSchema, values)
  if (issues !== null) problems.push(...describeAll(issues, layers, values))
  const config = data === null ? null : complete(data, istio, problems)
  if (problems.length > 0 || config === null) throw new ConfigError(firstOf(problems))
  return {
    config,
    warnings,
    file,
    text,
    placeOf: (path) => place(path, false, layers),
    writtenAt: (path) => writtenAt(path, layers),
  }
}

/** A source without an address is the one of Istio's environment, with other settings. */
function namesNoSource(source: unknown): boolean {
  if (!isMap(source)) return source === undefined
  const { xds, ...others } = source
  return Object.keys(others).length === 0 && (xds === undefined || (isMap(xds) && !Object.hasOwn(xds, 'address')))
}

function merge(layers: readonly Layer[]): PlainMap {
  return layers.reduce<PlainMap>((lower, layer) => mergeMaps(lower, layer.values), {})
}

/** systemd's StateDirectory= is where the last known good table belongs. */
function builtIn(env: Environment): Setting[] {
  const folder = env.STATE_DIRECTORY?.split(':')[0]
  if (!folder) return []
  return [{ path: ['mesh', 'lastKnownGood'], value: join(folder, 'table.image'), from: 'STATE_DIRECTORY' }]
}

/** DNS_FORWARD_TIMEOUT is one try's; Istio has no deadline, so ours makes room for it unless somebody set it. */
function fitDeadline(values: PlainMap, istio: IstioEnvironment): PlainMap {
  const isIstios = istio.settings.some((setting) => setting.from === 'DNS_FORWARD_TIMEOUT')
  const attempt = valueAt(values, ['upstream', 'attemptTimeoutMs'])
  if (!isIstios || typeof attempt !== 'number' || attempt <= 4500) return values
  return mergeMaps({ upstream: { deadlineMs: attempt } }, values)
}

/** Keys of the control plane that nobody has set are as Istio's environment says. */
function complete(read: FileConfig, { istio, defaults }: IstioEnvironment, problems: string[]): Config {
  const { source } = read.mesh
  if (source.kind !== 'xds') return { ...read, istio }
  if (source.tls?.rootCert === '') source.tls.rootCert = defaults.rootCert
  if (source.tls?.serverName === '') source.tls.serverName = defaults.serverName
  if (source.certificateFolder === '') source.certificateFolder = defaults.certificateFolder
  if (source.certificateAuthority === null && defaults.certificateAuthority !== '') {
    const parsed = parseHostPort(defaults.certificateAuthority)
    if ('value' in parsed) source.certificateAuthority = parsed.value
    else problems.push(`CA_ADDR: ${parsed.reason}`)
  }
  return { ...read, istio }
}

/** Empty, with a problem, where the file cannot be read. */
function readText(path: string, readFile: LoadOptions['readFile'], problems: string[]): string {
  const file = readFile === undefined ? readBoundedText(path, MAX_FILE_BYTES.configuration) : given(path, readFile)
  if ('text' in file) return file.text
  problems.push(`${path}: ${READ_ERRORS[file.problem.code] ?? file.problem.reason}`)
  return ''
}

/** What Istio says: a pod's environment and labels, or a machine's files. */
function readIstio({ env, istioFolder, readFile }: LoadOptions): IstioEnvironment {
  const read = (path: string): { value: string } | { problem: string; isMissing: boolean } => {
    const file = readFile === undefined ? readBoundedText(path, MAX_FILE_BYTES.configuration) : given(path, readFile)
    if ('text' in file) return { value: file.text }
    return {
      problem: file.problem.reason,
      isMissing: file.problem.code === 'ENOENT' || file.problem.code === 'ENOTDIR',
    }
  }
  const addresses = Object.values(networkInterfaces()).flatMap((infos) =>
    (infos ?? []).filter((info) => !info.internal && !info.address.startsWith('fe80:')).map((info) => info.address),
  )
  const machineOf = (folder: string): IstioEnvironment =>
    readIstioEnvironment(env, readVmEnvironment(folder, read, { hostName: hostname(), addresses }))
  if (istioFolder !== undefined) return machineOf(istioFolder)
  const istio = readIstioEnvironment(env)
  if (!istio.istio.isDetected) return readFile === undefined && isIstioMachine(read) ? machineOf('/') : istio
  const mounted = read(POD_LABELS)
  const labels = 'value' in mounted ? readPodLabels(mounted.value) : {}
  if (Object.keys(labels).length === 0) return istio
  // Over those of ISTIO_METAJSON_LABELS, as with Istio's agent.
  const setting = { path: ['identity', 'labels'], value: labels, from: POD_LABELS }
  return { ...istio, settings: [...istio.settings, setting] }
}

function readLayer(path: string, text: string, problems: string[]): Layer {
  const read = readYamlLayer(text, path)
  problems.push(...read.problems)
  return read.problems.length === 0 ? read.layer : layerOf([])
}

function given(path: string, readFile: (path: string) => string): ReturnType<typeof readBoundedText> {
  try {
    return { text: readFile(path) }
  } catch (error) {
    return { problem: problemOf(error) }
  }
}

const READ_ERRORS: Readonly<Record<string, string>> = {
  ENOENT: 'no such file; name an existing one with --config',
  EISDIR: 'is a folder; name a file with --config',
  EACCES: 'may not be read; check its owner and mode',
}

/** Of a file that is none of byname's nearly every key is an issue. */
function describeAll(issues: readonly z.core.$ZodIssue[], layers: readonly Layer[], values: PlainMap): string[] {
  const described: string[] = []
  for (const issue of issues) {
    if (described.length > MOST_PROBLEMS) break
    described.push(...describe(issue, layers, values))
  }
  return described
}

function firstOf(problems: readonly string[]): readonly string[] {
  if (problems.length <= MOST_PROBLEMS) return problems
  return [...problems.slice(0, MOST_PROBLEMS), 'and more: correct these first']
}

/** An issue of the schema in words, with the place where the strongest layer wrote what it is about. */
function describe(issue: z.core.$ZodIssue, layers: readonly Layer[], values: PlainMap): string[] {
  const path = issue.path.filter((key) => typeof key !== 'symbol')
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.slice(0, MOST_PROBLEMS + 1).map((key) => {
      const known = keysAt(configSchema, path)
      const near = nearestOf(key, known)
      const meant = near ?? elsewhere(key)
      const hint = meant === null ? ` (keys here: ${known.join(', ')})` : ` (did you mean ${meant}?)`
      return `${place([...path, key], true, layers)}: unknown key${hint}`
    })
  }
  // A list written as one value has no first element to point at.
  const depth = depthOf(values, path)
  const isElement = depth < path.length && !Array.isArray(valueAt(values, path.slice(0, depth)))
  const shown = isElement && typeof path[depth] === 'number' ? path.slice(0, depth) : path
  const value = valueAt(values, shown)
  const saysItself = issue.code === 'custom' || value === undefined || value === ''
  return [`${place(shown, false, layers)}: ${issue.message}${saysItself ? '' : `, not ${show(value)}`}`]
}

/** Where there is a key of this name, if in one place alone. */
function elsewhere(key: string): string | null {
  const paths = partsOf(configSchema)
    .map((part) => part.path)
    .filter((each) => each.at(-1)?.toLowerCase() === key.toLowerCase())
  return paths.length === 1 ? paths[0]!.join('.') : null
}

const PLAIN_KEY = /^[\w.-]{1,60}$/

/** `byname.yaml:12:5: cache.maxBites`, `BYNAME_WORKERS: workers`, or the key alone where nobody wrote it. */
function place(path: KeyPath, wantsKey: boolean, layers: readonly Layer[]): string {
  const key = path
    .map((part) => (typeof part === 'number' ? `[${part}]` : PLAIN_KEY.test(part) ? `.${part}` : `[${quote(part)}]`))
    .join('')
    .replace(/^\./, '')
  const depths = layers.map((layer) => depthOf(layer.values, path))
  const deepest = Math.max(...depths)
  const where = deepest === 0 ? null : layers[depths.lastIndexOf(deepest)]!.whereIs(path, wantsKey)
  return where === null ? key : `${where}: ${key}`
}

function writtenAt(path: KeyPath, layers: readonly Layer[]): string | null {
  const layer = layers.findLast(({ values }) => depthOf(values, path) === path.length)
  return layer?.whereIs(path, false) ?? null
}

function show(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value)
  return text.length > 60 ? `${text.slice(0, 59)}…` : text
}
