import { chmodSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { readWorkloadGroup } from '../istio/workload-group.ts'
import { VM_FILES, vmFiles } from '../istio/vm-files.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { readInput } from './input-file.ts'
import { install, uninstall, VM_RESOLVER_OPTIONS } from './vm-resolver.ts'

/** As istioctl leaves them, except that nobody else can read the token. */
const FILE_MODE = 0o644
const SECRET_MODE = 0o600

/** `byname vm`: the files that make a machine a part of the mesh, and the resolver that asks byname. */
export const vmCommand: Command = {
  name: 'vm',
  summary: 'Make a virtual machine a part of the mesh: its files, and whom its resolver asks.',
  positionals: 'configure|install|uninstall',
  mostPositionals: 1,
  options: {
    file: { value: 'FILE', help: 'the WorkloadGroup, in YAML or JSON' },
    output: { value: 'DIR', help: `folder for ${VM_FILES.join(', ')}` },
    'cluster-id': { value: 'NAME', help: 'the cluster that the machine joins (default Kubernetes)' },
    'root-cert': {
      value: 'FILE',
      help: "the mesh's root certificate (ConfigMap istio-ca-root-cert)",
    },
    token: { value: 'FILE', help: 'a token of the service account, for audience istio-ca' },
    'mesh-config': {
      value: 'FILE',
      help: "the mesh's configuration (key mesh of ConfigMap istio)",
    },
    'ingress-ip': { value: 'IP', help: 'where the machine reaches the control plane' },
    'internal-ip': { value: 'IP', help: "the machine's address in the mesh's network" },
    'external-ip': { value: 'IP', help: "the machine's address outside of it" },
    namespace: { value: 'NAME', help: 'namespace of a WorkloadGroup that names none (default: default)' },
    'istio-namespace': { value: 'NAME', help: 'namespace of the control plane (default istio-system)' },
    revision: { value: 'NAME', help: 'revision of the control plane' },
    autoregister: { help: 'have a WorkloadEntry made when the machine connects' },
    'no-dns-capture': { help: 'leave ISTIO_META_DNS_CAPTURE out' },
    ...VM_RESOLVER_OPTIONS,
  },
  details: `"configure" writes what "istioctl x workload entry configure" writes, from files instead of a cluster.
Copy the folder to the machine and start byname there with "byname run --istio-dir DIR".
"install" has this machine ask byname at 127.0.0.1:53: with systemd-resolved, NetworkManager, resolvconf, or a
plain resolv.conf, whose original is kept. "uninstall" makes it as it was before. docs/vm.md has the details.`,
  examples: [
    'byname vm configure --file group.yaml --output vm --root-cert root.pem --token token --ingress-ip 192.0.2.9',
    'byname vm install --dry-run',
    'byname vm uninstall',
  ],
  run(given, context) {
    const [what] = given.positionals
    if (what === 'configure') return Promise.resolve(configure(given, context))
    if (what === 'install') return install(given, context)
    if (what === 'uninstall') return Promise.resolve(uninstall(given, context))
    throw new UsageError(
      what === undefined
        ? 'say what to do: configure, install or uninstall'
        : `unknown: ${what}; it can configure, install and uninstall`,
    )
  },
}

function configure(given: CommandArguments, context: CommandContext): number {
  const file = required(given, 'file', 'name the WorkloadGroup with --file FILE')
  const output = required(given, 'output', 'name the folder to write to with --output DIR')
  if (given.has('internal-ip') && given.has('external-ip'))
    throw new UsageError('give one of --internal-ip and --external-ip')
  const group = readWorkloadGroup(readInput(file), file, given.text('namespace') ?? 'default')
  if ('problems' in group) return fail(group.problems, context)
  const meshConfig = given.text('mesh-config')
  const made = vmFiles(group.value, {
    meshConfig: meshConfig === undefined ? '' : readInput(meshConfig),
    meshConfigFile: meshConfig ?? '',
    clusterId: given.text('cluster-id') ?? 'Kubernetes',
    istioNamespace: given.text('istio-namespace') ?? 'istio-system',
    revision: given.text('revision') ?? '',
    rootCert: inputOf(given, 'root-cert'),
    token: inputOf(given, 'token').trim(),
    ingressIp: given.text('ingress-ip') ?? '',
    internalIp: given.text('internal-ip') ?? '',
    externalIp: given.text('external-ip') ?? '',
    isDnsCaptured: !given.has('no-dns-capture'),
    isAutoRegistered: given.has('autoregister'),
  })
  if ('problems' in made) return fail(made.problems, context)
  mkdirSync(output, { recursive: true })
  for (const name of VM_FILES) {
    const path = join(output, name)
    const mode = name === 'istio-token' ? SECRET_MODE : FILE_MODE
    writeFileSync(path, made.files[name]!, { mode })
    // One that was there keeps its mode otherwise.
    chmodSync(path, mode)
    context.out(`${path}\n`)
  }
  for (const line of missing(given)) context.err(`byname vm: ${line}\n`)
  return ExitCode.done
}

function required(given: CommandArguments, option: string, message: string): string {
  const value = given.text(option)
  if (value === undefined || value === '') throw new UsageError(message)
  return value
}

function inputOf(given: CommandArguments, option: string): string {
  const file = given.text(option)
  return file === undefined ? '' : readInput(file)
}

/** What the machine will lack, a line each. */
function missing(given: CommandArguments): string[] {
  const lines: [option: string, line: string][] = [
    ['root-cert', 'root-cert.pem is empty: the machine cannot verify the control plane; give --root-cert FILE'],
    ['token', 'istio-token is empty: the machine cannot prove who it is; give --token FILE'],
    ['ingress-ip', 'hosts is empty: the machine must resolve the control plane by itself, or give --ingress-ip IP'],
  ]
  return lines.filter(([option]) => !given.has(option)).map(([, line]) => line)
}

function fail(problems: readonly string[], context: CommandContext): number {
  for (const problem of problems) context.err(`byname vm: ${problem}\n`)
  return ExitCode.usage
}
