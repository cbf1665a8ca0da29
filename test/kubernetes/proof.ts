/**
 * byname in a real Kubernetes with the unmodified istiod, pilot-agent and Envoy: what README.md of this folder lists, tried
 * and measured. Prints a Markdown table; exit code 1 if anything was not as it must be.
 *
 * Usage: node test/kubernetes/proof.ts PROGRAMS IMAGES.tar FOLDER
 */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Cluster, collected, until } from './cluster.ts'
import {
  applicationPod,
  applicationSpec,
  CLUSTER_DNS,
  ISTIOD_VALUES,
  meshOf,
  OUTSIDE,
  type PodOptions,
  RESOLVE,
} from './manifests.ts'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const CHART = join(HERE, '../../config/helm/byname')
const LOAD = readFileSync(join(HERE, 'load.mjs'), 'utf8')
const UNTIL_ANSWERED = readFileSync(join(HERE, 'until-answered.mjs'), 'utf8')
const POD_MS = 120_000
/** Values of byname for the second revision. */
const CANARY = ['revision=canary', 'injection.mode=policy', 'image.tag=2']
/** For until-answered.mjs: the first answer that comes after 200 ms without any. */
const ANSWERED_AFTER_GAP = `const now = Date.now()
  const gap = now - (globalThis.last ?? now)
  globalThis.last = now
  if (gap < 200) return
  console.log(now)
  process.exit()`

interface ContainerStatus {
  name: string
  containerID: string
  restartCount: number
}

interface Pod {
  metadata: { annotations?: Record<string, string> }
  spec: { initContainers: { name: string; image: string }[]; containers: { name: string }[] }
  status: { phase: string; initContainerStatuses?: ContainerStatus[]; conditions?: { type: string; status: string }[] }
}

/** What was tried, and what came of it. */
interface Row {
  what: string
  isAsExpected: boolean
  result: string
}

const paths = process.argv.slice(2).map((path) => resolve(path))
if (paths.length !== 3) {
  process.stderr.write('usage: node test/kubernetes/proof.ts PROGRAMS IMAGES.tar FOLDER\n')
  process.exit(2)
}
const [programs = '', images = '', folder = ''] = paths
const charts = join(programs, 'charts')
const rows: Row[] = []
const cluster = await Cluster.start(programs, folder, images)
process.once('exit', () => cluster.stop())
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1))

/** One line of the proof: `check` returns what it saw, and throws where that is not as it must be. */
async function proof(what: string, check: () => Promise<string>): Promise<void> {
  const began = Date.now()
  let row: Row
  try {
    row = { what, isAsExpected: true, result: await check() }
  } catch (error) {
    row = { what, isAsExpected: false, result: error instanceof Error ? error.message : String(error) }
  }
  rows.push(row)
  const seconds = ((Date.now() - began) / 1000).toFixed(1)
  process.stdout.write(`${row.isAsExpected ? 'ok    ' : 'FAILED'} ${what}: ${row.result} (${seconds} s)\n`)
}

function expect(isTrue: boolean, complaint: string): void {
  if (!isTrue) throw new Error(complaint)
}

const median = (numbers: readonly number[]): number =>
  numbers.toSorted((a, b) => a - b)[numbers.length >> 1] ?? Number.NaN

// ── pods ──────────────────────────────────────────────────────────────────────────────────────────────────────────────

const pod = (namespace: string, name: string): Promise<Pod> => cluster.get<Pod>('pod', name, namespace)
const initNames = (read: Pod): string => read.spec.initContainers.map((container) => container.name).join(', ')
const imageOf = (read: Pod): string =>
  read.spec.initContainers.find((container) => container.name === 'byname')?.image.replace('localhost/', '') ?? ''
const bynameOf = (read: Pod): ContainerStatus | undefined =>
  read.status.initContainerStatuses?.find((status) => status.name === 'byname')

async function startPod(namespace: string, name: string, options: PodOptions = {}): Promise<Pod> {
  await cluster.apply(applicationPod(namespace, name, options))
  return await whenReady(namespace, name)
}

async function whenReady(namespace: string, name: string): Promise<Pod> {
  let last: Pod | undefined
  try {
    return await until(POD_MS, `pod ${name} is ready`, async () => {
      last = await pod(namespace, name)
      return last.status.conditions?.some(({ type, status }) => type === 'Ready' && status === 'True') ? last : null
    })
  } catch (error) {
    const events = await cluster.kubectl([
      'get',
      'events',
      '-n',
      namespace,
      '--field-selector',
      `involvedObject.name=${name}`,
    ])
    throw new Error(`${String(error)}; containers: ${last === undefined ? '' : initNames(last)}; ${events}`, {
      cause: error,
    })
  }
}

/** Waits until new pods have this image of byname: the API server notices a webhook or a policy that is new a moment later. */
async function whenInjected(ns: string, image: string): Promise<void> {
  await until(POD_MS, `new pods in ${ns} have ${image}`, async () => {
    const dry = ['create', '--dry-run=server', '-o', 'json', '-f', '-']
    const read: Pod = JSON.parse(await cluster.kubectl(dry, applicationPod(ns, 'dry')))
    return imageOf(read) === image || null
  })
}

async function removePod(namespace: string, name: string): Promise<void> {
  await cluster.kubectl(['delete', 'pod', name, '-n', namespace, '--grace-period=1'])
}

async function makeNamespace(name: string, labels: Readonly<Record<string, string>>): Promise<void> {
  await cluster.apply(JSON.stringify({ apiVersion: 'v1', kind: 'Namespace', metadata: { name, labels } }))
  await until(30_000, 'a default service account', async () => {
    const { code } = await cluster.run(['kubectl', 'get', 'serviceaccount', 'default', '-n', name])
    return code === 0 || null
  })
  await cluster.apply(meshOf(name))
}

/** Runs a program of Node's in the application's container. */
function script(ns: string, name: string, text: string, args: readonly string[]): Promise<string> {
  const [program, all] = cluster.inside([
    'kubectl',
    'exec',
    '-i',
    '-n',
    ns,
    name,
    '-c',
    'app',
    '--',
    'node',
    '--input-type=module',
    '-',
    ...args,
  ])
  return collected(spawn(program, all, { stdio: ['pipe', 'pipe', 'pipe'] }), text).then(({ code, out, err }) => {
    expect(code === 0, `a script in ${name}: ${err}`)
    return out.trim()
  })
}

interface LoadResult {
  sent: number
  answered: number
  failed: number
  lost: number
  slowestMs: number
}

async function load(
  ns: string,
  name: string,
  rate: number,
  seconds: number,
  names: readonly string[],
): Promise<LoadResult> {
  const read: LoadResult = JSON.parse(await script(ns, name, LOAD, [String(rate), String(seconds), ...names]))
  return read
}

/** What an application's container sees of names, by the C library. `from` is what the init container has logged. */
async function expectNames(ns: string, name: string): Promise<string> {
  const web = (await cluster.kubectl(['get', 'service', 'web', '-n', ns, '-o', 'jsonpath={.spec.clusterIP}'])).trim()
  const now = (await cluster.exec(ns, name, 'app', ['bash', '-c', RESOLVE])).out
  const atFirst = await cluster.kubectl(['logs', '-n', ns, name, '-c', 'first'])
  for (const [who, text] of [
    ['the application', now],
    ['its init container', atFirst],
  ] as const) {
    const seen = new Map(
      text
        .trim()
        .split('\n')
        .map((line): [string, string] => [line.split(' ')[0]!, line.split(' ')[1] ?? '']),
    )
    expect(seen.get('web') === web && seen.get(`web.${ns}`) === web, `${who} sees of web: ${text}`)
    expect(seen.get('api.partner.test')?.startsWith('240.240.') === true, `${who} sees no automatic address: ${text}`)
    expect(seen.get(OUTSIDE.name) === OUTSIDE.address, `${who} sees of ${OUTSIDE.name}: ${text}`)
  }
  return now.trim().replace(/\n/g, '; ')
}

// ── the cluster ───────────────────────────────────────────────────────────────────────────────────────────────────────

const istiod = (release: string, ...more: readonly string[]): Promise<string> =>
  cluster.helm(
    'upgrade',
    '--install',
    release,
    join(charts, 'istio-discovery'),
    '-n',
    'istio-system',
    '--wait',
    '--timeout',
    '4m',
    '-f',
    join(folder, 'istiod-values.yaml'),
    ...more,
  )
const byname = (release: string, ...sets: readonly string[]): Promise<string> =>
  cluster.helm(
    'upgrade',
    '--install',
    release,
    CHART,
    '-n',
    'byname',
    '--create-namespace',
    '--set',
    'image.repository=localhost/byname',
    ...sets.flatMap((set) => ['--set-string', set]),
  )

await cluster.apply(CLUSTER_DNS)
await cluster.helm('install', 'istio-base', join(charts, 'base'), '-n', 'istio-system', '--create-namespace')
await cluster.run(['tee', join(folder, 'istiod-values.yaml')], ISTIOD_VALUES)
await cluster.kubectl(['wait', '-n', 'kube-system', 'pod/coredns', '--for=condition=Ready', '--timeout=60s'])
await istiod('istiod')

// ── by template ───────────────────────────────────────────────────────────────────────────────────────────────────────

/** Hands istiod the template, as NOTES.txt of the chart says. */
async function handTemplate(): Promise<void> {
  const values = await cluster.kubectl([
    'get',
    'configmap',
    'byname-istiod-values',
    '-n',
    'byname',
    '-o',
    'jsonpath={.data.values\\.yaml}',
  ])
  await cluster.run(['tee', join(folder, 'byname-istiod-values.yaml')], values)
  await istiod('istiod', '-f', join(folder, 'byname-istiod-values.yaml'))
}

await makeNamespace('shop', { 'istio-injection': 'enabled' })
await proof('helm install byname, injection.mode=template; istiod takes the template in one helm upgrade', async () => {
  await byname('byname', 'image.tag=1')
  await handTemplate()
  return 'done'
})
await proof('A pod injected by template: byname behind istio-proxy, before the own init containers', async () => {
  const read = await startPod('shop', 'client')
  expect(initNames(read) === 'istio-init, istio-proxy, byname, first', initNames(read))
  return initNames(read)
})
await proof('In it an application and its init container resolve mesh, short and outside names (getent)', () =>
  expectNames('shop', 'client'),
)
await proof('dig, over UDP and over TCP', async () => {
  const udp = (await cluster.exec('shop', 'client', 'app', ['dig', '+short', 'api.partner.test'])).out.trim()
  const tcp = (await cluster.exec('shop', 'client', 'app', ['dig', '+tcp', '+short', 'api.partner.test'])).out.trim()
  expect(/^240\.240\.\d+\.\d+$/.test(udp) && udp === tcp, `${udp} and ${tcp}`)
  return udp
})
await proof('Who answers: byname, from the mesh; Istio’s agent runs no DNS server', async () => {
  const status = JSON.parse((await cluster.exec('shop', 'client', 'byname', ['byname', 'status', '--json'])).out)
  expect(status.ready === true && status.responses.mesh > 0, JSON.stringify(status.responses))
  const sockets = (await cluster.exec('shop', 'client', 'app', ['cat', '/proc/net/udp'])).out
  expect((sockets.match(/:3ACD /g) ?? []).length === 1, `sockets at port 15053: ${sockets}`)
  return `${JSON.stringify(status.responses)}, driver ${status.driver.name}`
})
await proof('A pod whose istio-proxy is no native sidecar', async () => {
  const read = await startPod('shop', 'classic', { annotations: { 'sidecar.istio.io/nativeSidecar': 'false' } })
  const names = initNames(read)
  const answer = (await cluster.exec('shop', 'classic', 'app', ['dig', '+short', 'api.partner.test'])).out.trim()
  await removePod('shop', 'classic')
  expect(answer.startsWith('240.'), `${names}: ${answer}`)
  return names
})
await proof('istiod pushes a new host, and the pod answers it', async () => {
  const times: number[] = []
  for (const round of [1, 2, 3, 4, 5]) {
    const host = `fresh-${round}.partner.test`
    const answered = script('shop', 'client', UNTIL_ANSWERED, [host])
    await new Promise((done) => setTimeout(done, 1500))
    const began = Date.now()
    await cluster.apply(
      meshOf('shop')
        .split('---')[1]!
        .replace('name: partner', `name: fresh-${round}`)
        .replace('api.partner.test', host),
    )
    times.push(Number(await answered) - began)
  }
  return `${median(times)} ms after kubectl apply began (median of 5)`
})
await proof('istiod pushes a new Service, and byname answers it', async () => {
  const began = Date.now()
  await cluster.kubectl(['create', 'service', 'clusterip', 'new', '-n', 'shop', '--tcp=80'])
  const ms = await until(30_000, 'the Service is answered', async () => {
    const { out } = await cluster.exec('shop', 'client', 'byname', ['byname', 'query', 'new.shop.svc.cluster.local'])
    return /mesh/.test(out) ? Date.now() - began : null
  })
  return `from the mesh, at most ${ms} ms after kubectl create`
})
await proof('A Job completes', async () => {
  const { initContainers, containers } = Object(applicationSpec('getent hosts api.partner.test'))
  const spec = { template: { spec: { restartPolicy: 'Never', initContainers, containers } } }
  await cluster.apply(
    JSON.stringify({ apiVersion: 'batch/v1', kind: 'Job', metadata: { name: 'job', namespace: 'shop' }, spec }),
  )
  await cluster.kubectl(['wait', '-n', 'shop', 'job/job', '--for=condition=Complete', '--timeout=90s'])
  return (await cluster.kubectl(['logs', '-n', 'shop', 'job/job', '-c', 'app'])).trim()
})
await proof('A killed byname comes back, and the pod’s DNS with it', async () => {
  const { pid } = await cluster.process(bynameOf(await pod('shop', 'client'))!.containerID)
  const answered = script(
    'shop',
    'client',
    UNTIL_ANSWERED.replace('console.log(Date.now())\n  process.exit()', ANSWERED_AFTER_GAP),
    ['api.partner.test'],
  )
  await new Promise((done) => setTimeout(done, 1500))
  const began = Date.now()
  await cluster.run(['kill', '-KILL', String(pid)])
  const ms = Number(await answered) - began
  const read = await until(30_000, 'the restart is counted', async () => {
    const now = await pod('shop', 'client')
    return bynameOf(now)!.restartCount > 0 ? now : null
  })
  return `answers ${ms} ms after SIGKILL, ${bynameOf(read)!.restartCount} restart`
})

// ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Bytes of anonymous memory and all memory that the cgroup is charged with, and its processor time in ns. */
async function usage(read: Pod): Promise<{ anonymous: number; charged: number; cpuNs: number }> {
  const { cgroup } = await cluster.process(bynameOf(read)!.containerID)
  const at = async (file: string): Promise<string> =>
    (await cluster.run(['cat', `/sys/fs/cgroup/${file.replace('/', `${cgroup}/`)}`])).out
  return {
    anonymous: Number(/^rss (\d+)/m.exec(await at('memory/memory.stat'))?.[1]),
    charged: Number(await at('memory/memory.usage_in_bytes')),
    cpuNs: Number(await at('cpuacct/cpuacct.usage')),
  }
}

const mb = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`

await proof('Memory and processor of the container (cgroup v1)', async () => {
  const read = await pod('shop', 'client')
  const idle = await usage(read)
  await new Promise((done) => setTimeout(done, 10_000))
  const later = await usage(read)
  const loaded = await load('shop', 'client', 1000, 10, [
    'api.partner.test',
    'web.shop.svc.cluster.local',
    OUTSIDE.name,
  ])
  const after = await usage(read)
  expect(loaded.lost === 0 && loaded.failed === 0, JSON.stringify(loaded))
  const millicores = ((later.cpuNs - idle.cpuNs) / 1e10) * 1000
  return `idle ${mb(later.anonymous)} anonymous, ${mb(later.charged)} charged, ${millicores.toFixed(1)} m; after 10 s of 1,000 q/s ${mb(after.anonymous)} anonymous, ${((after.cpuNs - later.cpuNs) / loaded.sent / 1000).toFixed(0)} µs an answer, none of ${loaded.sent} lost`
})

/**
 * Milliseconds from the start of byname's process until it answers, and until it has a table, and the processor time that
 * the container has used when the pod is ready, probes included; of a new pod.
 */
async function startTimes(ns: string, name: string): Promise<{ answers: number; ready: number; cpu: number }> {
  const read = await startPod(ns, name)
  const cpu = (await usage(read)).cpuNs / 1e6
  const { pid } = await cluster.process(bynameOf(read)!.containerID)
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
    return Date.parse(JSON.parse(line!).time) - startedMs
  }
  await removePod(ns, name)
  return {
    answers: Math.round(at('byname is answering')),
    ready: Math.round(at('name table adopted')),
    cpu: Math.round(cpu),
  }
}

for (const cpu of ['100m', '1']) {
  await proof(`Start with a limit of ${cpu} CPU: until it answers, until it has a table`, async () => {
    await byname('byname', 'image.tag=1', `resources.limits.cpu=${cpu}`)
    await handTemplate()
    const times: { answers: number; ready: number; cpu: number }[] = []
    for (const round of [1, 2, 3]) times.push(await startTimes('shop', `start-${round}`))
    return `${median(times.map((time) => time.answers))} ms, ${median(times.map((time) => time.ready))} ms, ${median(times.map((time) => time.cpu))} ms of processor time until the pod is ready (medians of 3)`
  })
}
await proof(
  'Time that byname adds to a pod’s start: from kubectl until the application’s first instruction',
  async () => {
    await byname('byname', 'image.tag=1')
    await handTemplate()
    const took: Record<'with' | 'without', number[]> = { with: [], without: [] }
    for (const round of [1, 2, 3, 4, 5]) {
      for (const kind of ['with', 'without'] as const) {
        const began = Date.now()
        await startPod('shop', `timed-${kind}-${round}`, {
          labels: kind === 'with' ? {} : { 'byname.io/inject': 'false' },
        })
        const log = await cluster.kubectl(['logs', '-n', 'shop', `timed-${kind}-${round}`, '-c', 'app'])
        took[kind].push(Number(log.trim().split('\n')[0]) - began)
        await removePod('shop', `timed-${kind}-${round}`)
      }
    }
    const [withIt, without] = [median(took.with), median(took.without)]
    return `${without} ms without byname, ${withIt} ms with it: ${withIt - without} ms (medians of 5)`
  },
)

// ── upgrades ──────────────────────────────────────────────────────────────────────────────────────────────────────────

await proof('helm upgrade of byname and of istiod under 500 q/s loses nothing and changes no running pod', async () => {
  const before = await pod('shop', 'client')
  const loading = load('shop', 'client', 500, 40, ['api.partner.test', 'web.shop.svc.cluster.local', OUTSIDE.name])
  await byname('byname', 'image.tag=2')
  await handTemplate()
  await cluster.kubectl(['rollout', 'restart', 'deployment/istiod', '-n', 'istio-system'])
  await cluster.kubectl(['rollout', 'status', 'deployment/istiod', '-n', 'istio-system', '--timeout=120s'])
  const result = await loading
  const after = await pod('shop', 'client')
  expect(result.lost === 0 && result.failed === 0, JSON.stringify(result))
  const same = [before, after].map((read) => `${bynameOf(read)!.containerID} ${bynameOf(read)!.restartCount}`)
  expect(same[0] === same[1], same.join(' and '))
  const fresh = await startPod('shop', 'fresh')
  const image = imageOf(fresh)
  await removePod('shop', 'fresh')
  expect(image === 'byname:2', `a new pod has ${image}`)
  return `${result.answered} of ${result.sent} answered, the slowest after ${result.slowestMs} ms; a new pod has the new image`
})
await byname('byname', 'image.tag=1')
await handTemplate()

// ── by policy, and two revisions ──────────────────────────────────────────────────────────────────────────────────────

await proof('A second revision: istiod-canary beside istiod, and byname for it by policy', async () => {
  await istiod('istiod-canary', '--set', 'revision=canary')
  await byname('byname-canary', ...CANARY)
  await makeNamespace('policy', { 'istio.io/rev': 'canary', 'byname.io/rev': 'canary' })
  await whenInjected('policy', 'byname:2')
  return 'done'
})
await proof('A pod injected by policy: byname behind istio-proxy, before the own init containers', async () => {
  const read = await startPod('policy', 'client')
  expect(initNames(read) === 'istio-init, istio-proxy, byname, first', initNames(read))
  return `${initNames(read)}; ${imageOf(read)}`
})
await proof('In it an application and its init container resolve the same', () => expectNames('policy', 'client'))
await proof('Each byname is connected to the istiod of its revision', async () => {
  const seen: string[] = []
  for (const [ns, server] of [
    ['shop', 'istiod.istio-system.svc'],
    ['policy', 'istiod-canary.istio-system.svc'],
  ] as const) {
    const { out } = await cluster.exec(ns, 'client', 'byname', ['byname', 'check'])
    expect(out.includes(`${server}:15012`), `in ${ns}: ${out}`)
    seen.push(server)
  }
  return seen.join(', ')
})
const tagged = (tags: readonly string[]): string[] => tags.flatMap((tag) => ['--set', `revisionTags={${tag}}`])
const policyFor = (...tags: readonly string[]): Promise<string> =>
  byname('byname-canary', ...CANARY, ...tags.map((tag) => `revisionTags={${tag}}`))
const stable = (...tags: readonly string[]): Promise<string> =>
  istiod('istiod', '-f', join(folder, 'byname-istiod-values.yaml'), ...tagged(tags))
const canary = (...tags: readonly string[]): Promise<string> =>
  istiod('istiod-canary', '--set', 'revision=canary', ...tagged(tags))
async function expectTagged(image: string): Promise<void> {
  await whenInjected('tagged', image)
  await startPod('tagged', 'client')
  await expectNames('tagged', 'client')
  await removePod('tagged', 'client')
}
await proof('A tag moved from one revision to the other, and back: new pods follow', async () => {
  await makeNamespace('tagged', { 'istio.io/rev': 'prod', 'byname.io/rev': 'prod' })
  await stable('prod')
  await expectTagged('byname:1')
  await stable()
  await canary('prod')
  await policyFor('prod')
  await expectTagged('byname:2')
  await canary()
  await policyFor()
  await stable('prod')
  await expectTagged('byname:1')
  await stable()
  return 'byname:1 → byname:2 → byname:1'
})

// ── taken away ────────────────────────────────────────────────────────────────────────────────────────────────────────

await proof('helm uninstall leaves nothing: no object, and new pods are Istio’s own', async () => {
  await istiod('istiod')
  await cluster.helm('uninstall', 'byname', '-n', 'byname')
  await cluster.helm('uninstall', 'byname-canary', '-n', 'byname')
  const kinds = (await cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name']))
    .trim()
    .split('\n')
    .filter((kind) => !/events|metrics/.test(kind))
  const left = (
    await cluster.kubectl([
      'get',
      kinds.join(','),
      '-A',
      '-l',
      'app.kubernetes.io/name=byname',
      '-o',
      'name',
      '--ignore-not-found',
    ])
  ).trim()
  expect(left === '', `left: ${left}`)
  const template = await cluster.kubectl([
    'get',
    'configmap',
    'istio-sidecar-injector',
    '-n',
    'istio-system',
    '-o',
    'yaml',
  ])
  expect(!template.includes('byname'), 'istiod still has the template')
  const seen: string[] = []
  for (const ns of ['shop', 'policy']) {
    const read = await startPod(ns, 'after')
    expect(!initNames(read).includes('byname'), initNames(read))
    const web = (await cluster.exec(ns, 'after', 'app', ['getent', 'ahostsv4', 'web'])).out
    expect(web !== '', `web is not resolved in ${ns}`)
    seen.push(initNames(read))
  }
  const running = await cluster.exec('shop', 'client', 'app', ['getent', 'hosts', 'api.partner.test'])
  expect(running.code === 0, 'a pod that runs has lost its names')
  return `${seen[0]}; a pod from before keeps its byname`
})

const failed = rows.filter((row) => !row.isAsExpected)
process.stdout.write(
  `\n| tried | result |\n| --- | --- |\n${rows.map((row) => `| ${row.what} | ${row.isAsExpected ? '' : '**failed**: '}${row.result.replace(/\n/g, ' ').replace(/\|/g, '\\|')} |\n`).join('')}`,
)
process.stdout.write(`\n${rows.length - failed.length} as expected, ${failed.length} not\n`)
process.exit(failed.length === 0 ? 0 : 1)
