import { type ChildProcess, spawn } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { until } from '../cluster.ts'
import type { Operator } from '../operator.ts'
import type { Pod } from '../pod.ts'
import { expect } from '../report.ts'

const ADDRESS = '127.0.0.1:19090'

/**
 * One target. Debian's Prometheus is built without discovery in Kubernetes, so it is told what discovery reads: a pod's
 * annotations that say whether, where and at which path it wants to be scraped.
 */
function configurationFor({ status, metadata: { annotations = {} } }: Pod): string {
  expect(annotations['prometheus.io/scrape'] === 'true', 'the pod does not want to be scraped')
  const target = `${status.podIP}:${annotations['prometheus.io/port']}`
  const job = {
    job_name: 'pods',
    metrics_path: annotations['prometheus.io/path'],
    static_configs: [{ targets: [target] }],
  }
  return JSON.stringify({ global: { scrape_interval: '2s', scrape_timeout: '2s' }, scrape_configs: [job] })
}

/** Prometheus gets the metrics of byname and of Istio's agent from one pod. */
export async function prometheus(operator: Operator): Promise<void> {
  const { cluster, folder, report } = operator
  await report.proof(
    'Prometheus, which scrapes what the pod’s annotations say, has byname’s and Istio’s series',
    async () => {
      const file = join(folder, 'prometheus.yaml')
      writeFileSync(file, configurationFor(await operator.pod('shop', 'client')))
      const flags = ['--web.enable-lifecycle', `--storage.tsdb.path=${join(folder, 'prometheus')}`]
      const command = ['prometheus', `--config.file=${file}`, `--web.listen-address=${ADDRESS}`, ...flags]
      const [program, args] = cluster.inside(command)
      const child = spawn(program, args, { stdio: 'ignore' })
      try {
        return await series(operator, child)
      } finally {
        await cluster.run(['node', '-e', `fetch('http://${ADDRESS}/-/quit', { method: 'POST' })`])
      }
    },
  )
}

const seriesOf = (prefix: string): string => `count({__name__=~"${prefix}_.*"})`

async function series({ cluster }: Operator, child: ChildProcess): Promise<string> {
  const count = async (expression: string): Promise<number> => {
    const ask = `fetch('http://${ADDRESS}/api/v1/query?query=' + encodeURIComponent(process.argv[1])).then((r) => r.text()).then(console.log, () => {})`
    const { out } = await cluster.run(['node', '-e', ask, expression])
    return out === '' ? 0 : Number(JSON.parse(out).data.result[0]?.value[1] ?? 0)
  }
  const found = await until(60_000, 'there are series of byname', async () => {
    expect(child.exitCode === null, 'prometheus has ended')
    return (await count(seriesOf('byname'))) || null
  })
  const [istio, envoy] = [await count(seriesOf('istio')), await count(seriesOf('envoy'))]
  expect(istio > 0 && envoy > 0, `${istio} series of Istio's, ${envoy} of Envoy's`)
  const answers = await count('sum(byname_dns_responses_total{source="mesh"})')
  expect(answers > 0, 'no answers from the mesh are counted')
  const up = await count('min(up)')
  expect(up === 1, 'the scrape fails')
  return `${found} series byname_, ${istio} istio_, ${envoy} envoy_; ${answers} answers from the mesh`
}
