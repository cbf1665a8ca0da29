/** The rules in use, as the engine gets them: plain data, and beside it the image of all names (rule-image.ts). */

/** What a rule does, in the order of ACTIONS. */
export const Act = {
  LOG: 0,
  ALLOW: 1,
  NXDOMAIN: 2,
  NODATA: 3,
  REFUSE: 4,
  DROP: 5,
  TCP_ONLY: 6,
  ANSWER: 7,
  REWRITE: 8,
  ROUTE: 9,
  TTL: 10,
  ZONE: 11,
} as const

/** Names of actions: the `action` label of metrics. */
export const ACTIONS: readonly string[] = [
  'log',
  'allow',
  'nxdomain',
  'nodata',
  'refuse',
  'drop',
  'tcp-only',
  'answer',
  'rewrite',
  'route',
  'ttl',
  'zone',
]

/** An address prefix: `address` in 4 or 16 bytes, network byte order. */
export interface ClientPrefix {
  address: Uint8Array
  length: number
}

/** One rule. */
export interface Rule {
  /** Its `id`, or where it stands (`rules[2]`): the `rule` label of metrics. */
  label: string
  /** For people: what it looks at, such as `file /etc/byname/ads.txt`. */
  matches: string
  /** Its file, empty if it has none. */
  file: string
  /** Place of its counter. */
  counter: number
  /** One of Act. */
  act: number
  /** Its action is counted and logged, and not done. */
  isAudit: boolean
  /** It looks at names; else at all. */
  hasNames: boolean
  hasExceptions: boolean
  /** Names of the mesh are its own as well. */
  takesMesh: boolean
  /** Types that it is about; empty: all. */
  types: readonly number[]
  /** Clients that it is about; empty: all. */
  clients: readonly ClientPrefix[]
  /** Extended error of a denial, Ede.NONE for none, and the text that goes with it. */
  ede: number
  note: Uint8Array
  /** Of answers that are made here. */
  ttlSeconds: number
  /** Of Act.ANSWER: a set of records (record-text.ts). */
  records: Uint8Array
  /** Of Act.REWRITE: the other name in wire format, lower case. */
  target: Uint8Array
  /** Of Act.REWRITE: labels before the part that matched stay before `target`. */
  keepsLabels: boolean
  /** Of Act.ROUTE and Act.TTL: place in `answerClasses` + 1. */
  answerClass: number
}

/** Answers that are asked for, and kept, apart from all others. */
export interface AnswerClass {
  /** Index of the route in the engine's settings; -1: that of the name. */
  route: number
  /** Bounds of TTLs; null: those of the cache's settings. */
  minTtlSeconds: number | null
  maxTtlSeconds: number | null
}

/** Answer classes at most: the cache's keys have five bits for them. */
export const MOST_ANSWER_CLASSES = 31

/** What becomes of names that no rule is about, where only allowed ones may be asked for. */
export interface EgressDenial {
  isAudit: boolean
  isNodata: boolean
  /** Names of the mesh need a rule as well. */
  takesMesh: boolean
  /** A name table is to come: until then nobody knows which names are the mesh's. */
  awaitsTable: boolean
  counter: number
  ede: number
  note: Uint8Array
  ttlSeconds: number
  /**
   * Search domains of resolv.conf, in wire format and lower case. Names below them are denied by NXDOMAIN in any case: musl's
   * resolver ends its search at the first NODATA.
   */
  searchDomains: readonly Uint8Array[]
}

/** All rules, in their order. */
export interface RuleSet {
  rules: readonly Rule[]
  /** Names of the rules; made by `compileRuleNames`. */
  image: SharedArrayBuffer
  answerClasses: readonly AnswerClass[]
  /** Null: what no rule is about is answered as without rules. */
  egress: EgressDenial | null
}
