import { expect, test } from 'vitest'
import { Rcode, Type } from '../../src/dns/constants.ts'
import { EngineUnderTest } from './engine-under-test.ts'

test('ANY is answered with one record that says why, and nobody is asked (RFC 8482)', () => {
  const byname = new EngineUnderTest()
  const { reply } = byname.ask('Example.org', Type.ANY, { edns: { dnssecOk: true } })
  expect(reply).toMatchObject({ rcode: Rcode.NOERROR, aa: false, ra: true, tc: false })
  expect(reply?.answers).toMatchObject([{ name: 'Example.org', type: 'HINFO', data: { cpu: 'RFC8482', os: '' } }])
  expect(byname.outlet.queries).toEqual([])
})

test('before the table has come ANY fails like every other question: the name may be the mesh’s', () => {
  const byname = new EngineUnderTest({ beforeSync: 'servfail' })
  expect(byname.ask('example.org', Type.ANY).reply?.rcode).toBe(Rcode.SERVFAIL)
})
