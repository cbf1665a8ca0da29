/** Asks the admin endpoint that this page is from, with a token if it needs one. */
import type { Overview } from '../last-hour.ts'

const TOKEN = 'byname-token'

/** The endpoint wants a token, or another one. */
export class TokenNeeded extends Error {}

/** Keeps a token for this tab. */
export function keepToken(token: string): void {
  sessionStorage.setItem(TOKEN, token)
}

/** @throws Error in one line; TokenNeeded */
async function ask(path: string, options: RequestInit): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN)
  const headers: Record<string, string> = token === null ? {} : { authorization: `Bearer ${token}` }
  const response = await fetch(path, { ...options, headers })
  if (response.ok) return response
  const line = (await response.text()).split('\n', 1)[0]!
  if (response.status === 401) throw new TokenNeeded(token === null ? '' : line)
  throw new Error(line || `the endpoint answers ${response.status}`)
}

/** Reads JSON of the same version of byname. @throws as `ask` */
export async function read<T>(path: string): Promise<T> {
  const answer: T = await (await ask(path, {})).json()
  return answer
}

/** Changes something. @throws as `ask` */
export async function change<T>(path: string): Promise<T> {
  const answer: T = await (await ask(path, { method: 'POST' })).json()
  return answer
}

/**
 * Hands the overview in each server-sent event to `handle`, until the stream ends or `signal` aborts it. Not EventSource, which cannot send a token.
 * @throws as `ask`, and what `handle` throws
 */
export async function follow(path: string, signal: AbortSignal, handle: (overview: Overview) => void): Promise<void> {
  const { body } = await ask(path, { signal })
  const reader = body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) return
    const events = (text + value).split('\n\n')
    text = events.pop()!
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1]
      if (data === undefined) continue
      const overview: Overview = JSON.parse(data)
      handle(overview)
    }
  }
}
