/** Words that a report keeps when it is anonymised: they are the same everywhere and say nothing of anybody. */
import { configSchema } from '../../config/schema.ts'
import { partsOf } from '../../config/schema-keys.ts'

/** Labels that are kept wherever they stand in a name. */
const PUBLIC_LABELS: ReadonlySet<string> = new Set(
  ['localhost', 'istiod', 'istio-system', 'kubernetes', 'kube-system', 'kube-dns', 'coredns', 'default', 'arpa'].concat(
    ['in-addr', 'ip6', 'resolver'],
  ),
)
/** Last labels that are kept: which registry a name is in is harmless. */
const PUBLIC_ENDS: ReadonlySet<string> = new Set(
  [
    'com',
    'org',
    'net',
    'io',
    'dev',
    'app',
    'edu',
    'gov',
    'int',
    'info',
    'cloud',
    'local',
    'localhost',
    'internal',
  ].concat([
    'example',
    'test',
    'invalid',
    'onion',
    'home',
    'lan',
    'svc',
    'de',
    'fr',
    'uk',
    'eu',
    'us',
    'ch',
    'at',
    'nl',
    'jp',
    'cn',
    'in',
  ]),
)
/** Whole names that are kept. */
const PUBLIC_NAMES: ReadonlySet<string> = new Set([
  'example.com',
  'cluster.local',
  'svc.cluster.local',
  'e.g',
  'i.e',
  'node.js',
])
/** Names of programs, protocols and files, which only look like names of hosts. */
const NO_NAME =
  /^(?:net|kernel|fs|vm|envoy|google|type\.googleapis|istio\.(?:networking|v1|workload)|security\.istio)\.|(?:^|\.)(?:kubernetes|istio|k8s|googleapis)\.(?:io|com)$/i
/** Ends of the names of files. */
const FILE_ENDS: ReadonlySet<string> = new Set(
  [
    'conf',
    'yaml',
    'yml',
    'json',
    'txt',
    'pem',
    'crt',
    'key',
    'env',
    'js',
    'cjs',
    'mjs',
    'ts',
    'html',
    'image',
    'sock',
  ].concat([
    'service',
    'slice',
    'scope',
    'socket',
    'gz',
    'tmp',
    'log',
    'max',
    'high',
    'current',
    'events',
    'stat',
    'pressure',
    'weight',
    'peak',
  ]),
)
/** Words of texts that findings are read from, and of what byname and the kernel say. */
const VOCABULARY: ReadonlySet<string> = new Set(
  `a about access address addresses admin after again all and answer answers any are arguments as asked at attempt attempts
away backend batch be before byname bytes cache capture certificate chain closed cluster code command config configuration
connect connected connection connections conntrack control count cpu credential data daemon default delta detail dgram domain domains driver dst
econnrefused endpoint entries environment errno error errors established etc expires external failed failing failure failures file files
finding for found from full guard handover has hash health healthy host hosts http https icmp in info interface ip ipv4 ipv6 is istio
iptables json kernel kind kubernetes label labels level limit line lines list listen listening listens lo local localhost log loop map max memory
mesh message metrics missing mode ms msg name names nameserver namespace namespaces network nft nftables no nodata node noerror none not
nxdomain of ok on open options or origin other output path pid plane pod pods port problem problems process proto protocol queries query
read ready reason record records redirect refused registry rejected reload removed replied replies reply report request requests resolv resolver
response responses route routes rule rules run running search seconds secret self sent serial server servers service servfail share sha256 skipped
socket sockets sort source sources sport src stale start started state status stopped stream svc table tables tcp test text thread threads
time timeout times tls to token tokens type udp unchanged unreplied up updated upstream uptime usr uid url user using var vcpu version vm waiting
warn warning warnings was with worker workers written xds zone zone-orig zone-reply ndots edns0 trust-ad files myhostname mdns4_minimal return
passwd group shadow gshadow rpc ethers netgroup protocols services initgroups automount aliases compat systemd resolve dns`
    .split(/\s+/)
    .filter((word) => word !== ''),
)
const METRIC = /^(?:byname|istio_agent|process|nodejs)_/

/** Dotted keys of the configuration, in lower case. */
function configKeys(): ReadonlySet<string> {
  return new Set(partsOf(configSchema).map(({ path }) => path.join('.').toLowerCase()))
}

/** What is kept of which texts. */
export class KnownWords {
  readonly #keys: ReadonlySet<string> = configKeys()
  readonly #jsonKeys: Set<string> = new Set()

  /** Keeps the keys of JSON, which are byname's own; those of maps by name are not. */
  addKeys(document: unknown): void {
    if (Array.isArray(document)) for (const each of document) this.addKeys(each)
    else if (typeof document === 'object' && document !== null) {
      for (const [key, value] of Object.entries(document)) {
        if (/^[a-z]\w*$/i.test(key)) this.#jsonKeys.add(key.toLowerCase())
        if (!BY_NAME.has(key)) this.addKeys(value)
      }
    }
  }

  /** A word that is kept where it stands alone. Lower case. */
  isPlain(word: string): boolean {
    return VOCABULARY.has(word) || this.#jsonKeys.has(word) || METRIC.test(word) || PUBLIC_LABELS.has(word)
  }

  /** A text with dots that is no name of anybody's. Lower case. */
  isNoName(dotted: string): boolean {
    return (
      PUBLIC_NAMES.has(dotted) ||
      NO_NAME.test(dotted) ||
      this.#keys.has(dotted) ||
      FILE_ENDS.has(dotted.slice(dotted.lastIndexOf('.') + 1))
    )
  }

  /** Whether the label at `index` of a name is kept. Lower case. */
  isPublicLabel(labels: readonly string[], index: number): boolean {
    const label = labels[index]!
    if (label === '*' || label.startsWith('_') || PUBLIC_LABELS.has(label)) return true
    if (index === labels.length - 1) return PUBLIC_ENDS.has(label)
    const next = labels[index + 1]
    if (label === 'cluster') return next === 'local'
    return (label === 'svc' || label === 'pod') && next === 'cluster'
  }
}

/** Keys whose maps have names for keys. */
const BY_NAME: ReadonlySet<string> = new Set(
  ['table', 'namespaces', 'labels', 'annotations', 'metadata', 'origins', 'settings', 'variables', 'files'].concat([
    'interfaces',
  ]),
)
