/** What `/debug/explain` answers from. Its parts are loaded when somebody asks: a daemon that only answers needs none. */
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import type { EngineExplanation, PluginOutcome } from '../engine/explain.ts'
import type { ExplainResult } from '../explain/explain-request.ts'
import type { ApplicationFacts } from '../explain/name-explanation.ts'
import type { DataWorkers } from './data-workers.ts'
import type { PluginFiles } from './plugin-files.ts'

const DEADLINE_MS = 2000

/** Where programs on this machine, or in this pod, look up how to resolve. */
const RESOLV_CONF = '/etc/resolv.conf'
const HOSTS_FILE = '/etc/hosts'

/**
 * Answers `/debug/explain` with the query string `query`. Plug-ins are asked here, in copies of their own.
 * @throws Error (rejects) if no data worker answers
 */
export async function explain(
  workers: Pick<DataWorkers, 'request'>,
  query: URLSearchParams,
  plugins: Pick<PluginFiles, 'explainer'> | null,
): Promise<ExplainResult> {
  const { answerExplain } = await import('../explain/explain-request.ts')
  const explainer = plugins?.explainer()
  return await answerExplain(query, applicationFacts, async (packet, from) => {
    const ask = (plugIns: PluginOutcome | null): Promise<(EngineExplanation | null)[]> =>
      workers.request('explain', { query: packet, from, plugins: plugIns }, DEADLINE_MS)
    const found = await ask(explainer?.explain(packet, from) ?? null)
    // A rule has changed the question before plug-ins see it.
    const asked = found.find((each) => each !== null && each.askPlugins !== null)?.askPlugins ?? null
    return asked === null ? found : await ask(explainer?.explain(asked, from) ?? null)
  })
}

/** What the files of this machine say to a program that looks up `name`. */
function applicationFacts(name: string): ApplicationFacts {
  const conf = parseResolvConf(textOf(RESOLV_CONF, MAX_FILE_BYTES.resolvConf))
  const hosts = parseHostsFile(textOf(HOSTS_FILE, MAX_FILE_BYTES.hosts))
  const hostsAddresses = hosts.addresses.get(name.toLowerCase().replace(/\.$/, '')) ?? []
  return { resolvConf: RESOLV_CONF, search: conf.search, ndots: conf.options.ndots ?? 1, hostsAddresses }
}

/** A file that cannot be read says nothing, to programs as well. */
function textOf(path: string, maxBytes: number): string {
  const read = readBoundedText(path, maxBytes)
  return 'text' in read ? read.text : ''
}
