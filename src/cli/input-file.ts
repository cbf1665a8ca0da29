import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { ConfigError } from '../config/config-error.ts'

/** Text of a file that a command was given. @throws ConfigError */
export function readInput(file: string): string {
  const read = readBoundedText(file, MAX_FILE_BYTES.configuration)
  if ('problem' in read) throw new ConfigError([`${file} ${read.problem.reason}`])
  return read.text
}
