/**
 * How long tests wait for what other processes, threads or the kernel do. What takes milliseconds may take seconds on a machine that
 * is busy with other things. Less than a test may take (vitest.config.ts): it is the message of what was waited for that is read.
 */
export const WAIT_MS = 60_000
