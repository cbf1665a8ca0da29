'use strict'
/**
 * Loads a bundle with the code that V8 made of it in an earlier run: a fifth of the time until the first answer went into
 * compiling. Node's own compile cache is made before anything has run, and so holds none of the functions that are compiled
 * when they are first called.
 *
 * A file of code is the hashes (SHA-1) of the bundle and of the code, then the code. V8 refuses what another version of it
 * made, and what it made with other flags.
 */

const { hash } = require('node:crypto')
const { closeSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } = require('node:fs')
const { createRequire } = require('node:module')
const { dirname } = require('node:path')
const vm = require('node:vm')

/** A service has started by then, and V8 has not dropped yet what ran only at the start. */
const STARTED_MS = 1000
const HASH_BYTES = 40

/**
 * The exports of `bundle`, a CommonJS module, run with the code in `file` if that is of this very bundle. Otherwise the
 * code is written there, at the end of the process or, of a service, once it has started; where it cannot be, it is not.
 */
function loadWithCode(bundle, file, isService) {
  const source = readFileSync(bundle, 'utf8')
  const known = readCode(file, source)
  const script = new vm.Script(`(function (exports, require, module, __filename, __dirname) {${source}\n})`, {
    filename: bundle,
    ...(known === null ? {} : { cachedData: known }),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(bundle), module, bundle, dirname(bundle))
  if (known === null || script.cachedDataRejected) {
    const write = () => writeCode(file, source, script)
    if (isService) setTimeout(write, STARTED_MS).unref()
    else process.once('exit', write)
  }
  return module.exports
}

/** Null if there is none, or none of this source. V8 takes any other source of the same length for its own. */
function readCode(file, source) {
  try {
    const content = readFileSync(file)
    const code = content.subarray(HASH_BYTES)
    return content.subarray(0, HASH_BYTES).equals(hashOf(source, code)) ? code : null
  } catch {
    return null
  }
}

function writeCode(file, source, script) {
  const beside = `${file}.${process.pid}.tmp`
  let fd
  try {
    mkdirSync(dirname(file), { recursive: true })
    fd = openSync(beside, 'w')
  } catch {
    // A read-only file system, say. The next start takes as long as this one.
    return
  }
  try {
    const code = script.createCachedData()
    writeSync(fd, Buffer.concat([hashOf(source, code), code]))
    renameSync(beside, file)
  } catch {
    // The disk is full.
    rmSync(beside, { force: true })
  } finally {
    closeSync(fd)
  }
}

function hashOf(source, code) {
  return Buffer.concat([hash('sha1', source, 'buffer'), hash('sha1', code, 'buffer')])
}

module.exports = { loadWithCode }
