import { expect, it } from 'vitest'
import {
  addressLengthAt,
  addressOffset,
  connectionAt,
  framesLengthAt,
  isSameMachineAt,
  portAt,
  putRead,
  putWriteHeader,
  READ_HEADER_BYTES,
  settledAt,
  WRITE_HEADER_BYTES,
} from '../../src/engine/stream-batch.ts'

it('reads come out of a batch as they were put in', () => {
  // What was there before shows nowhere.
  const batch = new Uint8Array(200).fill(1)
  const reads = [
    {
      connection: 0xfedcba98,
      address: Uint8Array.of(192, 0, 2, 1),
      frames: Uint8Array.of(1, 2, 3),
      isSameMachine: true,
      port: 0xfffe,
    },
    {
      connection: 7,
      address: Uint8Array.from({ length: 16 }, (_, k) => k),
      frames: new Uint8Array(70).fill(9),
      isSameMachine: false,
      port: 0,
    },
  ]
  let end = 1
  for (const { connection, address, frames, isSameMachine, port } of reads)
    end = putRead(batch, end, connection, address, frames, isSameMachine, port)
  let at = 1
  for (const { connection, address, frames, isSameMachine, port } of reads) {
    expect(connectionAt(batch, at)).toBe(connection)
    expect(isSameMachineAt(batch, at)).toBe(isSameMachine)
    expect(portAt(batch, at)).toBe(port)
    expect(batch.slice(addressOffset(at), addressOffset(at) + addressLengthAt(batch, at))).toEqual(address)
    const from = at + READ_HEADER_BYTES
    at = from + framesLengthAt(batch, at)
    expect(batch.slice(from, at)).toEqual(frames)
  }
  expect(at).toBe(end)
})

it('the header of a write says whose it is, how long, and how many queries it settles', () => {
  const batch = new Uint8Array(3 + WRITE_HEADER_BYTES)
  putWriteHeader(batch, 3, 0x80000001, 300, 70_000)
  expect([connectionAt(batch, 3), settledAt(batch, 3), framesLengthAt(batch, 3)]).toEqual([0x80000001, 300, 70_000])
})
