import { OUTSIDE } from '../manifests.ts'
import type { Operator } from '../operator.ts'
import { bynameOf, type Pod } from '../pod.ts'
import { expect, median } from '../report.ts'

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

/** Memory, processor time, and times of the pod's start. */
export async function figures(operator: Operator): Promise<void> {
  const { report } = operator
  await report.proof('Memory and processor of the container (cgroup v1)', async () => {
    const read = await operator.pod('shop', 'client')
    const idle = await usage(operator, read)
    await new Promise((done) => setTimeout(done, 10_000))
    const later = await usage(operator, read)
    const names = ['api.partner.test', 'web.shop.svc.cluster.local', OUTSIDE.name]
    const loaded = await operator.load('shop', 'client', 1000, 10, names)
    const after = await usage(operator, read)
    expect(loaded.lost === 0 && loaded.failed === 0, JSON.stringify(loaded))
    const millicores = ((later.cpuNs - idle.cpuNs) / 1e10) * 1000
    const answerUs = ((after.cpuNs - later.cpuNs) / loaded.sent / 1000).toFixed(0)
    return `idle ${mb(later.anonymous)} anonymous, ${mb(later.charged)} charged, ${millicores.toFixed(1)} m; after 10 s of 1,000 q/s ${mb(after.anonymous)} anonymous, ${answerUs} µs an answer, none of ${loaded.sent} lost`
  })
  for (const cpu of ['100m', '1']) {
    await report.proof(
      `Start with a limit of ${cpu} CPU: byname answers, has a table, and lets the next container start`,
      async () => {
        await operator.byname('byname', 'image.tag=1', `resources.limits.cpu=${cpu}`)
        await operator.handTemplate()
        const times: StartTimes[] = []
        for (const round of [1, 2, 3, 4, 5]) times.push(await startTimes(operator, 'shop', `start-${round}`))
        const of = (key: keyof StartTimes): string => `${median(times.map((time) => time[key]))} ms`
        return `${of('answers')}, ${of('table')}, ${of('next')} after its process began; ${of('cpu')} of processor time until the pod is ready (medians of 5)`
      },
    )
  }
  await report.proof(
    'Time that byname adds to a pod’s start: from kubectl until the application’s first instruction',
    async () => {
      await operator.byname('byname', 'image.tag=1')
      await operator.handTemplate()
      const took: Record<'with' | 'without', number[]> = { with: [], without: [] }
      for (const round of [1, 2, 3, 4, 5]) {
        for (const kind of ['with', 'without'] as const) {
          const name = `timed-${kind}-${round}`
          const began = Date.now()
          await operator.startPod('shop', name, { labels: kind === 'with' ? {} : { 'byname.io/inject': 'false' } })
          const log = await operator.cluster.kubectl(['logs', '-n', 'shop', name, '-c', 'app'])
          took[kind].push(Number(log.trim().split('\n')[0]) - began)
          await operator.removePod('shop', name)
        }
      }
      const [withIt, without] = [median(took.with), median(took.without)]
      return `${without} ms without byname, ${withIt} ms with it: ${withIt - without} ms (medians of 5)`
    },
  )
}

/** Bytes of anonymous memory and all memory that byname's cgroup is charged with, and its processor time in ns. */
async function usage({ cluster }: Operator, read: Pod): Promise<{ anonymous: number; charged: number; cpuNs: number }> {
  const { cgroup } = await cluster.process(bynameOf(read).containerID)
  const at = async (file: string): Promise<string> =>
    (await cluster.run(['cat', `/sys/fs/cgroup/${file.replace('/', `${cgroup}/`)}`])).out
  return {
    anonymous: Number(/^rss (\d+)/m.exec(await at('memory/memory.stat'))?.[1]),
    charged: Number(await at('memory/memory.usage_in_bytes')),
    cpuNs: Number(await at('cpuacct/cpuacct.usage')),
  }
}

/** Milliseconds since byname's process began; `cpu` is the processor time of its container, probes included. */
interface StartTimes {
  answers: number
  table: number
  /** The first instruction of the container behind byname, which the kubelet starts when the probe has passed. */
  next: number
  cpu: number
}

/** Of a new pod. */
async function startTimes(operator: Operator, ns: string, name: string): Promise<StartTimes> {
  const { cluster } = operator
  const read = await operator.startPod(ns, name)
  const cpu = (await usage(operator, read)).cpuNs / 1e6
  const { pid } = await cluster.process(bynameOf(read).containerID)
  // Ticks of 10 ms since the boot, of which the uptime says when that was.
  const stat = (await cluster.run(['bash', '-c', `cat /proc/${pid}/stat; cut -d' ' -f1 /proc/uptime; date +%s%3N`])).out
    .trim()
    .split('\n')
  const ticks = Number(stat[0]!.replace(/^.*\) /, '').split(' ')[19])
  const startedMs = Number(stat[2]) - Number(stat[1]) * 1000 + ticks * 10
  const log = await cluster.kubectl(['logs', '-n', ns, name, '-c', 'byname'])
  const at = (message: string): number => {
    const line = log.split('\n').find((each) => each.includes(message))
    expect(line !== undefined, `the log says nothing of "${message}": ${log}`)
    return Math.round(Date.parse(JSON.parse(line!).time) - startedMs)
  }
  const first = await cluster.kubectl(['logs', '-n', ns, name, '-c', 'first'])
  const next = Math.round(Number(/^began (\d+)/m.exec(first)?.[1]) - startedMs)
  await operator.removePod(ns, name)
  return { answers: at('byname is answering'), table: at('name table adopted'), next, cpu: Math.round(cpu) }
}
