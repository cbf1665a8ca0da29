import { describe, expect, test } from 'vitest'
import { answerOrigin, type Explained, type TimedReply } from '../../src/cli/answer-origin.ts'
import type { QuestionExplanation } from '../../src/explain/name-explanation.ts'

const NOW_MS = Date.UTC(2026, 10, 30, 18, 0, 12)

/** What the daemon tells 20 ms after the query was sent. */
function told(cached: QuestionExplanation['cached'], ageSeconds: number | null = 12): Explained {
  const question: QuestionExplanation = {
    name: 'x.',
    type: 'A',
    outcome: 'addresses',
    rcode: 'NOERROR',
    source: 'cache',
    answers: [],
    extendedErrors: [],
    refusal: null,
    stages: [],
    forward: null,
    cached,
    worker: 0,
    workers: 1,
  }
  const table = {
    hosts: 1204,
    bytes: 1,
    version: '',
    source: 'xds istiod:15012',
    ageSeconds,
    fromLastKnownGood: false,
    skippedHosts: 0,
    updates: { changed: 1, unchanged: 0, refused: 0 },
  }
  return { questions: [question], table }
}

function reply(source: string | null, ttlSeconds: number | null = null): TimedReply {
  return { source, ttlSeconds, sentAtMs: NOW_MS - 20, explainedAtMs: NOW_MS }
}

const SERVER = '10.0.0.2:53'
const GONE = 'the cache does not have this answer any more'

describe('the origin of an answer', () => {
  test('from the cache is the server that gave it, when, and how long it lasts', () => {
    const cached = { server: SERVER, ageSeconds: 12, leftSeconds: 48 }
    expect(answerOrigin(reply('cache', 48), told(cached))).toEqual({
      origin: { ...cached, time: '2026-11-30T18:00:00Z' },
      text: '10.0.0.2:53, 12 s ago (2026-11-30T18:00:00Z), 48 s left',
    })
  })

  test('just fetched is the server that was asked', () => {
    const cached = { server: SERVER, ageSeconds: 0, leftSeconds: 60 }
    expect(answerOrigin(reply('upstream', 60), told(cached))).toMatchObject({
      text: '10.0.0.2:53, 0 s ago (2026-11-30T18:00:12Z), 60 s left',
    })
  })

  test('that is stale says how long over its time it is', () => {
    const cached = { server: SERVER, ageSeconds: 72, leftSeconds: -12 }
    expect(answerOrigin(reply('stale', 30), told(cached))).toMatchObject({
      origin: { leftSeconds: -12 },
      text: '10.0.0.2:53, 72 s ago (2026-11-30T17:59:00Z), 12 s over its time',
    })
  })

  test('of a mesh name is the table', () => {
    expect(answerOrigin(reply('mesh', 30), told(null))).toEqual({
      origin: { server: 'xds istiod:15012', ageSeconds: 12, time: '2026-11-30T18:00:00Z', leftSeconds: null },
      text: 'table of 1,204 hosts from xds istiod:15012, 12 s old',
    })
  })

  test.each<[string, TimedReply, QuestionExplanation['cached'], string | null]>([
    ['the TTL was another', reply('cache', 5), { server: SERVER, ageSeconds: 0, leftSeconds: 60 }, GONE],
    ['it has less than the reply said', reply('cache', 60), { server: SERVER, ageSeconds: 12, leftSeconds: 48 }, GONE],
    ['nothing is there', reply('cache', 5), null, GONE],
    ['what was stale is fresh by now', reply('stale', 30), { server: SERVER, ageSeconds: 0, leftSeconds: 60 }, GONE],
    [
      'it was there before it was asked for',
      reply('upstream', 60),
      { server: SERVER, ageSeconds: 5, leftSeconds: 60 },
      null,
    ],
    ['it may not be kept', reply('upstream'), null, null],
    ['it is byname itself', reply('local'), null, null],
    ['who answered is not certain', reply(null), { server: SERVER, ageSeconds: 1, leftSeconds: 1 }, null],
  ])('is not told where %s', (_, facts, cached, doubt) => {
    expect(answerOrigin(facts, told(cached))).toEqual({ doubt })
  })

  test('a second that passes between the two is no difference', () => {
    const cached = { server: SERVER, ageSeconds: 13, leftSeconds: 47 }
    expect(answerOrigin(reply('cache', 48), told(cached))).toHaveProperty('origin')
  })

  test('of a server that nobody knows any more says so', () => {
    const cached = { server: null, ageSeconds: 1, leftSeconds: 9 }
    expect(answerOrigin(reply('cache', 9), told(cached))).toMatchObject({
      text: expect.stringMatching(/^a server that is not known any more, 1 s ago/),
    })
  })
})
