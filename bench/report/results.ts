/** The result file, and what can be said about it: medians, spreads and ratios within one run. */
import { readFileSync, writeFileSync } from 'node:fs'
import type { Values } from '../scenarios/scenario.ts'
import type { Machine } from './machine.ts'

/** byname as it runs by default: what every ratio is about. */
export const SUBJECT = 'byname-batch'

export interface Measurement {
  scenario: string
  peer: string
  /** From 0. Equal rounds of one scenario ran one after the other: they are compared with each other. */
  round: number
  /** Figures by metric key; absent if it failed. */
  values?: Values
  error?: string
}

/** How one scenario was run. Scenarios of one result file may come from different runs, each with its own conditions. */
export interface Run {
  /** ISO time of its first measurement. */
  startedAt: string
  rounds: number
  /** Length of each measurement. */
  seconds: number
  /** The scenario's own words at the time: what it does may have changed since. Absent in older files. */
  about?: string
  /** Versions by peer id of those that ran; absent in older files. */
  versions?: Record<string, string>
  /** Ids of peers that were wanted but not installed; absent in older files. */
  notInstalled?: string[]
}

export interface Results {
  format: 1
  machine: Machine
  /** By scenario. */
  runs: Record<string, Run>
  /** Every peer that ran in any of them, in the order measured, with its version in the latest. */
  peers: { id: string; title: string; version: string }[]
  measurements: Measurement[]
}

export interface Summary {
  median: number
  min: number
  max: number
  /** Over all rounds. */
  total: number
  /** Rounds that have the figure. */
  rounds: number
}

/** Throws if the file is not there or no result file. */
export function readResults(file: string): Results {
  const results: Results = JSON.parse(readFileSync(file, 'utf8'))
  if (results.format !== 1) throw new Error(`${file}: not a result file of this bench`)
  return results
}

export function writeResults(file: string, results: Results): void {
  writeFileSync(file, `${JSON.stringify(results, null, 1)}\n`)
}

/** One metric of one peer over all rounds; undefined if it was never measured. */
export function summarize(results: Results, scenario: string, peer: string, metric: string): Summary | undefined {
  const values = [...byRound(results, scenario, peer, metric).values()]
  if (values.length === 0) return undefined
  return summaryOf(values)
}

/** Rounds in which a peer's measurement failed. */
export function failedRounds(results: Results, scenario: string, peer: string): number {
  return results.measurements.filter(
    (one) => one.scenario === scenario && one.peer === peer && one.values === undefined,
  ).length
}

/**
 * One peer's figure divided by another's in the same round: what the machine did in that minute it did to both.
 * Undefined if no round has both.
 */
export function pairedRatio(
  results: Results,
  scenario: string,
  metric: string,
  over: string,
  under: string,
): Summary | undefined {
  const denominators = byRound(results, scenario, under, metric)
  const ratios: number[] = []
  for (const [round, value] of byRound(results, scenario, over, metric)) {
    const denominator = denominators.get(round)
    if (denominator !== undefined && denominator !== 0) ratios.push(value / denominator)
  }
  return ratios.length === 0 ? undefined : summaryOf(ratios)
}

/** Peers with at least one measurement of the scenario, failed ones included. */
export function peersOf(results: Results, scenario: string): Results['peers'] {
  const measured = new Set(results.measurements.filter((one) => one.scenario === scenario).map((one) => one.peer))
  return results.peers.filter((peer) => measured.has(peer.id))
}

function byRound(results: Results, scenario: string, peer: string, metric: string): Map<number, number> {
  const rounds = new Map<number, number>()
  for (const one of results.measurements) {
    if (one.scenario !== scenario || one.peer !== peer) continue
    const value = one.values?.[metric]
    // JSON has no NaN: what could not be measured comes back as null.
    if (typeof value === 'number' && Number.isFinite(value)) rounds.set(one.round, value)
  }
  return rounds
}

function summaryOf(values: number[]): Summary {
  return {
    median: median(values),
    min: Math.min(...values),
    max: Math.max(...values),
    total: values.reduce((sum, value) => sum + value, 0),
    rounds: values.length,
  }
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}
