'use strict'
/**
 * Loads a bundle with the code that V8 made of it in an earlier run: a fifth of the time until the first answer went into
 * compiling. Node's own compile cache is made before anything has run, and so holds none of the functions that are compiled
 * when they are first called.
 *
 * A file of code is the hashes (SHA-1) of the bundle and of the code, then the code. Its name ends with a hash of V8's
 * version and flags: it takes no code of others. (v8.cachedDataVersionTag would add the features of the processor. The
 * code does not depend on them, and an image or a package runs on another machine than the one that made it.)
 */

const { hash } = require('node:crypto')
const { closeSync, fstatSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs')
const { createRequire } = require('node:module')
const { dirname } = require('node:path')
const vm = require('node:vm')

/** A service has started by then, and V8 has not dropped yet what ran only at the start. */
const STARTED_MS = 1000
const HASH_BYTES = 40
const WRITABLE_BY_OTHERS = 0o022

/**
 * The exports of `bundle`, a CommonJS module, run with the code in `${file}-…` if that is of this very bundle. Otherwise
 * the code is written there, when the process has ended well or, of a service, once it has started; where it cannot be, it
 * is not. `file` null: neither.
 */
function loadWithCode(bundle, file, isService) {
  const source = readFileSync(bundle)
  const codeFile = file === null ? null : `${file}-${engineTag()}`
  const known = codeFile === null ? null : readCode(codeFile, source)
  const script = new vm.Script(`(function (exports, require, module, __filename, __dirname) {${source.latin1Slice()}\n})`, {
    filename: bundle,
    ...(known === null ? {} : { cachedData: known }),
    importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })
  const module = { exports: {} }
  script.runInThisContext()(module.exports, createRequire(bundle), module, bundle, dirname(bundle))
  if (codeFile !== null && (known === null || script.cachedDataRejected)) {
    const write = (code) => code === 0 && writeCode(codeFile, source, script)
    if (isService) setTimeout(write, STARTED_MS, 0).unref()
    else process.once('exit', write)
  }
  return module.exports
}

/** Null if there is none, or none of this source: V8 takes any other of the same length for its own. */
function readCode(file, source) {
  let fd
  try {
    fd = openSync(file)
    const { mode, uid } = fstatSync(fd)
    // Code is run by whoever comes next, root perhaps.
    if ((uid !== 0 && uid !== process.geteuid?.()) || (mode & WRITABLE_BY_OTHERS) !== 0) return null
    const content = readFileSync(fd)
    const code = content.subarray(HASH_BYTES)
    return content.subarray(0, HASH_BYTES).equals(hashOf(source, code)) ? code : null
  } catch {
    return null
  } finally {
    if (fd !== undefined) closeSync(fd)
  }
}

/** Beside first, so that nobody reads half of it. A disk that is full or read-only costs the next start its time, no more. */
function writeCode(file, source, script) {
  const beside = `${file}.${process.pid}.tmp`
  try {
    mkdirSync(dirname(file), { recursive: true })
    // Before the code is made, which takes longer.
    writeFileSync(beside, '')
    const code = script.createCachedData()
    writeFileSync(beside, Buffer.concat([hashOf(source, code), code]), { mode: 0o644 })
    renameSync(beside, file)
  } catch {
    try {
      rmSync(beside, { force: true })
    } catch {
      // It became read-only meanwhile.
    }
  }
}

/** Eight hex digits for this Node's V8, processor family and flags. */
function engineTag() {
  const { execArgv, arch, versions, env } = process
  return hash('sha1', JSON.stringify([versions.node, versions.v8, arch, execArgv, env.NODE_OPTIONS ?? ''])).slice(0, 8)
}

function hashOf(source, code) {
  return Buffer.concat([hash('sha1', source, 'buffer'), hash('sha1', code, 'buffer')])
}

module.exports = { loadWithCode }
