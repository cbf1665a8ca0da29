/** docs/observability.md says what every metric and every line of the log means, and of no others. */
import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { createMetrics } from '../src/observe/metrics.ts'
import { withMetricTable } from '../src/observe/metric-reference.ts'
import { SocketDrops } from '../src/observe/socket-drops.ts'
import { logOccurrences } from './log-occurrences.ts'
import { fakeLog, fakeSources } from './observe/fake-sources.ts'

const DOCUMENT = readFileSync(new URL('../docs/observability.md', import.meta.url), 'utf8')
const ROWS = [...DOCUMENT.matchAll(/^\| (error|warn|info) +\| `(.+?)` +\|/gm)].map(([, level, line]) => ({
  level: level!,
  line: line!,
}))

/** Texts that come from elsewhere, by how the source passes them on, with an example that the document shows. */
const PASSED_ON: Readonly<Record<string, string>> = {
  'describe({ code, reason, isFirst: this.#value === null, isAsked })': 'resolv.conf cannot be read: …',
  ROOT_ADVICE: 'byname runs as root, whose rights it does not need: …',
  warning: '… is every address of this machine, and access is empty: …',
  line: '… is every address of this machine, and access is empty: …',
  'message.message': 'TLS with upstream server … fails (…): check the name after # and the root certificates',
  'leftOutMessage(label)': "upstream server … is byname's own listener: that would be a loop; it is left out",
  'stormsOffMessage(domain, why)': 'search storms are not ended below … (…): …',
  'realDomainMessage(namespace, name, isLeft)': 'namespace … is a top-level domain: …',
  problem: '… endpoint: … is in use by another process; trying again, or set …',
  note: 'EndpointSlice …: … endpoints are left out: no Pod … in the files',
  kinds: 'not used for names: …',
  remark: '… name tables in one response: only the first is used',
  '`${why}: ${problem}`': '…: there is no configuration to read again',
}
/** Further lines that are passed on, which no call shows. */
const FURTHER: readonly string[] = [
  'the control plane removed the name table: the one in use stays',
  'the hosts file cannot be read: …',
  'rules: …: … (…)',
  'plug-in …: …: …',
  'a plug-in says',
  'upstream.rootCert: …; the certificates that it held last stay',
  'name table file …: …; the name table in use stays',
  'socket error',
]

/** As the document writes them: inserts in a row are one, and phrases chosen by a condition are inserts. */
function shown(message: string): string {
  return message.replace(/…+/g, '…')
}

test('the table of metrics is that of the source: npm run reference', () => {
  const metrics = createMetrics(fakeSources(), new SocketDrops(), fakeLog()).describe()
  expect(metrics.length).toBeGreaterThan(50)
  expect(DOCUMENT).toBe(withMetricTable(DOCUMENT, metrics))
})

test('a scrape shows no metric that the table has not', async () => {
  const metrics = createMetrics(fakeSources(), new SocketDrops(), fakeLog())
  const exposition = await metrics.render()
  const names = [...exposition.matchAll(/^# TYPE (\S+) /gm)].map(([, name]) => name!)
  expect(names.length).toBeGreaterThan(50)
  for (const name of names) expect(DOCUMENT, name).toContain(`| \`${name}\` |`)
})

test('the source has the lines that it is known to have', () => {
  const lines = logOccurrences()
  expect(lines.length).toBeGreaterThan(80)
  expect(lines.flatMap(({ messages }) => messages)).toContain('byname is answering')
})

test.each(logOccurrences().map((occurrence) => [occurrence.place, occurrence] as const))(
  'the lines of %s are in the document',
  (_place, { level, messages, written }) => {
    // The log itself passes on what it is given.
    if (_place.startsWith('observe/log.ts')) return
    const wanted = messages.length > 0 ? messages.map(shown) : [PASSED_ON[written]]
    for (const line of wanted) {
      expect(line, `a text that is passed on as ${written}`).toBeDefined()
      const levels = ROWS.filter((row) => row.line === line).map((row) => row.level)
      expect(levels, line).not.toEqual([])
      if (level !== null && messages.length > 0) expect(levels, line).toContain(level)
    }
  },
)

test('the document has no line that nothing writes', () => {
  const written = new Set([
    ...logOccurrences().flatMap(({ messages }) => messages.map(shown)),
    ...Object.values(PASSED_ON),
    ...FURTHER,
  ])
  expect(ROWS.length).toBeGreaterThan(80)
  for (const { line } of ROWS) expect([...written], line).toContain(line)
})
