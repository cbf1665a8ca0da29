/** Programs that know nothing of byname resolve names through the redirect: clients/main.ts prints what each of them sees. */
import { describe, expect, test } from 'vitest'
import { isLong } from '../long.ts'
import { lackingForClients, runClients } from './clients/matrix.ts'
import { report } from './clients/report.ts'

const lacks = lackingForClients()

describe.skipIf(lacks.length > 0)(`clients${lacks.length > 0 ? `: ${lacks.join(', ')} not here` : ''}`, () => {
  test('see the names of the mesh and others through the redirect, and none of them passes it', async () => {
    const result = await runClients({ isQuick: !isLong, say: (line) => console.log(line) })
    console.log(report(result))
    expect(result.problems).toEqual([])
    expect(result.traffic.every(({ sent }) => sent > 0)).toBe(true)
  }, 900_000)
})
