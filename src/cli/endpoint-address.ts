import { type HostPort, parseHostPort } from '../config/address.ts'
import { UsageError } from './arguments.ts'

/**
 * Where to ask an endpoint of a daemon on this machine that listens at `written`: one that listens on every address is
 * asked on loopback.
 * @throws UsageError that names `--${option}`
 */
export function endpointAddress(option: string, written: string): HostPort {
  const parsed = parseHostPort(written)
  if ('reason' in parsed) throw new UsageError(`--${option}: ${parsed.reason}`)
  const { host } = parsed.value
  return { ...parsed.value, host: host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '::1' : host }
}
