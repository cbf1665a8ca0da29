/**
 * WorkloadGroup (networking.istio.io): what stands for a kind of VM in the mesh. Field names are the API's, in either of the two
 * spellings that protobuf's JSON takes (camel case and snake case).
 */
import { LineCounter } from 'yaml'
import * as z from 'zod/mini'
import { keyOffsetOf, offsetOf } from '../yaml/node-offset.ts'
import { readYaml } from '../yaml/plain-yaml.ts'

/** A workload group that has been read. */
export interface WorkloadGroup {
  name: string
  namespace: string
  annotations: Record<string, string>
  /** Of spec.metadata: for the workloads. */
  workloadLabels: Record<string, string>
  workloadAnnotations: Record<string, string>
  template: {
    serviceAccount: string
    network: string
    ports: Record<string, number>
    labels: Record<string, string>
  }
  /** As protobuf's JSON writes it; null without one. */
  probe: Record<string, unknown> | null
}

const API_VERSIONS = ['v1', 'v1beta1', 'v1alpha3'].map((version) => `networking.istio.io/${version}`)
const MOST_PROBLEMS = 10

const text = z.string({ error: 'must be a text' })
const texts = z.record(z.string(), text, { error: 'must be a section of texts' })
const wholeNumber = (least: number, most: number): z.ZodMiniInt => {
  const error = `must be a whole number from ${least} to ${most}`
  return z.int({ error }).check(z.minimum(least, { error }), z.maximum(most, { error }))
}
const port = wholeNumber(1, 65_535)
const seconds = wholeNumber(0, 2 ** 31 - 1)
const label = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/
const resourceName = text.check(
  z.regex(/^(?=.{1,253}$)[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?$/, {
    error: 'must be a Kubernetes name (lower-case letters, digits, "-" and ".")',
  }),
)
const namespaceName = text.check(
  z.regex(label, { error: 'must be the name of a namespace (lower-case letters, digits, "-")' }),
)

const httpGet = section({
  path: z.optional(text),
  port,
  host: z.optional(text),
  scheme: z.optional(z.enum(['', 'HTTP', 'HTTPS'], { error: 'must be HTTP or HTTPS' })),
  httpHeaders: z.optional(z.array(section({ name: text, value: text }), { error: 'must be a list of name and value' })),
})
const command = z
  .array(text, { error: 'must be a list of texts' })
  .check(z.minLength(1, { error: 'must not be empty' }))
const probe = section({
  initialDelaySeconds: z.optional(seconds),
  timeoutSeconds: z.optional(seconds),
  periodSeconds: z.optional(seconds),
  successThreshold: z.optional(seconds),
  failureThreshold: z.optional(seconds),
  httpGet: z.optional(httpGet),
  tcpSocket: z.optional(section({ host: z.optional(text), port })),
  exec: z.optional(section({ command })),
  grpc: z.optional(section({ port: z.optional(port), service: z.optional(text) })),
}).check(
  z.superRefine((read, context) => {
    const methods = (['httpGet', 'tcpSocket', 'exec', 'grpc'] as const).filter((each) => read[each] !== undefined)
    if (methods.length > 1) context.addIssue({ code: 'custom', message: `takes one of ${methods.join(' and ')}` })
  }),
)

const workloads = section({
  address: z.optional(text.check(z.maxLength(256, { error: 'must be at most 256 characters' }))),
  ports: z.optional(z.record(portName(), port, { error: 'must be a section of port numbers' })),
  labels: z.optional(texts),
  network: z.optional(text),
  locality: z.optional(text),
  weight: z.optional(wholeNumber(0, 2 ** 32 - 1)),
  serviceAccount: z.optional(text.check(z.maxLength(253, { error: 'must be at most 253 characters' }))),
})
const group = section({
  apiVersion: text.check(
    z.refine((version) => API_VERSIONS.includes(version), { error: `must be one of ${API_VERSIONS.join(', ')}` }),
  ),
  kind: text.check(z.refine((kind) => kind === 'WorkloadGroup', { error: 'must be WorkloadGroup' })),
  // The API server adds to it what it likes.
  metadata: z.object(
    {
      name: resourceName,
      namespace: z.optional(namespaceName),
      labels: z.optional(texts),
      annotations: z.optional(texts),
    },
    { error: 'must be a section with name and namespace' },
  ),
  spec: section({
    metadata: z.optional(section({ labels: z.optional(texts), annotations: z.optional(texts) })),
    template: z.optional(workloads),
    probe: z.optional(probe),
  }),
  status: z.optional(z.unknown()),
})

function portName(): z.ZodMiniString {
  return z
    .string()
    .check(z.regex(/^[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,60}[a-zA-Z0-9])?$/, { error: 'is no name for a port' }))
}

function section<T extends z.core.$ZodShape>(shape: T): z.ZodMiniObject<T, z.core.$strict> {
  return z.strictObject(shape, {
    error: (issue) => (issue.code === 'invalid_type' ? 'must be a section of keys' : undefined),
  })
}

/**
 * Reads a workload group from YAML or JSON. `file` is what problems call it, one line each with the line and the path of the key:
 * `group.yaml:12: spec.template.ports.http: must be …`. Unknown fields are problems.
 */
export function readWorkloadGroup(
  content: string,
  file: string,
  namespace: string,
): { value: WorkloadGroup } | { problems: string[] } {
  const lines = new LineCounter()
  const documents = readYaml(content, lines).filter(({ values, problems }) => values !== null || problems.length > 0)
  const [document, second] = documents
  const at = (offset: number): string => `${file}:${lines.linePos(offset).line}`
  if (document === undefined) return { problems: [`${file}: is empty; it must hold one WorkloadGroup`] }
  const [syntax] = document.problems
  if (syntax !== undefined) return { problems: [`${at(syntax.offset)}: ${syntax.message}`] }
  if (second !== undefined) {
    const where = at(offsetOf(second.contents, []))
    return { problems: [`${where}: begins a second document; name a file with one WorkloadGroup`] }
  }
  const { values, contents } = document
  if (typeof values !== 'object' || values === null || Array.isArray(values))
    return {
      problems: [`${at(offsetOf(contents, []))}: must be a WorkloadGroup with apiVersion, kind, metadata and spec`],
    }
  const named = camelCased(values, [])
  const read = group.safeParse(named)
  if (!read.success) {
    const problems = read.error.issues.flatMap((issue) => describe(issue, named, contents, at))
    return { problems: problems.slice(0, MOST_PROBLEMS) }
  }
  return { value: toGroup(read.data, namespace) }
}

function describe(
  issue: z.core.$ZodIssue,
  values: unknown,
  contents: unknown,
  at: (offset: number) => string,
): string[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map(
      (key) => `${at(keyOffsetOf(contents, issue.path, key))}: ${pathText([...issue.path, key])}: unknown field`,
    )
  }
  const isMissing = issue.path.reduce(memberOf, values) === undefined
  return [`${at(offsetOf(contents, issue.path))}: ${pathText(issue.path)}: ${isMissing ? 'is missing' : issue.message}`]
}

function memberOf(value: unknown, key: PropertyKey): unknown {
  return typeof value === 'object' && value !== null
    ? Object.entries(value).find(([name]) => name === String(key))?.[1]
    : undefined
}

function pathText(path: readonly PropertyKey[]): string {
  return path
    .map((key, index) => (typeof key === 'number' ? `[${key}]` : `${index > 0 ? '.' : ''}${String(key)}`))
    .join('')
}

/** Sections whose keys are names of the user's. */
const FREE = /^(?:metadata|spec\.metadata|spec\.template)\.(?:labels|annotations|ports)$/

/** The proto's own names (`service_account`) in JSON's spelling; keys without a value are left out. */
function camelCased(value: unknown, path: readonly string[]): unknown {
  if (Array.isArray(value)) return value.map((each) => camelCased(each, path))
  if (typeof value !== 'object' || value === null) return value
  if (path[0] === 'status' || (path[0] === 'metadata' && path.length > 1) || FREE.test(path.join('.'))) return value
  const isTop = path.length === 0 || path[0] === 'metadata'
  const entries = Object.entries(value).filter(([, inner]) => inner !== null)
  return Object.fromEntries(
    entries.map(([key, inner]) => {
      const name = isTop ? key : key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
      return [name, camelCased(inner, [...path, name])]
    }),
  )
}

function toGroup({ metadata, spec }: z.infer<typeof group>, namespace: string): WorkloadGroup {
  const { template = {} } = spec
  return {
    name: metadata.name,
    namespace: metadata.namespace ?? namespace,
    annotations: metadata.annotations ?? {},
    workloadLabels: spec.metadata?.labels ?? {},
    workloadAnnotations: spec.metadata?.annotations ?? {},
    template: {
      serviceAccount: template.serviceAccount || 'default',
      network: template.network ?? '',
      ports: template.ports ?? {},
      labels: template.labels ?? {},
    },
    probe: spec.probe ?? null,
  }
}
