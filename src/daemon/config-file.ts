import { MAX_FILE_BYTES, textOf } from '../base/bounded-file.ts'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Log } from '../base/log.ts'
import { WatchedFile } from '../base/watched-file.ts'

/** What is watched, and who is told. */
export interface ConfigFileOptions {
  /** Path of the configuration file, null if there is none. */
  file: string | null
  /** What it said when it was loaded. */
  text: string
  /** Called once it says something else, and has rested. */
  onChange: () => void
  log: Log
  files?: Files
  clock?: Clock
}

/** The configuration file, which is loaded again when it says something else. One that is gone or empty changes nothing. */
export class ConfigFile {
  readonly #options: ConfigFileOptions
  /** Of the configuration in use; null after a refusal: then any text is news, that of the configuration in use as well. */
  #text: string | null
  #watched: WatchedFile<string> | null = null

  constructor(options: ConfigFileOptions) {
    this.#options = options
    this.#text = options.text
  }

  /** Begins to watch, or ends it. A change since the file was loaded is told at once. */
  watch(isWatched: boolean): void {
    if (isWatched === (this.#watched !== null)) return
    if (!isWatched) {
      this.#watched?.stop()
      this.#watched = null
      return
    }
    const { file, log, files, clock } = this.#options
    if (file === null) return
    this.#watched = new WatchedFile<string>({
      path: file,
      what: 'the configuration file',
      maxBytes: MAX_FILE_BYTES.configuration,
      // Whoever writes it may not be done: without a key it would be the defaults.
      take: (content) => {
        const text = textOf(content)
        return text.trim() === '' ? { problem: 'is empty; write the configuration into it' } : { value: text }
      },
      onChange: (text) => this.#tell(text),
      describe: ({ reason }) => `the configuration stays as it is: ${file} ${reason}`,
      level: 'error',
      log,
      ...(files === undefined ? {} : { files }),
      ...(clock === undefined ? {} : { clock }),
    })
    this.#watched.start()
    if (this.#watched.value !== null) this.#tell(this.#watched.value)
  }

  /** The configuration in use is made from this text now. */
  loaded(text: string): void {
    this.#text = text
  }

  /** A text was refused. What the file says next is told, whatever it is: the refusal ends with it, or is said again. */
  refused(): void {
    this.#text = null
  }

  #tell(text: string): void {
    if (text !== this.#text) this.#options.onChange()
  }
}
