import { version } from '../version.ts'
import { type Command, ExitCode } from './command.ts'

/** `byname version`: the same as `byname --version`. */
export const versionCommand: Command = {
  name: 'version',
  summary: "Show byname's version.",
  options: {},
  run(_, context) {
    context.out(`byname ${version}\n`)
    return Promise.resolve(ExitCode.done)
  },
}
