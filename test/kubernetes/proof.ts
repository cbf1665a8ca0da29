/**
 * byname in a real Kubernetes with the unmodified istiod, pilot-agent and Envoy: what README.md of this folder lists, tried
 * and measured. Prints a Markdown table; exit code 1 if anything was not as it must be.
 *
 * Usage: node test/kubernetes/proof.ts PROGRAMS IMAGES.tar FOLDER [PART…]
 */
import { join, resolve } from 'node:path'
import { Cluster } from './cluster.ts'
import { Operator } from './operator.ts'
import { byTemplate } from './parts/by-template.ts'
import { cni } from './parts/cni.ts'
import { figures } from './parts/figures.ts'
import { nodeMode } from './parts/node-mode.ts'
import { pasted } from './parts/pasted.ts'
import { prometheus } from './parts/prometheus.ts'
import { revisions } from './parts/revisions.ts'
import { rollback } from './parts/rollback.ts'
import { uninstall } from './parts/uninstall.ts'
import { upgrades } from './parts/upgrades.ts'
import { Report } from './report.ts'

/** In this order; all of them unless some are named. */
const PARTS: Readonly<Record<string, (operator: Operator) => Promise<void>>> = {
  template: byTemplate,
  prometheus,
  figures,
  upgrades,
  rollback,
  revisions,
  pasted,
  cni,
  node: nodeMode,
  uninstall,
}

const [programs, images, folder, ...named] = process.argv.slice(2)
if (programs === undefined || images === undefined || folder === undefined || named.some((name) => !(name in PARTS))) {
  process.stderr.write('usage: node test/kubernetes/proof.ts PROGRAMS IMAGES.tar FOLDER [PART…]\n')
  process.stderr.write(`parts: ${Object.keys(PARTS).join(', ')}\n`)
  process.exit(2)
}
const cluster = await Cluster.start(resolve(programs), resolve(folder), resolve(images))
process.once('exit', () => cluster.stop())
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

const report = new Report()
const operator = new Operator(cluster, report, resolve(folder), join(resolve(programs), 'charts'))
await operator.prepare()
await operator.makeNamespace('shop', { 'istio-injection': 'enabled' })
await report.proof('helm install byname, injection.mode=template; istiod takes it in one helm upgrade', async () => {
  await operator.byname('byname', 'image.tag=1')
  await operator.handTemplate()
  return 'done'
})
await operator.startPod('shop', 'client')
for (const [name, part] of Object.entries(PARTS)) {
  if (named.length === 0 || named.includes(name)) await part(operator)
}
process.exit(report.end() ? 0 : 1)
