/**
 * Writes all that a host without npm needs to run byname into a folder: what the tarball, the Debian package and the image
 * are made of. It runs under any prefix, and on a read-only file system:
 *
 * ```
 *  bin/byname              launcher, with code-cache.js and data-thread.js
 *  dist/                   bundles; .cache and *.code: their compiled code
 *  node_modules/.bin/node  Node, without symbols
 *  node_modules/koffi      koffi's loader, and in @koromix its one binary
 *  lib/                    libatomic, for systems without it
 *  share/                  man page, completions for bash, zsh and fish
 *  config/, protos/, package.json, LICENSE, THIRD-PARTY, sbom.cdx.json
 * ```
 *
 * Usage: npm run stage -- --output DIR [--arch x64|arm64]
 */
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { COMMANDS } from '../src/main.ts'
import { bashCompletion, fishCompletion, manPage, zshCompletion } from './command-docs.ts'
import { keepCode } from './compiled-code.ts'
import { sbomText } from './sbom.ts'
import { type ForeignPackage, packageIn, thirdPartyText } from './third-party.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** What differs between processors: GNU's name for it. */
const GNU_NAMES: Readonly<Record<string, string>> = { x64: 'x86_64-linux-gnu', arm64: 'aarch64-linux-gnu' }

/** Files and folders of the checkout that are staged as they are. */
const OWN = ['bin/byname', 'bin/code-cache.js', 'bin/data-thread.js', 'bin/package.json', 'config', 'protos', 'LICENSE']

/**
 * Stages byname for a processor (`process.arch`'s names) in `output`, which must be empty or absent. The bundles must have
 * been built. Compiled code can only be made on the processor that it is for, and has other bytes each time: without
 * `keepsCode` the same sources give the same files.
 */
export async function stage(output: string, arch: string, keepsCode: boolean): Promise<void> {
  const gnuName = GNU_NAMES[arch]
  if (gnuName === undefined)
    throw new Error(`--arch ${arch}: byname is packed for ${Object.keys(GNU_NAMES).join(', ')}`)
  if (existsSync(output) && readdirSync(output).length > 0) throw new Error(`--output ${output}: is not empty`)
  const isNative = arch === process.arch
  const modules = isNative ? join(ROOT, 'node_modules') : installFor(arch)
  const copy = (from: string, to: string): void => {
    mkdirSync(dirname(join(output, to)), { recursive: true })
    cpSync(from, join(output, to), { recursive: true, dereference: true, filter: (path) => !/\/\.[^/]*$/.test(path) })
  }

  const isStaged = isNative && keepsCode ? /\.(?:c?js|html|code)$/ : /\.(?:c?js|html)$/
  const bundles = readdirSync(join(ROOT, 'dist')).filter((name) => isStaged.test(name))
  for (const path of [...OWN, ...bundles.map((name) => `dist/${name}`)]) copy(join(ROOT, path), path)
  // Without dependencies: npm installs the tarball as it is.
  const { name, version, description, license, type, bin } = JSON.parse(
    readFileSync(join(ROOT, 'package.json'), 'utf8'),
  )
  const manifest = { name, version, description, license, type, bin, os: ['linux'], cpu: [arch] }
  writeFileSync(join(output, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`)

  const koffiBinary = `@koromix/koffi-linux-${arch}`
  const binary = `linux_${arch}/koffi.node`
  for (const file of ['package.json', 'index.cjs', 'src/koffi/index.cjs', 'src/koffi/src/static.cjs']) {
    copy(join(modules, 'koffi', file), `node_modules/koffi/${file}`)
  }
  for (const file of ['package.json', 'index.js', binary]) {
    copy(join(modules, koffiBinary, file), `node_modules/${koffiBinary}/${file}`)
  }

  const node = join(output, 'node_modules/.bin/node')
  mkdirSync(dirname(node))
  copyFileSync(join(modules, `node-linux-${arch}/bin/node`), node)
  command(isNative ? 'strip' : `${gnuName}-strip`, [node])
  copy(libatomicFor(gnuName), 'lib/libatomic.so.1')

  const foreign = [packageIn(join(modules, `node-linux-${arch}`)), packageIn(join(modules, 'koffi'))]
  const bundled: ForeignPackage[] = JSON.parse(readFileSync(join(ROOT, 'dist/bundled.json'), 'utf8'))
  writeFileSync(join(output, 'THIRD-PARTY'), thirdPartyText([...bundled, ...foreign, libatomic()]))
  const parts = [...bundled, ...foreign, { name: koffiBinary, version: foreign[1]!.version }]
  writeFileSync(join(output, 'sbom.cdx.json'), sbomText(ROOT, parts))

  const commands = await Promise.all([...COMMANDS.values()].map(async (load) => await load()))
  const share = {
    'man/man1/byname.1': await manPage(commands, version),
    'bash-completion/completions/byname': bashCompletion(commands),
    'zsh/site-functions/_byname': zshCompletion(commands),
    'fish/vendor_completions.d/byname.fish': fishCompletion(commands),
  }
  for (const [path, text] of Object.entries(share)) {
    mkdirSync(dirname(join(output, 'share', path)), { recursive: true })
    writeFileSync(join(output, 'share', path), text)
  }

  // Read by whoever runs it, whatever the umask here.
  setModes(output)
  if (isNative && keepsCode) await keepCode(output)
  setModes(output)
  if (!isNative) rmSync(dirname(modules), { recursive: true })
}

/** Installs what the lock file says for another processor, in a folder of its own. Returns its node_modules. */
function installFor(arch: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'byname-modules-'))
  for (const file of ['package.json', 'package-lock.json']) copyFileSync(join(ROOT, file), join(folder, file))
  const options = [
    '--omit=dev',
    '--ignore-scripts',
    '--os=linux',
    `--cpu=${arch}`,
    '--libc=glibc',
    '--no-audit',
    '--no-fund',
  ]
  command('npm', ['ci', '--silent', ...options], folder)
  return join(folder, 'node_modules')
}

function libatomicFor(gnuName: string): string {
  const places = [`/usr/lib/${gnuName}`, `/usr/${gnuName}/lib`, '/usr/lib64']
  const found = places.map((place) => join(place, 'libatomic.so.1')).find((file) => existsSync(file))
  if (found !== undefined) return found
  throw new Error(
    `libatomic.so.1 is not in ${places.join(', ')}: install libatomic1, or for another processor its -cross package`,
  )
}

function libatomic(): ForeignPackage {
  const file = '/usr/share/doc/libatomic1/copyright'
  const license = 'GPL-3.0-or-later WITH GCC-exception-3.1'
  return { name: 'libatomic', version: 'of GCC', license, text: readFileSync(file, 'utf8').trim() }
}

function setModes(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true })) {
    const isProgram = entry.isDirectory() || entry.name === 'node' || entry.name === 'byname'
    chmodSync(join(entry.parentPath, entry.name), isProgram ? 0o755 : 0o644)
  }
}

function command(program: string, args: readonly string[], cwd: string = ROOT): void {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ['ignore', 'ignore', 'inherit'] })
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? `exit status ${status}`}`)
}

/** Bytes of each folder or file at the top, the largest first. */
function sizes(folder: string): [string, number][] {
  const sizeOf = (path: string): number => {
    const stat = statSync(path)
    return stat.isDirectory() ? readdirSync(path).reduce((sum, name) => sum + sizeOf(join(path, name)), 0) : stat.size
  }
  const entries = readdirSync(folder).map((name): [string, number] => [name, sizeOf(join(folder, name))])
  return entries.toSorted(([, a], [, b]) => b - a)
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { output: { type: 'string' }, arch: { type: 'string' } } })
  if (values.output === undefined) throw new Error('usage: npm run stage -- --output DIR [--arch x64|arm64]')
  const output = resolve(process.env['INIT_CWD'] ?? '.', values.output)
  await stage(output, values.arch ?? process.arch, true)
  const all = sizes(output)
  const lines = [...all, ['in all', all.reduce((sum, [, bytes]) => sum + bytes, 0)] as const]
  for (const [name, bytes] of lines)
    process.stdout.write(`${name.padEnd(14)} ${(bytes / 1e6).toFixed(2).padStart(7)} MB\n`)
}
