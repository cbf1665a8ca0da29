/** Checks objects against OpenAPI schemas of Kubernetes, strictly: a field that the schema does not know is a fault. */

/** The part of an OpenAPI v2 schema that says something of an object's form. A `$ref` is a definition's name. */
export interface Schema {
  $ref?: string
  type?: string
  format?: string
  'x-kubernetes-int-or-string'?: boolean
  enum?: readonly unknown[]
  required?: readonly string[]
  properties?: Readonly<Record<string, Schema>>
  items?: Schema
  additionalProperties?: Schema | boolean
}

export type Definitions = Readonly<Record<string, Schema>>

/** The name of the definition of a kind: `apps/v1` and `DaemonSet` are `io.k8s.api.apps.v1.DaemonSet`. */
export function definitionOf(apiVersion: string, kind: string): string {
  const [group, version] = apiVersion.includes('/') ? apiVersion.split('/') : ['core', apiVersion]
  return `io.k8s.api.${group!.replace(/\..*$/, '')}.${version}.${kind}`
}

/** Every fault of `value`, each as "PATH: what is wrong". */
export function faultsOf(value: unknown, schema: Schema, definitions: Definitions, path = ''): string[] {
  if (schema.$ref !== undefined) {
    const target = definitions[schema.$ref]
    return target === undefined ? [`${path}: no schema ${schema.$ref}`] : faultsOf(value, target, definitions, path)
  }
  if (schema.enum !== undefined && !schema.enum.includes(value))
    return [`${path}: ${JSON.stringify(value)} is no choice`]
  if (schema.format === 'int-or-string')
    return isOf(value, 'string') || isOf(value, 'integer') ? [] : [`${path}: no text or number`]
  if (schema.type !== undefined && !isOf(value, schema.type)) return [`${path}: is no ${schema.type}`]
  if (schema.items !== undefined && Array.isArray(value)) {
    return value.flatMap((item, k) => faultsOf(item, schema.items!, definitions, `${path}[${k}]`))
  }
  if (!isOf(value, 'object') || (schema.properties === undefined && typeof schema.additionalProperties !== 'object'))
    return []
  const map = value as Record<string, unknown>
  const missing = (schema.required ?? []).filter((key) => !(key in map)).map((key) => `${path}.${key}: is missing`)
  return missing.concat(
    Object.entries(map).flatMap(([key, inner]) => {
      const known = schema.properties?.[key] ?? schema.additionalProperties
      if (typeof known !== 'object') return [`${path}.${key}: is unknown`]
      return faultsOf(inner, known, definitions, `${path}.${key}`)
    }),
  )
}

function isOf(value: unknown, type: string): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string'
    case 'boolean':
      return typeof value === 'boolean'
    case 'integer':
      return Number.isInteger(value)
    case 'number':
      return typeof value === 'number'
    case 'array':
      return Array.isArray(value)
    default:
      return typeof value === 'object' && value !== null && !Array.isArray(value)
  }
}
