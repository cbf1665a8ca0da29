// lookup.mjs lookup|resolve4|fetch NAME…: what Node says of each, a line of "NAME ADDRESS…", or "NAME !ERROR".
import { lookup, resolve4 } from 'node:dns/promises'

const [how, ...names] = process.argv.slice(2)
const ABSENT = new Set(['ENOTFOUND', 'ENODATA'])

async function addressesOf(name) {
  if (how === 'lookup') return (await lookup(name, { all: true })).map(({ address }) => address)
  if (how === 'resolve4') return await resolve4(name)
  return [await (await fetch(`http://${name}:9080/`, { signal: AbortSignal.timeout(10_000) })).text()]
}

for (const name of names) {
  try {
    console.log(name, ...(await addressesOf(name)))
  } catch (error) {
    const code = error.code ?? error.cause?.code ?? error.message
    console.log(name, ABSENT.has(code) ? '!absent' : `!${code}`)
  }
}
