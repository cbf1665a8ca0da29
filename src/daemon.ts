import type { Config } from './config/schema.ts'

/** Where a daemon that has started listens; ports are the real ones where the configuration said 0. */
export interface StartedDaemon {
  listen: { address: string; port: number }[]
  metrics: { address: string; port: number } | null
  admin: { address: string; port: number } | null
}

/** What the daemon is started with. */
export interface DaemonOptions {
  config: Config
  /** One line each, from loading the configuration. */
  warnings: string[]
  /** Aborting drains and stops. */
  signal: AbortSignal
  env: NodeJS.ProcessEnv
  /** Called once every socket is bound. */
  onStarted?: (started: StartedDaemon) => void
}

/** Runs the daemon; resolves when it has stopped cleanly. @throws BindError and others at start */
export async function runDaemon(_options: DaemonOptions): Promise<void> {
  await Promise.reject(new Error('not built yet'))
}
