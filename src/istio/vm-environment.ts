/**
 * What a virtual machine's files say, as `istioctl x workload entry configure` writes them and Istio's start script (istio-start.sh)
 * reads them: an environment like the one that a pod's container is given, and where credentials lie.
 */
import { join } from 'node:path'
import { readYaml } from '../yaml/plain-yaml.ts'
import { readClusterEnv } from './cluster-env.ts'

/** Reads a file's text, or says in one phrase why not; `isMissing` if there is none. */
export type ReadFile = (path: string) => { value: string } | { problem: string; isMissing: boolean }

/** What there is to know of this machine. */
export interface Machine {
  /** As `hostname -s` says. */
  hostName: string
  /** Addresses of its interfaces, loopback excepted. */
  addresses: readonly string[]
}

/** A machine's place in the mesh. */
export interface VmEnvironment {
  /** Variables by name, as Istio's start script would set them. */
  variables: Record<string, string>
  /** Where each variable comes from, for people: `DIR/cluster.env`, `hostname`. */
  origins: Record<string, string>
  /** Paths of files; whether they exist is seen when they are used. */
  rootCerts: string[]
  token: string
  /** Names of the control plane and their addresses. */
  hosts: string
  /** Folder of certificates: those provided, and those that are kept. */
  certificates: string
  /** The resolvers that the machine had before its resolv.conf led to a proxy; '' if nobody has put them aside. */
  resolvConf: string
  /** One line each, with file and line. */
  problems: string[]
}

interface Places {
  env: string[]
  mesh: string
  rootCert: string
  token: string
  hosts: string
  certificates: string
  resolvConf: string
}

/** Where the files belong on a machine, if all five do not lie in one folder. */
function placesBelow(root: string): Places {
  return {
    env: [join(root, 'var/lib/istio/envoy/sidecar.env'), join(root, CLUSTER_ENV)],
    mesh: join(root, 'etc/istio/config/mesh'),
    rootCert: join(root, 'etc/certs/root-cert.pem'),
    token: join(root, 'var/run/secrets/tokens/istio-token'),
    hosts: join(root, 'etc/hosts'),
    certificates: join(root, 'etc/certs'),
    resolvConf: join(root, 'var/lib/istio/resolv.conf'),
  }
}

const CLUSTER_ENV = 'var/lib/istio/envoy/cluster.env'

/** Whether this is a machine of Istio: its cluster.env is at Istio's own place. */
export function isIstioMachine(read: ReadFile): boolean {
  return 'value' in read(join('/', CLUSTER_ENV))
}

function placesIn(folder: string): Places {
  return {
    env: [join(folder, 'sidecar.env'), join(folder, 'cluster.env')],
    mesh: join(folder, 'mesh.yaml'),
    rootCert: join(folder, 'root-cert.pem'),
    token: join(folder, 'istio-token'),
    hosts: join(folder, 'hosts'),
    certificates: join(folder, 'certs'),
    resolvConf: join(folder, 'resolv.conf'),
  }
}

/**
 * Reads the files in `folder`: all five beside each other, or each at its own place below it (`/` for the machine's). cluster.env must be there, everything else may be missing.
 */
export function readVmEnvironment(folder: string, read: ReadFile, machine: Machine): VmEnvironment {
  const below = placesBelow(folder)
  const places = 'value' in read(below.env.at(-1)!) ? below : placesIn(folder)
  const problems: string[] = []
  const variables = new Map<string, { value: string; from: string }>()
  const set = (name: string, value: string, from: string): void => void variables.set(name, { value, from })

  const clusterEnv = places.env.at(-1)!
  for (const file of places.env) {
    const text = read(file)
    if ('problem' in text) {
      const remedy = 'write it with "byname vm configure" or "istioctl x workload entry configure"'
      if (!text.isMissing) problems.push(`${file}: ${text.problem}`)
      else if (file === clusterEnv) problems.push(`${file}: ${text.problem}; ${remedy}`)
      continue
    }
    const env = readClusterEnv(text.value, file)
    problems.push(...env.problems)
    for (const [name, value] of Object.entries(env.variables)) set(name, value, file)
  }
  const proxyConfig = readMesh(places.mesh, read, problems)
  if (proxyConfig !== null) set('PROXY_CONFIG', JSON.stringify(proxyConfig), places.mesh)

  const given = variables.get('ISTIO_SVC_IP')
  const address = given?.value || machine.addresses[0]
  if (address !== undefined)
    set('INSTANCE_IP', address, given?.value ? `ISTIO_SVC_IP in ${given.from}` : 'first address')
  if (machine.hostName !== '') set('POD_NAME', machine.hostName.split('.')[0]!, 'host name')
  const provided = variables.get('PROV_CERT')?.value || places.certificates
  return {
    variables: Object.fromEntries([...variables].map(([name, { value }]) => [name, value])),
    origins: Object.fromEntries([...variables].map(([name, { from }]) => [name, from])),
    rootCerts: [...new Set([join(provided, 'root-cert.pem'), places.rootCert])],
    token: places.token,
    hosts: places.hosts,
    certificates: variables.get('OUTPUT_CERTS')?.value || provided,
    resolvConf: 'value' in read(places.resolvConf) ? places.resolvConf : '',
    problems,
  }
}

/** The section `defaultConfig` of the mesh's configuration; null without one. */
function readMesh(file: string, read: ReadFile, problems: string[]): object | null {
  const text = read(file)
  if ('problem' in text) {
    if (!text.isMissing) problems.push(`${file}: ${text.problem}`)
    return null
  }
  const [document, second] = readYaml(text.value)
  const reason = second === undefined ? document?.problems[0]?.message : 'is more than one document'
  const values = document?.values ?? {}
  if (reason !== undefined || typeof values !== 'object' || Array.isArray(values)) {
    problems.push(`${file}: ${reason ?? 'must be a section with the key defaultConfig'}`)
    return null
  }
  const config = Object.entries(values).find(([key]) => key === 'defaultConfig')?.[1] as unknown
  if (config === undefined || config === null) return null
  if (typeof config === 'object' && !Array.isArray(config)) return config
  problems.push(`${file}: defaultConfig: must be a section of keys`)
  return null
}
