/** What a person asks for: explain, search of the name table, look into the cache, flush. */
import type { NameExplanation, QuestionExplanation } from '../../explain/name-explanation.ts'
import type { FoundHosts } from '../sources.ts'
import { change, read } from './admin.ts'
import { byId, element, elementOf, table } from './dom.ts'
import { figure } from './words.ts'

const PAGE = 50

/** Makes all forms work. */
export function wireForms(): void {
  const explain = elementOf('explain-form', HTMLFormElement)
  onSubmit(explain, 'explain-result', async () => showExplanation(await read(`debug/explain?${queryOf(explain)}`)))
  wireHosts()
  wireCache()
}

function onSubmit(form: HTMLFormElement, result: string, run: () => Promise<readonly Node[]>): void {
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    void showResult(result, run)
  })
}

async function showResult(id: string, run: () => Promise<readonly Node[]>): Promise<void> {
  const place = byId(id)
  try {
    place.replaceChildren(...(await run()))
  } catch (error) {
    place.replaceChildren(element('p', { class: 'failing' }, error instanceof Error ? error.message : String(error)))
  }
}

/** The fields of a form that are filled in. */
function queryOf(form: HTMLFormElement): string {
  const query = new URLSearchParams()
  for (const [name, value] of new FormData(form))
    if (typeof value === 'string' && value.trim() !== '') query.set(name, value.trim())
  return String(query)
}

function showExplanation({ questions, application }: NameExplanation): Node[] {
  const asked = questions.flatMap(questionNodes)
  if (application === null) return asked
  const lookups = application.lookups.map(({ libc, steps }) => {
    const tried = steps.map(({ name, a, aaaa }) => `${name} (A ${a}, AAAA ${aaaa})`)
    return element('li', {}, `${libc}: ${tried.join(', then ')}`)
  })
  const search = application.search.length === 0 ? 'no search domain' : application.search.join(' ')
  return [
    ...asked,
    element('h3', {}, 'What a program asks'),
    element('p', { class: 'quiet' }, `${application.resolvConf}: ${search}, ndots ${application.ndots}`),
    element('ul', {}, ...lookups),
  ]
}

function questionNodes({
  name,
  type,
  rcode,
  source,
  answers,
  refusal,
  stages,
  forward,
  extendedErrors,
}: QuestionExplanation): Node[] {
  const from = refusal ?? (rcode === null ? 'would be forwarded' : `${rcode} from ${source}`)
  const steps = stages.map(({ name: stage, answers: has, finding }) =>
    element('li', {}, element(has ? 'strong' : 'span', {}, `${stage}: `), finding),
  )
  if (forward !== null) {
    const servers = forward.servers.map(({ label, isDown, rttMs }) => {
      const state = isDown ? 'fails' : rttMs === null ? 'not asked yet' : `${figure(rttMs)} ms`
      return `${label} (${state})`
    })
    steps.push(
      element('li', {}, element('strong', {}, 'forward: '), `route ${forward.route.join(' ')}, ${servers.join(', ')}`),
    )
  }
  return [
    element('h3', {}, `${name} ${type}: ${from}`),
    element('ol', { class: 'stages' }, ...steps),
    ...(answers.length === 0 ? [] : [recordsTable(answers)]),
    ...extendedErrors.map((text) => element('p', {}, text)),
  ]
}

function recordsTable(records: QuestionExplanation['answers']): Node {
  const rows = records.map(({ name, ttl, type, data }) => [name, String(ttl), type, data])
  return table('Records', ['Name', 'TTL', 'Type', 'Data'], rows)
}

function wireHosts(): void {
  const form = elementOf('hosts-form', HTMLFormElement)
  const back = elementOf('hosts-back', HTMLButtonElement)
  const on = elementOf('hosts-on', HTMLButtonElement)
  let search = ''
  let offset = 0
  const show = (): Promise<void> =>
    showResult('hosts-result', async () => {
      const query = new URLSearchParams({ search, offset: String(offset), limit: String(PAGE) })
      const { hosts, found, shown } = await read<FoundHosts>(`debug/hosts?${query}`)
      const which = shown.length === 0 ? '' : `, ${figure(offset + 1)} to ${figure(offset + shown.length)} shown`
      byId('hosts-found').textContent = `${figure(found)} of ${figure(hosts)} hosts${which}`
      byId('hosts-pages').hidden = found <= PAGE
      back.disabled = offset === 0
      on.disabled = offset + PAGE >= found
      const rows = shown.map(({ host, ips, registry, namespace }) => [host, ips.join(' '), registry, namespace])
      return [table('Hosts', ['Host', 'Addresses', 'Registry', 'Namespace'], rows)]
    })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    search = new URLSearchParams(queryOf(form)).get('search') ?? ''
    offset = 0
    void show()
  })
  back.addEventListener('click', () => {
    offset = Math.max(0, offset - PAGE)
    void show()
  })
  on.addEventListener('click', () => {
    offset += PAGE
    void show()
  })
}

/** What `/debug/cache/entry` says. */
interface CacheEntry {
  name: string
  type: string
  isCached: boolean
  finding: string | null
  answeredBy: string | null
  rcode: string | null
  answers: QuestionExplanation['answers']
}

function wireCache(): void {
  const form = elementOf('cache-form', HTMLFormElement)
  const dialog = elementOf('flush', HTMLDialogElement)
  let path = ''
  const confirm = (question: string, then: string): void => {
    path = then
    byId('flush-question').textContent = question
    dialog.returnValue = ''
    dialog.showModal()
  }
  onSubmit(form, 'cache-result', async () => {
    const { name, type, isCached, finding, answeredBy, rcode, answers } = await read<CacheEntry>(
      `debug/cache/entry?${queryOf(form)}`,
    )
    const line = finding === null ? `the cache is not asked: ${answeredBy ?? 'nobody'} answers` : finding
    const head = element('p', {}, `${name} ${type}: ${isCached && rcode !== null ? `${rcode}, ` : ''}${line}`)
    return answers.length === 0 ? [head] : [head, recordsTable(answers)]
  })
  byId('flush-all').addEventListener('click', () => confirm('Remove all answers from the cache?', 'debug/cache/flush'))
  byId('flush-name').addEventListener('click', () => {
    const name = new URLSearchParams(queryOf(form)).get('name')
    if (name === null) form.reportValidity()
    else confirm(`Remove the answers for ${name}?`, `debug/cache/flush?${new URLSearchParams({ name })}`)
  })
  dialog.addEventListener('close', () => {
    if (dialog.returnValue !== 'yes') return
    void showResult('cache-result', async () => {
      const { flushed } = await change<{ flushed: number }>(path)
      return [element('p', {}, `${figure(flushed)} ${flushed === 1 ? 'answer' : 'answers'} removed.`)]
    })
  })
}
