import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { encodeNameTable, type NameTable } from '../../src/table/nds.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import { imageBytes } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { host, identity, nameTable } from './arbitraries.ts'
import { find, findAddress, newCompiler } from './compiled.ts'
import { questions } from './questions.ts'
import { ReferenceTable } from './reference-table.ts'

test('the image answers every name and address as the reference does', () => {
  fc.assert(
    fc.property(nameTable, identity, fc.array(host), fc.integer(), (table, who, extra, seed) => {
      const reference = new ReferenceTable(table, who)
      const result = newCompiler({ identity: who, seed }).compile(encodeNameTable(table), '')
      if (reference.hosts === 0 && table.size > 0) {
        expect(result.kind).toBe('refused')
        return
      }
      if (result.kind !== 'image') throw new Error(JSON.stringify(result))
      const { image } = result
      expect(verifyImage(imageBytes(image))).toBeNull()
      expect([image.hosts, image.skippedHosts, image.skippedAddresses]).toEqual([
        reference.hosts,
        reference.skippedHosts,
        reference.skippedAddresses,
      ])
      for (const name of questions(table, who, reference, extra)) {
        const wanted = reference.find(name)
        const got = find(image, name)
        expect(got && { host: wanted?.host, ...got }, name.join('.')).toEqual(wanted)
      }
      for (const address of [...reference.pointers.keys(), 'c0000201', 'c0000204', '00'.repeat(16)]) {
        expect(findAddress(image, address), address).toEqual(reference.findAddress(address))
      }
    }),
    { numRuns: 400 },
  )
})

test('the order of the hosts changes nothing', () => {
  fc.assert(
    fc.property(nameTable, identity, fc.infiniteStream(fc.nat()), (table, who, random) => {
      const compiler = newCompiler({ identity: who })
      const first = compiler.compile(encodeNameTable(table), '')
      const order = [...table].map((entry) => ({ entry, at: random.next().value! })).toSorted((a, b) => a.at - b.at)
      const shuffled = encodeNameTable(new Map(order.map(({ entry }) => entry)))
      expect(compiler.compile(shuffled, '').kind).toBe(first.kind === 'refused' ? 'refused' : 'unchanged')
      const other = newCompiler({ identity: who }).compile(shuffled, '')
      if (first.kind !== 'image' || other.kind !== 'image') return
      for (const name of questions(table, who, new ReferenceTable(table, who), [])) {
        const [a, b] = [find(first.image, name), find(other.image, name)]
        expect(b, name.join('.')).toEqual(a)
      }
    }),
    { numRuns: 100 },
  )
})

test('the table that an image lists has the same answers', () => {
  fc.assert(
    fc.property(nameTable, identity, (table, who) => {
      const result = newCompiler({ identity: who }).compile(encodeNameTable(table), '')
      if (result.kind !== 'image') return
      const listed: NameTable = new Map([...listHosts(result.image)].map(({ host: name, ...info }) => [name, info]))
      expect(listed.size).toBe(result.hosts)
      const reference = new ReferenceTable(listed, who)
      for (const name of questions(table, who, reference, [])) {
        const wanted = reference.find(name)
        const got = find(result.image, name)
        expect(got && { host: wanted?.host, ...got }, name.join('.')).toEqual(wanted)
      }
    }),
    { numRuns: 200 },
  )
})
