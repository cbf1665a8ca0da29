/**
 * The files of plug-ins: watched, loaded and tried here, on the control thread, and handed to the data workers with the
 * settings. A new file that cannot be used leaves the one before in use. Loaded only where a plug-in is configured.
 */
import { createHash } from 'node:crypto'
import { basename } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { MAX_FILE_BYTES, readBoundedFile } from '../base/bounded-file.ts'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Log } from '../base/log.ts'
import { WatchedFile } from '../base/watched-file.ts'
import type { PluginSettings } from '../engine/plugins/plugin-abi.ts'
import type { Problem } from '../observe/sources.ts'
import { PluginExplainer } from '../plugins/plugin-explanation.ts'
import { type LoadedPlugin, loadPlugin, type PluginSource } from '../plugins/plugin-loader.ts'
import { fileProblems } from './problems.ts'

/** A plug-in in use, and the file that it was. */
interface Used extends LoadedPlugin {
  digest: string
}

/** An entry of `plugins`. */
interface Entry {
  source: PluginSource
  name: string
  watched: WatchedFile<Used>
  /** Stands in as long as no file could be used. */
  absent: PluginSettings
}

/** What they are made with. */
export interface PluginFilesOptions {
  log: Log
  /** Others are to be used from now on: see `settings`. */
  onChange: () => void
  files?: Files
  clock?: Clock
}

/** All plug-ins of the configuration. Call `stop`. */
export class PluginFiles {
  readonly #options: PluginFilesOptions
  #entries: Entry[] = []
  #ids = 0
  /** By id: why it is switched off, and since when. */
  readonly #off: Map<number, { why: string; sinceMs: number }> = new Map()

  constructor(options: PluginFilesOptions) {
    this.#options = options
  }

  /** What the data workers are told, in the order of the configuration. */
  get settings(): PluginSettings[] {
    return this.#entries.map(({ watched, absent }) => watched.value?.settings ?? absent)
  }

  /** For metrics: names, whether they are asked, and the names of their counters by number. */
  get shown(): { name: string; isOn: boolean; counters: ReadonlyMap<number, string> }[] {
    return this.#entries.map(({ name, watched: { value } }) => ({
      name,
      isOn: value !== null && !this.#off.has(value.settings.id),
      counters: value?.counters ?? new Map(),
    }))
  }

  /** What is wrong with them now. */
  get problems(): Problem[] {
    return this.#entries.flatMap(({ source, watched, name }) => {
      const off = this.#off.get(watched.value?.settings.id ?? 0)
      const problems = fileProblems('plugins', watched.trouble)
      if (off === undefined) return problems
      const text = `plug-in ${name} (${source.file}) is switched off: ${off.why}`
      return [...problems, { about: 'plugins' as const, text, sinceMs: off.sinceMs }]
    })
  }

  /** Takes the plug-ins of a configuration. Files that are in use already are read again. */
  configure(sources: readonly PluginSource[]): void {
    const before = this.#entries
    const names = pluginNames(sources)
    this.#entries = sources.map((source, k) => {
      const name = names[k]!
      const known = before.find(
        (entry) => entry.name === name && JSON.stringify(entry.source) === JSON.stringify(source),
      )
      if (known === undefined) return this.#open(source, name, before)
      known.watched.reread()
      return known
    })
    for (const entry of before) if (!this.#entries.includes(entry)) entry.watched.stop()
  }

  /** A data worker has switched a plug-in off. */
  switchedOff(id: number, why: string): void {
    const entry = this.#entries.find(({ watched }) => watched.value?.settings.id === id)
    if (entry === undefined || this.#off.has(id)) return
    this.#off.set(id, { why, sinceMs: Date.now() })
    this.#options.log.error(
      { plugin: entry.name, file: entry.source.file, why, onError: entry.source.onError },
      `plug-in ${entry.name} is switched off until its file or its settings change: ${why}`,
    )
  }

  /** Says what the plug-ins would do about queries, in copies of their own. */
  explainer(): PluginExplainer {
    return new PluginExplainer(this.settings)
  }

  /** Watches no more. */
  stop(): void {
    for (const { watched } of this.#entries) watched.stop()
  }

  #open(source: PluginSource, name: string, before: readonly Entry[]): Entry {
    const { log, onChange, files, clock } = this.#options
    const { file, onError } = source
    // What the same file was before goes on, with the settings that it had, if the file cannot be used any more.
    const last = before.find((entry) => entry.source.file === file)?.watched.value ?? null
    const watched: WatchedFile<Used> = new WatchedFile({
      path: file,
      what: `the plug-in ${name}`,
      maxBytes: MAX_FILE_BYTES.plugin,
      level: 'error',
      log,
      last,
      ...(files && { files }),
      ...(clock && { clock }),
      isBinary: true,
      take: (bytes, used) => this.#take(bytes, source, name, used),
      onChange: () => {
        log.info({ plugin: name, file }, 'plug-in changed')
        onChange()
      },
      describe: ({ reason, isFirst }) =>
        `plug-in ${name}: ${file} ${reason}: ${isFirst ? `it is not asked, and onError says ${onError}` : 'the one in use stays'}`,
    })
    const absent = { ...ABSENT, id: ++this.#ids, name, onError }
    watched.start()
    if (watched.trouble === null) log.info({ plugin: name, file }, 'plug-in loaded')
    return { source, name, watched, absent }
  }

  #take(
    bytes: Uint8Array,
    source: PluginSource,
    name: string,
    last: Used | null,
  ): { value: Used } | { problem: string } {
    const digest = createHash('sha256').update(JSON.stringify(source)).update(bytes).digest('hex')
    // The same: it goes on with what it has in its memory.
    if (last?.digest === digest && last.settings.name === name) return { value: last }
    // All of it is compiled here: else each function would be by the data worker, when it is called first. The flag does not
    // stay, as V8 takes no code that was compiled under other flags.
    setFlagsFromString('--no-wasm-lazy-compilation')
    const loaded = loadPlugin(bytes, source, ++this.#ids, name)
    setFlagsFromString('--wasm-lazy-compilation')
    return 'problem' in loaded ? loaded : { value: { ...loaded, digest } }
  }
}

const ABSENT: Omit<PluginSettings, 'id' | 'name' | 'onError'> = {
  module: null,
  imports: [],
  budgetName: '',
  setBudgetName: '',
  config: new Uint8Array(0),
  timeoutUs: 1,
}

/** What each plug-in is called in metrics and messages: its file without folder and `.wasm`, the second of that name with `-2`. */
function pluginNames(sources: readonly PluginSource[]): string[] {
  const seen = new Set<string>()
  return sources.map(({ file }) => {
    const base = basename(file).replace(/\.wasm$/, '') || 'plug-in'
    let name = base
    for (let k = 2; seen.has(name); k++) name = `${base}-${k}`
    seen.add(name)
    return name
  })
}

/** What is wrong with each plug-in, by its place: one line that names the file; null: nothing. */
export function pluginProblems(sources: readonly PluginSource[]): (string | null)[] {
  const names = pluginNames(sources)
  return sources.map((source, k) => {
    const read = readBoundedFile(source.file, MAX_FILE_BYTES.plugin)
    if ('problem' in read) return `${source.file} ${read.problem.reason}`
    const loaded = loadPlugin(read.bytes, source, k + 1, names[k]!)
    return 'problem' in loaded ? `${source.file} ${loaded.problem}` : null
  })
}
