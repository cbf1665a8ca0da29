/** A server that has its table from a control plane, as in a mesh. */
import type { Limits } from '../load/cgroup.ts'
import { ControlPlane } from '../load/control-plane.ts'
import type { Peer } from '../peers/peer.ts'
import type { Bench, Subject } from './bench.ts'

/**
 * Starts a control plane that sends `first` (made by `encodePush`) and a peer that takes it; ready when the first host has
 * the address `firstAddress`. `limits`: see `SubjectOptions`. Rejects if any push was refused.
 */
export async function withControlPlane<T>(
  peer: Peer,
  bench: Bench,
  first: Buffer,
  firstAddress: string,
  use: (subject: Subject, plane: ControlPlane) => Promise<T>,
  limits?: Limits,
): Promise<T> {
  const plane = new ControlPlane(first)
  const controlPlanePort = await plane.start()
  try {
    const options = { controlPlanePort, firstAddress, ...(limits && { limits }) }
    return await bench.withServer(peer, options, async (subject) => {
      const result = await use(subject, plane)
      if (plane.refusals.length > 0) throw new Error(`a push was refused: ${plane.refusals[0]}`)
      return result
    })
  } finally {
    plane.stop()
  }
}
