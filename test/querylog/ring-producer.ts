/** Thread of query-ring.test.ts: writes numbered records as fast as there is room. */
import { workerData } from 'node:worker_threads'
import { Taken } from '../../src/querylog/ring-layout.ts'
import { RingWriter } from '../../src/querylog/ring-writer.ts'

const { buffer, records }: { buffer: SharedArrayBuffer; records: number } = workerData
const writer = new RingWriter(buffer)
for (let number = 1; number <= records; number++) {
  const nameLength = (number * 37) % 256
  let at = -1
  while (at < 0) {
    at = writer.begin((64 + nameLength + 7) & ~7)
    // Only what is shown can be read, and leave room.
    if (at < 0) writer.show(0, 0, 0)
  }
  writer.words[(at >> 2) + 1] = Taken.LOG
  writer.words[(at >> 2) + 4] = 0
  writer.words[(at >> 2) + 5] = number
  writer.bytes[at + 41] = nameLength
  writer.bytes.fill(number & 0xff, at + 64, at + 64 + nameLength)
  if (number % 7 === 0) writer.show(0, 0, 0)
}
writer.show(0, 0, 0)
