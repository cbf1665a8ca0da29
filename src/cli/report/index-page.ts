/** The page that opens a report: findings first, then the evidence. One file without scripts, light and dark. */
import { bytesText, plural } from '../figures.ts'
import type { Missing } from './evidence.ts'
import type { Finding } from './findings.ts'

/** What the page shows. */
export interface ReportPage {
  /** ISO 8601. */
  madeAt: string
  /** byname's, of the command that made it. */
  version: string
  /** Names and addresses are replaced. */
  isAnonymised: boolean
  findings: readonly Finding[]
  files: readonly { file: string; about: string; bytes: number }[]
  missing: readonly Missing[]
  /** Facts in a few words: what runs, since when. */
  facts: readonly (readonly [name: string, value: string])[]
}

const WORDS = { error: 'Error', warning: 'Warning', note: 'Note' } as const

const STYLE = `
:root{color-scheme:light dark;--line:#8884;--error:#b3261e;--warning:#8a5300;--note:#4a5568}
@media (prefers-color-scheme:dark){:root{--error:#ff8a80;--warning:#ffc56b;--note:#b0b8c4}}
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}
ol,ul{padding-left:1.2rem}li{margin:.6rem 0;overflow-wrap:anywhere}
.error>strong{color:var(--error)}.warning>strong{color:var(--warning)}.note>strong{color:var(--note)}
.files{font-size:.875rem;display:block}
table{border-collapse:collapse;width:100%}th,td{text-align:left;vertical-align:top;padding:.35rem .8rem .35rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
td.bytes{text-align:right;white-space:nowrap}
`

/** The page as HTML. Everything from outside is escaped. */
export function indexPage(page: ReportPage): string {
  const { findings, files, missing, facts } = page
  const rows = files.map(
    ({ file, about, bytes }) =>
      `<tr><td><a href="${escapeHtml(encodeURI(file))}">${escapeHtml(file)}</a><td>${escapeHtml(about)}<td class="bytes">${bytesText(bytes)}\n`,
  )
  const missingRows = missing.map(
    ({ file, about, reason }) => `<tr><td>${escapeHtml(file)}<td>${escapeHtml(about)}<td>${escapeHtml(reason)}\n`,
  )
  const note = page.isAnonymised
    ? '<p>Names and addresses are replaced, the same one by the same everywhere in this report.</p>\n'
    : ''
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>byname bug report, ${escapeHtml(page.madeAt)}</title>
<style>${STYLE}</style></head>
<body>
<header><h1>byname bug report</h1>
<p>Made ${escapeHtml(page.madeAt)} by byname ${escapeHtml(page.version)}. ${plural(findings.length, 'finding')}, ${plural(files.length, 'file')}, ${missing.length} not collected.</p>
${note}</header>
<main>
<section aria-labelledby="findings"><h2 id="findings">Findings</h2>
${findings.length === 0 ? '<p>Nothing is wrong as far as this report can tell.</p>' : `<ol>\n${findings.map(findingItem).join('')}</ol>`}
</section>
<section aria-labelledby="facts"><h2 id="facts">In short</h2>
<table><tbody>
${facts.map(([name, value]) => `<tr><th scope="row">${escapeHtml(name)}<td>${escapeHtml(value)}\n`).join('')}</tbody></table></section>
<section aria-labelledby="evidence"><h2 id="evidence">Evidence</h2>
<table><thead><tr><th scope="col">File<th scope="col">What it is<th scope="col">Size</thead><tbody>
${rows.join('')}</tbody></table></section>
<section aria-labelledby="missing"><h2 id="missing">Not collected</h2>
${missing.length === 0 ? '<p>Everything was collected.</p>' : `<table><thead><tr><th scope="col">File<th scope="col">What it would be<th scope="col">Why not</thead><tbody>\n${missingRows.join('')}</tbody></table>`}
</section>
</main>
</body>
</html>
`
}

function findingItem({ severity, text, files }: Finding): string {
  const links = files.map((file) => `<a href="${escapeHtml(encodeURI(file))}">${escapeHtml(file)}</a>`).join(', ')
  return `<li class="${severity}"><strong>${WORDS[severity]}:</strong> ${escapeHtml(text)}.${links === '' ? '' : ` <span class="files">${links}</span>`}\n`
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
