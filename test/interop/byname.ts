import { join } from 'node:path'
import { tmpdir } from 'node:os'
import { DaemonProcess } from '../daemon/daemon-process.ts'

/** byname with these upstream servers, as a process of its own, without a mesh. */
export async function startByname(upstream: object, more: object = {}): Promise<DaemonProcess> {
  return await DaemonProcess.start({
    config: {
      mesh: { source: { table: join(tmpdir(), 'byname-no-table.json') }, beforeSync: 'forward' },
      upstream,
      ...more,
    },
  })
}
