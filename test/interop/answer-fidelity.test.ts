import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import type { DecodedMessage } from '../dns/messages.ts'
import { randomNumbers } from '../engine/engine-under-test.ts'
import { startByname } from './byname.ts'
import { Asker, type Asking, recordTexts } from './dns-exchange.ts'
import { missing, RealServer } from './real-servers.ts'
import { type RichQuestion, richQuestion } from './rich-zone.ts'

const QUESTIONS = 10_000
const SEED = Number(process.env['SEED'] ?? 20_261_124)

const absent = missing('knotd', 'kdig')
if (absent.length > 0)
  process.stderr.write(`NOT TESTED, answers as the server gives them, for want of: ${absent.join(', ')}\n`)

/** All that a client is to get as the server gave it: no TTLs, no order, no EDNS, no AA, which a forwarder does not set. */
function essence({ rcode, answers, authorities, additionals, ad }: DecodedMessage): object {
  return {
    rcode,
    ad,
    answers: recordTexts(answers),
    authorities: recordTexts(authorities),
    additionals: recordTexts(additionals),
  }
}

describe.skipIf(absent.length > 0)('10,000 questions', () => {
  let knot: RealServer
  let byname: DaemonProcess

  beforeAll(async () => {
    knot = await RealServer.knot()
    byname = await startByname({ servers: [`127.0.0.1:${knot.port}`] }, { cache: { maxBytes: 64 << 20 } })
  })

  afterAll(async () => {
    await byname.stop()
    await knot.stop()
  })

  it('get the same answer from the server, through byname, and from its cache', async () => {
    const numbers = randomNumbers(SEED)
    const random = (): number => (numbers() >>> 0) / 2 ** 32
    const questions: RichQuestion[] = Array.from({ length: QUESTIONS }, () => richQuestion(random))
    // Payload sizes as byname has them towards servers, and the largest it takes from clients.
    const asServer = questions.map((question): Asking => ({ ...question, payload: 1232 }))
    const asClient = questions.map((question): Asking => ({ ...question, payload: 4096, tcp: random() < 0.02 }))
    const direct = await ask(knot.port, asServer)
    for (const round of ['first', 'again']) {
      const through = await ask(byname.at().port, asClient)
      through.forEach((reply, k) => {
        const { name, type, dnssecOk } = questions[k]!
        expect(essence(reply), `${round}: ${name} ${type}${dnssecOk ? ' DO' : ''}, SEED=${SEED}`).toEqual(
          essence(direct[k]!),
        )
        expect(reply.ra).toBe(true)
        expect(reply.aa).toBe(false)
      })
    }
    const kinds = new Set(direct.map(({ rcode, answers }) => `${rcode} ${Math.min(answers.length, 3)}`))
    expect([...kinds].toSorted()).toEqual(expect.arrayContaining(['0 0', '0 1', '0 2', '0 3', '3 0']))
    const { cache } = await byname.status()
    expect(cache.hits).toBeGreaterThan(QUESTIONS)
  })
})

async function ask(port: number, questions: readonly Asking[]): Promise<DecodedMessage[]> {
  const asker = new Asker(port)
  try {
    return await asker.all(questions)
  } finally {
    asker.close()
  }
}
