'use strict'
/**
 * The entry of a data worker's thread where byname is bundled: it runs the bundle with the code that V8 made of it when it was
 * built, a third less to do until it answers. V8 refuses code of another version or of other flags, and compiles.
 */
const { readFileSync } = require('node:fs')
const { createRequire } = require('node:module')
const { join } = require('node:path')
const { pathToFileURL } = require('node:url')
const vm = require('node:vm')

const bundle = join(__dirname, '../dist/data-worker.js')
const script = new vm.Script(readFileSync(bundle, 'latin1'), { filename: bundle, cachedData: codeOf(bundle) })
script.runInThisContext()(createRequire(bundle), pathToFileURL(bundle).href)

function codeOf(file) {
  try {
    return readFileSync(`${file}.code`)
  } catch {
    // It was packed without.
    return undefined
  }
}
