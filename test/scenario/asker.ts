/** Thread of blocked-control-thread.test.ts: asks over UDP and TCP as fast as it is answered, and counts. */
import { workerData } from 'node:worker_threads'
import { addressesOf, TcpClient, UdpClient } from '../worker/dns-client.ts'

const { at, counts }: { at: { address: string; port: number }; counts: Int32Array } = workerData

async function overUdp(): Promise<never> {
  const client = await UdpClient.open()
  for (;;) {
    const { packet } = await client.ask(at, 'web')
    if (addressesOf(packet)[0] === '10.0.0.1') Atomics.add(counts, 0, 1)
  }
}

async function overTcp(): Promise<never> {
  const client = await TcpClient.open(at)
  for (;;) if (addressesOf(await client.ask('web'))[0] === '10.0.0.1') Atomics.add(counts, 1, 1)
}

await Promise.all([overUdp(), overTcp()])
