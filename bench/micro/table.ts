/**
 * What a push costs the control thread:
 *
 *   node --expose-gc bench/micro/table.ts
 */
import { bench, do_not_optimize as keep, run } from 'mitata'
import { serializedTable, tableCompiler } from './fixture.ts'

for (const hosts of [1000, 10_000, 100_000]) {
  const same = serializedTable(hosts)
  const one = serializedTable(hosts, 1)
  const count = hosts.toLocaleString('en')

  const still = tableCompiler()
  still.compile(same, 'same')
  bench(`${count} hosts, nothing changed`, () => keep(still.compile(same, 'same')))

  // Without workers every slot of the pool is free again at once.
  const churning = tableCompiler()
  let turn = 0
  bench(`${count} hosts, one changed`, () => keep(churning.compile(turn++ % 2 === 0 ? one : same, 'churn')))
}

await run()
