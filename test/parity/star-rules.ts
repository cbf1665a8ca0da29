/**
 * Where byname is better than Istio's agent on purpose: each ★ rule as a correction of what the agent answered. A
 * recorded answer that no rule corrects must come from byname exactly as it was recorded. (The other ★ rules, PTR,
 * special names, names that collide, a host of an expansion's name, have nothing in the recording to correct.)
 */
import type { NameInfo, NameTable } from '../../src/table/nds.ts'
import type { AskedType } from '../worker/dns-client.ts'

/** Owner in lower case without a trailing dot, TTL, type, data likewise. */
export type RecordedRecord = [owner: string, ttl: number, type: string, data: string]

/** One query with what Istio's agent answered. */
export interface RecordedAnswer {
  /** The name asked for, as spelt. */
  q: string
  t: AskedType
  tcp: boolean
  edns: number | null
  rcode: string
  aa: boolean
  tc: boolean
  ra: boolean
  answer: RecordedRecord[]
}

/** What the rules look things up in. */
export interface ParityContext {
  table: NameTable
  /** The first search domain, and the identity's namespace and cluster domain. */
  search: string
  namespace: string
  cluster: string
  /** Recorded answers by name in lower case. */
  byName: Map<string, RecordedAnswer[]>
}

export interface StarRule {
  name: string
  /** Recorded answers that it changes. */
  applies: number
  /** The answer as it has to be, or null where the rule has nothing to say. */
  correct(recorded: RecordedAnswer, context: ParityContext): RecordedAnswer | null
}

const FROM_MESH = { rcode: 'NOERROR', aa: true }

/** In the order in which they are applied. */
export const STAR_RULES: readonly StarRule[] = [
  {
    name: 'RA=1 on every reply',
    applies: 423,
    correct: (recorded) => (recorded.ra ? null : { ...recorded, ra: true }),
  },
  {
    name: "ANY: the host's A and AAAA records",
    applies: 8,
    correct: (recorded, context) => {
      if (recorded.t !== 'ANY' || !isMeshName(recorded, context)) return null
      const same = context.byName.get(nameOf(recorded))!
      const addresses = ['A', 'AAAA'].flatMap((type) => same.find(({ t }) => t === type)!.answer)
      return { ...recorded, ...FROM_MESH, answer: addresses }
    },
  },
  {
    name: 'ANY of other names: one HINFO that says why (RFC 8482)',
    applies: 3,
    correct: (recorded, context) => {
      if (recorded.t !== 'ANY' || isMeshName(recorded, context)) return null
      return { ...recorded, rcode: 'NOERROR', aa: false, answer: [[nameOf(recorded), 8482, 'HINFO', '']] }
    },
  },
  {
    name: 'HTTPS: NOERROR without records',
    applies: 8,
    correct: (recorded, context) =>
      recorded.t === 'HTTPS' && isMeshName(recorded, context) ? { ...recorded, ...FROM_MESH, answer: [] } : null,
  },
  {
    name: 'no address of the family: the CNAME all the same',
    applies: 49,
    correct: (recorded, context) => {
      const target = expansionTarget(recorded, context)
      if (target === null || !recorded.aa || recorded.answer.length > 0) return null
      return { ...recorded, answer: [[nameOf(recorded), 30, 'CNAME', target]] }
    },
  },
  {
    name: 'below a wildcard the CNAME points to the concrete name, never to *.x',
    applies: 6,
    correct: (recorded, context) => {
      const cname = recorded.answer.find(([, , type]) => type === 'CNAME')
      return cname?.[3].startsWith('*.') ? retarget(recorded, context) : null
    },
  },
  {
    name: "the CNAME points to the host's full name, never to a short form",
    applies: 39,
    correct: (recorded, context) => {
      const cname = recorded.answer.find(([, , type]) => type === 'CNAME')
      if (cname === undefined || cname[3] === expansionTarget(recorded, context)) return null
      return retarget(recorded, context)
    },
  },
]

export function nameOf(recorded: RecordedAnswer): string {
  return recorded.q.toLowerCase().replace(/\.$/, '')
}

/** Some host answers to the name, as the agent's other answers for it show. */
function isMeshName(recorded: RecordedAnswer, { byName }: ParityContext): boolean {
  return byName.get(nameOf(recorded))!.some(({ aa }) => aa)
}

/** The same with the CNAME's target and the addresses' owner replaced by what they have to be. */
function retarget(recorded: RecordedAnswer, context: ParityContext): RecordedAnswer {
  const target = expansionTarget(recorded, context)!
  const answer = recorded.answer.map(
    ([owner, ttl, type, data]): RecordedRecord =>
      type === 'CNAME' ? [owner, ttl, type, target] : [target, ttl, type, data],
  )
  return { ...recorded, answer }
}

/** What the CNAME for a name with the search domain appended points to; null for any other name. */
export function expansionTarget(recorded: RecordedAnswer, context: ParityContext): string | null {
  const name = nameOf(recorded)
  const suffix = `.${context.search}`
  if (!name.endsWith(suffix) || context.table.has(name) || isKubernetesName(name, context)) return null
  const short = name.slice(0, -suffix.length)
  return ownerOf(short, context) ?? short
}

/** The full name of the host that answers to `name`, a wildcard host's included; null if there is none. */
export function ownerOf(name: string, context: ParityContext): string | null {
  if (context.table.has(name)) return name
  const hosts = [...context.table].filter(([host, info]) => namesOf(host, info, context).includes(name))
  const own = hosts.find(([, { namespace }]) => namespace === context.namespace) ?? hosts[0]
  return own?.[0] ?? null
}

/** The host below which a name falls, `*.x`; null if there is none. */
export function wildcardOf(name: string, { table }: ParityContext): string | null {
  const labels = name.split('.')
  for (let k = 1; k < labels.length; k++) {
    const host = `*.${labels.slice(k).join('.')}`
    if (table.has(host)) return host
  }
  return null
}

function isKubernetesName(name: string, context: ParityContext): boolean {
  return [...context.table].some(([host, info]) => namesOf(host, info, context).includes(name))
}

/** Short and alternate names of a Kubernetes host of this cluster. */
function namesOf(host: string, info: NameInfo, { cluster, namespace }: ParityContext): string[] {
  if (info.registry !== 'Kubernetes' || !host.endsWith(`.${cluster}`) || info.shortname === '') return []
  const [first] = cluster.split('.')
  const names = [
    `${info.shortname}.${info.namespace}`,
    `${info.shortname}.${info.namespace}.${first}`,
    ...info.altHosts,
  ]
  return info.namespace === namespace ? [...names, info.shortname] : names
}
