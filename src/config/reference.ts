/** What the schema declares, as people and Helm read it: config/byname.yaml, docs/configuration.md, `--help`, the chart's schema. */
import { variableOf } from './environment.ts'
import { configSchema } from './schema.ts'
import { type Leaf, type LeafKind, partsOf, type Section, valuesOf, wordsOf } from './schema-keys.ts'

const COLUMNS = 108
const UNITS =
  'Durations may be written as 500ms, 30s or 1h30m, and sizes as 64Ki or 8Mi. Plain numbers are in the unit that the key names (maxUdpPayload: bytes).'
const PROCESS = '(new process)'
const PARTS = partsOf(configSchema)
/** What JSON calls the kinds. What stands in one word may be a number or a switch to YAML. */
const SHAPES: Readonly<Record<LeafKind, readonly string[]>> = {
  text: ['string', 'number', 'boolean'],
  number: ['string', 'number', 'boolean'],
  boolean: ['boolean', 'string', 'number'],
  list: ['array', 'string', 'number'],
  'list of sections': ['array', 'string'],
  'map of texts': ['object', 'string'],
}

/** The configuration file with every key, its meaning and its default. */
export function referenceYaml(): string {
  const lines = [
    ...commented(
      `Configuration of byname. Every key is optional; the values below are the defaults. Unknown keys are errors. "byname check --config byname.yaml" says what byname makes of it, or what is wrong and on which line.`,
      '',
    ),
    '#',
    ...commented(
      'The environment overrides this file: mesh.ttlSeconds is BYNAME_MESH_TTL_SECONDS, lists are separated by commas. Variables of Istio, shown in brackets, stand between the two. Flags override all of them.',
      '',
    ),
    '#',
    ...commented(UNITS, ''),
    '#',
    ...commented(`A change of this file counts at once. Keys marked ${PROCESS} wait for SIGUSR2 or a restart.`, ''),
  ]
  let optional: readonly string[] | null = null
  for (const part of PARTS) {
    const { path, notes } = part
    if (optional !== null && !optional.every((key, index) => path[index] === key)) optional = null
    if (!('kind' in part) && part.isOptional) optional ??= path
    const indent = '  '.repeat(path.length - 1)
    const key = path.at(-1)!
    if (path.length === 1) lines.push('')
    lines.push(...commented(meaningOf(part), indent))
    const isShown = optional === null && !('kind' in part && part.byDefault === undefined)
    const value = 'kind' in part ? ` ${yamlOf(part.byDefault) ?? ('example' in notes ? notes.example : '')}` : ''
    lines.push(`${indent}${isShown ? '' : '#'}${key}:${value}`)
  }
  return `${lines.join('\n')}\n`
}

/** All keys as tables in Markdown. */
export function referenceMarkdown(): string {
  const lines = [
    '# Configuration',
    '',
    '<!-- Written by "npm run reference" from src/config/schema.ts. -->',
    '',
    'YAML, named by `--config FILE` or `BYNAME_CONFIG`. Every key is optional, unknown keys are errors, and',
    '`byname check` says what byname makes of it. [config/byname.yaml](../config/byname.yaml) is a file with all defaults.',
    '',
    '- **Order.** The file, then the variables of Istio, then `BYNAME_…` variables, then flags: the later one wins.',
    '- **Environment.** `mesh.ttlSeconds` is `BYNAME_MESH_TTL_SECONDS`. Lists are separated by commas, maps are `a=b,c=d`, lists',
    '  of sections are YAML. An empty variable counts as unset, but for keys that an empty text turns off.',
    '- **Flags.** `--set mesh.ttlSeconds=1m` sets any key, as the environment does; it may be repeated.',
    `- **Units.** ${UNITS}`,
    '- **Changes.** byname reads the file again when it changes (`watchConfig`) and on SIGHUP. "At once": the new value counts',
    '  from then on. "New process": it waits for SIGUSR2 or a restart, and the log says so. A file with any problem changes nothing.',
  ]
  let heading = ''
  for (const part of PARTS) {
    const { path, notes } = part
    const top = path.length === 1 && 'kind' in part ? 'Top level' : path[0]!
    if (top !== heading) {
      heading = top
      lines.push('', `## ${top === 'Top level' ? top : `\`${top}\``}`, '')
      if (!('kind' in part)) lines.push(notes.about, '')
      lines.push('| key | default | values | meaning | a change counts |', '| --- | --- | --- | --- | --- |')
    }
    if (!('kind' in part)) {
      if (path.length > 1) lines.push(`| \`${path.join('.')}\` | | a section | ${cell(notes.about)} | |`)
      continue
    }
    const shown = yamlOf(part.byDefault)
    const cells = [
      `\`${path.join('.')}\``,
      shown === null ? '' : `\`${shown}\``,
      cell(valuesOf(part)),
      cell(`${part.notes.about}${istioOf(part)}`),
      part.notes.reload === 'live' ? 'at once' : 'new process',
    ]
    lines.push(`| ${cells.join(' | ')} |`)
  }
  return `${lines.join('\n')}\n`
}

/**
 * A JSON schema with the definition `config` replaced, which is its last one: the keys that there are, and the shape of each
 * value. What a value must be beyond that byname itself says: Helm passes texts and numbers for one another.
 */
export function withConfigDefinition(jsonSchema: string): string {
  const at = jsonSchema.lastIndexOf('\n    "config": {\n')
  if (at === -1) throw new Error('no definition "config"')
  return `${jsonSchema.slice(0, at)}\n    "config": ${sectionSchema([], '    ')}\n  }\n}\n`
}

/** A line a key. */
function sectionSchema(path: readonly string[], indent: string): string {
  const keys = PARTS.filter(
    (part) => part.path.length === path.length + 1 && path.every((key, index) => part.path[index] === key),
  )
  const lines = keys.map((part) => {
    const schema =
      'kind' in part
        ? JSON.stringify(leafSchema(part)).replaceAll(/[:,]/g, '$& ')
        : sectionSchema(part.path, `${indent}    `)
    return `${indent}    ${JSON.stringify(part.path.at(-1))}: ${schema}`
  })
  return `{\n${indent}  "type": ["object", "null"],\n${indent}  "additionalProperties": false,\n${indent}  "properties": {\n${lines.join(',\n')}\n${indent}  }\n${indent}}`
}

function leafSchema(leaf: Leaf): object {
  const words = wordsOf(leaf)
  return words === null ? { type: [...SHAPES[leaf.kind], 'null'] } : { enum: [...words, null] }
}

/** All keys for `--help`. */
export function referenceHelp(): string {
  const lines = PARTS.flatMap((part) => {
    if (!('kind' in part)) return []
    const shown = yamlOf(part.byDefault)
    const head = `  ${part.path.join('.')}${shown === null ? '' : ` = ${shown}`}`
    return [head, ...wrapped(`${part.notes.about}${istioOf(part)}`, COLUMNS - 6).map((line) => `      ${line}`)]
  })
  const example = variableOf(['mesh', 'ttlSeconds'])
  const intro = `Settings, in YAML, as ${example} in the environment, or by --set mesh.ttlSeconds=1m. ${UNITS}`
  return [...wrapped(intro, COLUMNS), '', ...lines].join('\n')
}

function meaningOf(part: Section | Leaf): string {
  if (!('kind' in part)) return part.notes.about
  return `${part.notes.about}${istioOf(part)}${part.notes.reload === 'live' ? '' : ` ${PROCESS}`}`
}

function istioOf({ notes: { istio } }: Leaf): string {
  return istio === undefined ? '' : ` [${istio}]`
}

/** Null for a key without a default. */
function yamlOf(value: unknown): string | null {
  if (value === undefined) return null
  if (typeof value === 'string') return /^[a-z/][\w./-]*$/i.test(value) ? value : JSON.stringify(value)
  return JSON.stringify(value).replaceAll(',', ', ')
}

function commented(text: string, indent: string): string[] {
  return wrapped(text, COLUMNS - indent.length - 2).map((line) => `${indent}# ${line}`)
}

function wrapped(text: string, columns: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    if (last === undefined || last.length + 1 + word.length > columns) lines.push(word)
    else lines[lines.length - 1] = `${last} ${word}`
  }
  return lines
}

function cell(text: string): string {
  return text.replaceAll('|', '\\|')
}
