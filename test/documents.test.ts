/** What the documents say of the folders, and where their links lead: no copy of a table and no path may go stale. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { LAYERS } from '../layers.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const ARCHITECTURE = readFileSync(join(ROOT, 'ARCHITECTURE.md'), 'utf8')
const DOCUMENTS = ['README.md', 'ARCHITECTURE.md', 'CHANGELOG.md', ...documentsBelow('docs'), 'bench/README.md'].concat(
  documentsBelow('test'),
)

function documentsBelow(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md'))
    .map((path) => join(folder, path))
}

/** The lines of ARCHITECTURE.md from the first that has `start` to the next empty line. */
function block(start: string): string[] {
  const lines = ARCHITECTURE.split('\n')
  const first = lines.findIndex((line) => line.startsWith(start))
  expect(first, `ARCHITECTURE.md has no line that starts with ${start}`).toBeGreaterThan(0)
  return lines.slice(first, lines.indexOf('', first))
}

/** `path#heading` of every link that leads to a file or to a heading of its own document. */
function linksOf(text: string): string[] {
  const prose = text.replaceAll(/```.*?```/gs, '')
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!).filter((target) => !target.includes(':'))
}

/** Names of a document's headings as links spell them. */
function anchorsOf(text: string): string[] {
  return [...text.matchAll(/^#+ (.*)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\w\s-]/g, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  )
}

test('ARCHITECTURE.md shows the layers that the linter enforces', () => {
  const [, , ...rows] = block('| folder')
  const shown = rows.map((row) => {
    const [, folder, imports] = row.split('|').map((cell) => cell.trim())
    return {
      folder: folder!.replace(/ .*/, '').replaceAll('`', ''),
      isPure: folder!.endsWith('\\*'),
      imports: [...imports!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
    }
  })
  const layers = Object.entries(LAYERS).map(([folder, { imports, isPure = false }]) => ({
    folder,
    isPure,
    imports: [...imports],
  }))
  expect(shown).toEqual(layers)
})

test('every folder of src is a layer, and stands in the tree of ARCHITECTURE.md', () => {
  const folders = readdirSync(join(ROOT, 'src'))
    .filter((name) => statSync(join(ROOT, 'src', name)).isDirectory())
    .toSorted()
  const tree = block('src/main.ts').join('\n')
  const shown = [...tree.matchAll(/src\/([\w-]+)\//g)].map(([, name]) => name!)
  expect(Object.keys(LAYERS).toSorted()).toEqual(folders)
  expect(shown.toSorted()).toEqual(folders)
})

test.each(DOCUMENTS)('every link of %s leads somewhere', (document) => {
  const text = readFileSync(join(ROOT, document), 'utf8')
  const broken = linksOf(text).filter((link) => {
    const [path = '', heading] = link.split('#')
    const target = path === '' ? join(ROOT, document) : join(ROOT, dirname(document), path)
    if (!existsSync(target)) return true
    return heading !== undefined && !anchorsOf(readFileSync(target, 'utf8')).includes(heading)
  })
  expect(broken).toEqual([])
})
