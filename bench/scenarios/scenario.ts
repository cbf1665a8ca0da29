/** What a scenario is, and what it yields. */
import type { Ability, Peer } from '../peers/peer.ts'
import type { Bench } from './bench.ts'

export interface Metric {
  key: string
  title: string
  /** Printed behind the figure: `ms`, `MB`, … */
  unit: string
  better: 'more' | 'less'
  /** Reported as the sum over all rounds: what happens in one round only must not vanish in a median. */
  isCount?: true
}

/** Figures of one measurement by metric key; keys without a `Metric` are kept in the JSON only. */
export type Values = Record<string, number>

export interface Scenario {
  id: string
  title: string
  /** One sentence for the report: what happens, in which order of magnitude. */
  about: string
  /** A peer without these abilities sits this one out. */
  needs: readonly Ability[]
  /** The first one is the scenario's headline. */
  metrics: readonly Metric[]
  /** Rounds at most, for what takes long and hardly varies. */
  mostRounds?: number
  /** One measurement. Rejects if the server does not do what the scenario is about. */
  run(peer: Peer, bench: Bench): Promise<Values>
}

export const ANSWERS_PER_CPU_SECOND: Metric = {
  key: 'answersPerCpuSecond',
  title: 'answers per CPU second',
  unit: '',
  better: 'more',
}
