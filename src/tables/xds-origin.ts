import type { Log } from '../base/log.ts'
import { NAME_TABLE_TYPE, type TableSink } from '../table/nds.ts'
import { AdsClient, type AdsClientOptions } from '../xds/ads-client.ts'
import type { Push } from '../xds/ads-dialect.ts'
import type { Subscription, Verdict } from '../xds/subscription.ts'
import type { XdsEvent } from '../xds/xds-history.ts'
import type { XdsState } from '../xds/xds-state.ts'
import { wallClock } from '../base/clock.ts'

/** What the origin is made of: a client's options, and who takes the tables. */
export interface XdsOriginOptions extends Omit<AdsClientOptions, 'subscriptions' | 'onState'> {
  sink: TableSink
  /** Subscriptions to other types, over the same stream. */
  others?: readonly Subscription[]
  /** Told after each change of what `state` returns, ages excepted. */
  onState?: (state: XdsState) => void
}

/** `mesh.source.xds`: the name table (NDS) of a control plane, as one subscription of an ADS client. */
export class XdsOrigin {
  readonly #client: AdsClient
  readonly #clock: NonNullable<AdsClientOptions['clock']>

  constructor(options: XdsOriginOptions) {
    const { sink, others = [], onState, ...rest } = options
    this.#clock = options.clock ?? wallClock
    this.#client = new AdsClient({
      ...rest,
      subscriptions: [new NameTableSubscription(sink, options.log), ...others],
      onState: () => onState?.(this.state()),
    })
  }

  /** Begins to connect; never fails, and returns before there is a connection. */
  start(): void {
    this.#client.start()
  }

  /** Closes the stream; afterwards nothing of it keeps the process alive. */
  stop(deadlineMs: number): Promise<void> {
    return this.#client.stop(deadlineMs)
  }

  /** Leaves the stream for a new one, at once and quietly: what it is made with has been replaced. */
  reconnect(): void {
    this.#client.reconnect()
  }

  /** What happened last, the oldest first. */
  history(): XdsEvent[] {
    return this.#client.history()
  }

  state(): XdsState {
    const type = this.#client.typeState(NAME_TABLE_TYPE)!
    const at = type.lastAcceptedAtMs
    const ageSeconds = at === null ? null : Math.max(0, this.#clock.now() - at) / 1000
    const connection = this.#client.state()
    return { ...connection, ...type, rejected: type.rejected + connection.unwanted, ageSeconds }
  }
}

/**
 * A node has one name table. Of several resources the first is it, as for Istio's agent. Neither an empty resource list nor
 * a removal takes the table away: the workload would be left without any name.
 */
export class NameTableSubscription implements Subscription {
  readonly typeUrl: string = NAME_TABLE_TYPE
  readonly resourceNames: readonly string[] = []
  readonly label: string = 'name table'
  readonly #sink: TableSink
  readonly #log: Log
  /** As far as the log has told. */
  #remark = ''

  constructor(sink: TableSink, log: Log) {
    this.#sink = sink
    this.#log = log
  }

  take(push: Push): Verdict {
    const { resources, removed, version } = push
    const [table] = resources
    if (table === undefined && push.isWhole)
      return { accepted: false, reason: 'the response has no resource: the name table in use stays' }
    this.#tell(remarkOf(resources.length, removed.length), version)
    return table === undefined ? 'nothing' : this.#sink.accept(table.value, version)
  }

  #tell(remark: string, version: string): void {
    if (remark !== '' && remark !== this.#remark) this.#log.warn({ version }, remark)
    this.#remark = remark
  }
}

/** What is odd about a response and no reason to refuse it; '' for nothing. */
function remarkOf(resources: number, removed: number): string {
  if (resources > 1) return `${resources} name tables in one response: only the first is used`
  return resources === 0 && removed > 0 ? 'the control plane removed the name table: the one in use stays' : ''
}
