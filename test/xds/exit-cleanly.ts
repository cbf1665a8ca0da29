/** Run as a process of its own: subscribes at the address given, stops as told, and must then come to its end by itself. */
import { XdsOrigin } from '../../src/tables/xds-origin.ts'
import { plaintext } from '../../src/xds/credentials.ts'
import { buildNode } from '../../src/xds/node.ts'

const [address = '', when = ''] = process.argv.slice(2)
const log = (): void => {}
const client = new XdsOrigin({
  addresses: [address],
  delta: true,
  node: buildNode({
    identity: {
      namespace: 'a',
      domain: 'b',
      pod: '',
      ip: '',
      serviceAccount: '',
      cluster: '',
      network: '',
      labels: {},
    },
    metadata: {},
    ownAddresses: [],
    version: '0',
  }),
  credentials: plaintext,
  sink: { accept: () => ({ accepted: true, changed: true }) },
  log: { debug: log, info: log, warn: log, error: log },
  random: Math.random,
  onState(state) {
    const isDue = { connected: state.connected, waiting: state.nextAttemptAtMs !== null, connecting: true }[when]
    // Not from within the client's own call.
    if (isDue) setImmediate(() => void client.stop(1000).then(() => console.log('stopped')))
  },
})
client.start()
