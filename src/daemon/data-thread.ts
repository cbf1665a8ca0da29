import { Worker } from 'node:worker_threads'

/** Starts the thread of data worker `index`; its first message is its WorkerStart. @throws Error if there can be none */
export type StartThread = (index: number) => Worker

/** Starts a thread of Node's. */
export const startThread: StartThread = (index) =>
  new Worker(
    // Where it is bundled, what starts it brings the code that V8 made of it.
    new URL(import.meta.url.endsWith('.ts') ? '../worker/data-worker.ts' : '../bin/data-thread.js', import.meta.url),
    {
      name: `data-${index}`,
      // A worker in epoll_wait collects no garbage in between: a small young generation keeps it small.
      resourceLimits: { maxYoungGenerationSizeMb: 4 },
    },
  )

/**
 * Starts the first data worker's thread now, before it is known what it will do: it comes up while the configuration is
 * read. Until it is asked for it does not keep the process.
 */
export function startFirstThread(): StartThread {
  let first: Worker | null
  try {
    first = startThread(0)
  } catch {
    // When it is asked for, the next try says what is wrong.
    return startThread
  }
  first.unref()
  // Nobody needs it yet, so its end is no failure.
  first.on('error', () => {})
  first.once('exit', () => (first = null))
  return (index) => {
    if (index > 0 || first === null) return startThread(index)
    const thread = first
    first = null
    thread.ref()
    return thread
  }
}
