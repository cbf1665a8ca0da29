/**
 * Cuts the kinds that the chart makes out of Kubernetes' OpenAPI description, without the prose:
 *
 *   node test/kubernetes/make-schema.ts swagger.json podmonitors.yaml prometheusrules.yaml > test/kubernetes/schemas.json
 *
 * swagger.json is api/openapi-spec/swagger.json of the Go module k8s.io/kubernetes at v1.37.2; the others are
 * example/prometheus-operator-crd/monitoring.coreos.com_*.yaml of the Prometheus operator at v0.93.0.
 */
import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import type { Schema } from './schema.ts'

const KINDS = [
  'io.k8s.api.core.v1.ConfigMap',
  'io.k8s.api.core.v1.Pod',
  'io.k8s.api.core.v1.Service',
  'io.k8s.api.core.v1.ServiceAccount',
  'io.k8s.api.apps.v1.DaemonSet',
  'io.k8s.api.apps.v1.Deployment',
  'io.k8s.api.batch.v1.Job',
  'io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicy',
  'io.k8s.api.admissionregistration.v1.MutatingAdmissionPolicyBinding',
]

/** As much of a CustomResourceDefinition as is read here. */
interface CustomResource {
  spec: { names: { kind: string }; versions: { name: string; schema: { openAPIV3Schema: Schema } }[] }
}

const { definitions } = JSON.parse(readFileSync(process.argv[2]!, 'utf8')) as { definitions: Record<string, Schema> }
const kept: Record<string, Schema> = {}

function keep(name: string): void {
  if (name in kept) return
  kept[name] = {}
  kept[name] = bare(definitions[name]!)
}

/** What a check needs of a schema. */
function bare(schema: Schema): Schema {
  if (schema.$ref !== undefined) {
    const name = schema.$ref.replace('#/definitions/', '')
    keep(name)
    return { $ref: name }
  }
  const { type, format, enum: values, required, properties, items, additionalProperties } = schema
  return {
    ...(type !== undefined && { type }),
    ...((format === 'int-or-string' || schema['x-kubernetes-int-or-string'] === true) && { format: 'int-or-string' }),
    ...(values !== undefined && { enum: values }),
    ...(required !== undefined && { required }),
    ...(properties !== undefined && {
      properties: Object.fromEntries(Object.entries(properties).map(([key, inner]) => [key, bare(inner)])),
    }),
    ...(items !== undefined && { items: bare(items) }),
    ...(typeof additionalProperties === 'object' && { additionalProperties: bare(additionalProperties) }),
  }
}

for (const kind of KINDS) keep(kind)
for (const file of process.argv.slice(3)) {
  const { spec } = parse(readFileSync(file, 'utf8')) as CustomResource
  for (const { name, schema } of spec.versions) {
    kept[`io.k8s.api.monitoring.${name}.${spec.names.kind}`] = bare(schema.openAPIV3Schema)
  }
}
const sorted = Object.fromEntries(Object.entries(kept).toSorted(([one], [other]) => (one < other ? -1 : 1)))
process.stdout.write(`${JSON.stringify(sorted)}\n`)
