import { LineCounter } from 'yaml'
import { offsetOf } from '../yaml/node-offset.ts'
import { readYaml } from '../yaml/plain-yaml.ts'
import type { MeshResource } from './mesh-resources.ts'
import { readResource } from './resource-schema.ts'

/** What a file of mesh resources says. With problems, none of it is to be used. */
export interface MeshYaml {
  resources: PlacedResource[]
  /** What is wrong, one line each: `bad.yaml: document 2, line 14: spec.ports[0].port: expected a number`. */
  problems: string[]
  /** What is odd and no error, likewise. */
  notes: string[]
  /** Kinds of which nothing is used. */
  ignoredKinds: string[]
}

/** A resource and where it stands: `shop.yaml: document 2, line 8`. */
export interface PlacedResource {
  resource: MeshResource
  place: string
}

/** More would only hide the first. */
const MOST_PROBLEMS = 10

/**
 * Reads Kubernetes and Istio resources from YAML: any number of documents, lists of resources (`kind: List`) included.
 * Documents are counted from 1 as they are separated by `---`, empty ones too. `file` is what messages call it.
 */
export function readMeshYaml(text: string, file: string): MeshYaml {
  const found: Found = { resources: [], problems: [], moreProblems: 0, notes: [], ignoredKinds: [] }
  readDocuments(text, file, found)
  const { moreProblems, ...read } = found
  if (moreProblems > 0) read.problems.push(`${file}: and ${moreProblems} more`)
  return read
}

interface Found extends MeshYaml {
  /** Beyond those in `problems`. */
  moreProblems: number
}

/** Of a problem that is not told nobody needs to know the place, which takes a search to find. */
function addProblem(found: Found, lineOf: () => string): void {
  if (found.problems.length < MOST_PROBLEMS) found.problems.push(lineOf())
  else found.moreProblems++
}

function readDocuments(text: string, file: string, found: Found): void {
  const lines = new LineCounter()
  let number = 0
  for (const { values, problems, contents } of readYaml(text, lines, 'kubernetes')) {
    const document = ++number
    const placeAt = (offset: number): string => `${file}: document ${document}, line ${lines.linePos(offset).line}`
    const [first] = problems
    if (first !== undefined) {
      // What follows in this document, or in the next ones, is a consequence of the first as often as not.
      addProblem(found, () => `${placeAt(first.offset)}: ${first.message}`)
      break
    }
    const whereIs = (path: readonly PropertyKey[]): string => placeAt(offsetOf(contents, path))
    readValues(values, [], whereIs, found)
  }
}

type WhereIs = (path: readonly PropertyKey[]) => string

function readValues(values: unknown, path: readonly PropertyKey[], whereIs: WhereIs, found: Found): void {
  if (values === null || values === undefined) return
  if (typeof values !== 'object' || Array.isArray(values)) {
    const message = 'expected a resource with apiVersion, kind and metadata'
    addProblem(found, () => `${whereIs(path)}: ${pathPrefix(path)}${message}`)
    return
  }
  const items = itemsOf(values)
  if (items !== null) {
    for (const [index, item] of items.entries()) readValues(item, [...path, 'items', index], whereIs, found)
    return
  }
  const read = readResource(values)
  if ('ignored' in read) found.ignoredKinds.push(shortened(read.ignored))
  else if ('resource' in read) {
    const { resource, note } = read
    found.resources.push({ resource, place: whereIs(path) })
    if (note !== '') found.notes.push(`${whereIs(path)}: ${describeResource(resource)} ${note}`)
  } else {
    for (const problem of read.problems) {
      const at = [...path, ...problem.path]
      addProblem(found, () => `${whereIs(at)}: ${pathPrefix(at)}${problem.message}`)
    }
  }
}

/** Items of a list of resources, with the kind that a typed list (`ServiceList`) does not repeat; null if it is none. */
function itemsOf(values: object): unknown[] | null {
  if (!('kind' in values) || typeof values.kind !== 'string' || !values.kind.endsWith('List')) return null
  if (!('items' in values) || !Array.isArray(values.items)) return null
  const kind = values.kind.slice(0, -'List'.length)
  if (kind === '') return values.items
  const common = { apiVersion: 'apiVersion' in values ? values.apiVersion : undefined, kind }
  return values.items.map((item: unknown) =>
    typeof item === 'object' && item !== null ? { ...common, ...item } : item,
  )
}

/** On one line, cut when it is long. */
function shortened(text: string): string {
  const line = text.replace(/\s+/g, ' ')
  return line.length > 80 ? `${line.slice(0, 79)}…` : line
}

/** `Service shop/reviews`. */
export function describeResource({ kind, namespace, name }: MeshResource): string {
  return `${kind} ${namespace}/${name}`
}

function pathPrefix(path: readonly PropertyKey[]): string {
  let text = ''
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`
    else if (/^[\w-]{1,80}$/.test(String(key))) text += text === '' ? String(key) : `.${String(key)}`
    else text += `[${JSON.stringify(shortened(String(key)))}]`
  }
  return text === '' ? '' : `${text}: `
}
