import { spawn } from 'node:child_process'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../cluster.ts'
import type { Operator } from '../operator.ts'
import type { Pod } from '../pod.ts'
import { expect } from '../report.ts'

const ADDRESS = '127.0.0.1:19090'
/** Nothing without mTLS may come into a pod of the namespace; Prometheus has no certificate. */
const STRICT = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: { name: strict, namespace: shop }
spec: { mtls: { mode: STRICT } }
`

/** Prometheus gets the metrics of byname and of Istio's agent from one pod, in both ways that the chart has. */
export async function prometheus(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await cluster.apply(STRICT)
  await report.proof(
    'metrics.scrape=merged, strict mTLS: Prometheus scrapes what the pod’s annotations say',
    async () => {
      const targets = [targetOf(await operator.pod('shop', 'client'))]
      return await scraped(operator, targets)
    },
  )
  await report.proof(
    'metrics.scrape=direct, strict mTLS: Prometheus scrapes that and port 9153, as a PodMonitor does',
    async () => {
      await operator.byname('byname', 'image.tag=1', 'metrics.scrape=direct')
      await operator.handTemplate()
      const pod = await operator.startPod('shop', 'direct')
      const seen = await scraped(operator, [targetOf(pod), { address: `${pod.status.podIP}:9153`, path: '/metrics' }])
      await operator.removePod('shop', 'direct')
      return seen
    },
  )
  await operator.byname('byname', 'image.tag=1')
  await operator.handTemplate()
  await cluster.kubectl(['delete', 'peerauthentication', 'strict', '-n', 'shop'])
}

interface Target {
  address: string
  path: string
}

/**
 * Where a pod wants to be scraped. Debian's Prometheus is built without discovery in Kubernetes, so it is told what discovery
 * reads: the pod's annotations.
 */
function targetOf({ status, metadata: { annotations = {} } }: Pod): Target {
  expect(annotations['prometheus.io/scrape'] === 'true', 'the pod does not want to be scraped')
  const path = annotations['prometheus.io/path'] ?? '/metrics'
  return { address: `${status.podIP}:${annotations['prometheus.io/port']}`, path }
}

/** Runs Prometheus until it has scraped the targets. @throws Error unless it has series of byname, Istio and Envoy, each once */
async function scraped({ cluster, folder }: Operator, targets: readonly Target[]): Promise<string> {
  const jobs = targets.map(({ address, path }) => {
    return { job_name: address, metrics_path: path, static_configs: [{ targets: [address] }] }
  })
  const file = join(folder, 'prometheus.yaml')
  writeFileSync(file, JSON.stringify({ global: { scrape_interval: '2s', scrape_timeout: '2s' }, scrape_configs: jobs }))
  const data = join(folder, 'prometheus')
  rmSync(data, { recursive: true, force: true })
  const flags = ['--web.enable-lifecycle', `--web.listen-address=${ADDRESS}`, `--storage.tsdb.path=${data}`]
  const [program, args] = cluster.inside(['prometheus', `--config.file=${file}`, ...flags])
  const child = spawn(program, args, { stdio: 'ignore' })
  const count = async (expression: string): Promise<number> => {
    const ask = `fetch('http://${ADDRESS}/api/v1/query?query=' + encodeURIComponent(process.argv[1])).then((r) => r.text()).then(console.log, () => {})`
    const { out } = await cluster.run(['node', '-e', ask, expression])
    return out === '' ? 0 : Number(JSON.parse(out).data.result[0]?.value[1] ?? 0)
  }
  try {
    await until(60_000, 'every scrape succeeds', async () => {
      expect(child.exitCode === null, 'prometheus has ended')
      return (await count('sum(up)')) === targets.length || null
    })
    const [byname, istio, envoy] = await Promise.all(
      ['byname', 'istio', 'envoy'].map((name) => count(`count({__name__=~"${name}_.*"})`)),
    )
    expect(byname! > 0 && istio! > 0 && envoy! > 0, `series: ${byname} byname_, ${istio} istio_, ${envoy} envoy_`)
    expect((await count('count(byname_build_info)')) === 1, 'byname is scraped twice')
    return `${byname} series byname_, ${istio} istio_, ${envoy} envoy_`
  } finally {
    await cluster.run(['node', '-e', `fetch('http://${ADDRESS}/-/quit', { method: 'POST' }).catch(() => {})`])
    await new Promise((ended) => (child.exitCode === null ? child.once('exit', ended) : ended(null)))
  }
}
