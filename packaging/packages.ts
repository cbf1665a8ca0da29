/**
 * Makes the Debian package and the tarball of one processor, the same bytes from the same sources.
 *
 * Usage: npm run packages -- --output DIR [--arch x64|arm64]
 */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { createHash } from 'node:crypto'
import { tmpdir } from 'node:os'
import { dirname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { gzipSync } from 'node:zlib'
import { version } from '../src/version.ts'
import { stage } from './stage.ts'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const DEBIAN = join(ROOT, 'packaging/debian')
const REVISION = `${version}-1`
const MAINTAINER = 'byname maintainers <maintainers@byname.dev>'
const DEBIAN_ARCHITECTURES: Readonly<Record<string, string>> = { x64: 'amd64', arm64: 'arm64' }

/** Where Debian has what the tarball has below share, and beside it. */
const DEBIAN_PLACES: Readonly<Record<string, string>> = {
  'share/man/man1/byname.1': 'usr/share/man/man1/byname.1',
  'share/bash-completion/completions/byname': 'usr/share/bash-completion/completions/byname',
  'share/zsh/site-functions/_byname': 'usr/share/zsh/vendor-completions/_byname',
  'share/fish/vendor_completions.d/byname.fish': 'usr/share/fish/vendor_completions.d/byname.fish',
  'sbom.cdx.json': 'usr/share/doc/byname/sbom.cdx.json',
  'THIRD-PARTY': 'usr/share/doc/byname/THIRD-PARTY',
}

/** In Debian's form (DEP 5). */
const COPYRIGHT = `Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: byname
Comment: The work of others that is in the package (Node.js, koffi, and what is
 bundled in /usr/lib/byname/dist) is listed with its licences in
 /usr/share/doc/byname/THIRD-PARTY.gz, and as CycloneDX in sbom.cdx.json.gz.

Files: *
Copyright: 2026 the authors of byname
License: Apache-2.0
 The whole text is in /usr/share/common-licenses/Apache-2.0.
`

/** What lintian says of every package that brings its own Node. */
const LINTIAN_OVERRIDES = `# Node.js as its own makers link it: Debian's is older than byname needs.
byname: embedded-library *
byname: hardening-no-pie *
# A signal to the running service, which deb-systemd-invoke cannot send: the new version takes over the sockets.
byname: maintainer-script-calls-systemctl *
# It is no part of Debian, where somebody would have asked for it.
byname: initial-upload-closes-no-bugs *
`

/** Makes `byname_VERSION_ARCH.deb` and `byname-VERSION-linux-ARCH.tar.gz` in `output`. `epoch`: seconds since 1970. */
async function makePackages(output: string, arch: string, epoch: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'byname-packages-'))
  const name = `byname-${version}-linux-${arch}`
  const staged = join(scratch, name)
  try {
    await stage(staged, arch, false)
    mkdirSync(output, { recursive: true })
    tarball(staged, join(output, `${name}.tar.gz`), epoch)
    const root = join(scratch, 'root')
    debianRoot(staged, root, DEBIAN_ARCHITECTURES[arch]!, epoch)
    const file = join(output, `byname_${REVISION}_${DEBIAN_ARCHITECTURES[arch]}.deb`)
    const options = ['--root-owner-group', '-Zxz', '-z1', '--threads-max=1']
    execFileSync('dpkg-deb', [...options, '--build', root, file], {
      env: { ...process.env, SOURCE_DATE_EPOCH: epoch },
      stdio: ['ignore', 'ignore', 'inherit'],
    })
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

/** Sorted, of one time, of root: nothing of the machine that packs gets in. */
function tarball(folder: string, file: string, epoch: string): void {
  const options = ['--sort=name', `--mtime=@${epoch}`, '--owner=0', '--group=0', '--numeric-owner', '--format=ustar']
  const tar = execFileSync('tar', [...options, '-c', '-C', dirname(folder), relative(dirname(folder), folder)], {
    maxBuffer: 1024 * 1024 * 1024,
  })
  writeFileSync(file, gzipSync(tar))
}

/** Moves what is staged to where Debian has it, and adds what belongs to the system. */
function debianRoot(staged: string, root: string, architecture: string, epoch: string): void {
  const put = (path: string, content: string | Buffer, mode = 0o644): void => {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), content)
    chmodSync(join(root, path), mode)
  }
  for (const [from, to] of Object.entries(DEBIAN_PLACES)) {
    const content = readFileSync(join(staged, from))
    const isCompressed = to.startsWith('usr/share/man') || to.startsWith('usr/share/doc')
    put(isCompressed ? `${to}.gz` : to, isCompressed ? gzipSync(content, { level: 9 }) : content)
  }
  const examples = 'usr/share/doc/byname/examples'
  for (const path of filesBelow(join(staged, 'config/systemd/drop-ins'))) {
    put(`${examples}/${path}`, readFileSync(join(staged, 'config/systemd/drop-ins', path)))
  }
  // Debian's libatomic is used, by a dependency.
  for (const path of ['lib', 'share', 'config/systemd', 'sbom.cdx.json', 'LICENSE', 'THIRD-PARTY']) {
    rmSync(join(staged, path), { recursive: true })
  }
  mkdirSync(join(root, 'usr/lib'), { recursive: true })
  renameSync(staged, join(root, 'usr/lib/byname'))
  mkdirSync(join(root, 'usr/bin'))
  symlinkSync('../lib/byname/bin/byname', join(root, 'usr/bin/byname'))

  put('usr/share/doc/byname/copyright', COPYRIGHT)
  put('usr/share/doc/byname/changelog.Debian.gz', gzipSync(debianChangelog(epoch), { level: 9 }))
  put('usr/share/doc/byname/changelog.gz', gzipSync(readFileSync(join(ROOT, 'CHANGELOG.md')), { level: 9 }))
  put('usr/share/lintian/overrides/byname', LINTIAN_OVERRIDES)
  put('etc/byname/byname.yaml', readFileSync(join(DEBIAN, 'byname.yaml')))
  const systemd = join(ROOT, 'config/systemd')
  put('usr/lib/sysusers.d/byname.conf', readFileSync(join(systemd, 'byname.sysusers.conf')))
  for (const unit of ['byname.service', 'byname.socket']) {
    put(`usr/lib/systemd/system/${unit}`, readFileSync(join(systemd, unit)))
  }

  const files = filesBelow(root)
  const kibibytes = files.reduce((sum, path) => sum + Math.ceil(statSync(join(root, path)).size / 1024), 0)
  const sums = files.map(
    (path) =>
      `${createHash('md5')
        .update(readFileSync(join(root, path)))
        .digest('hex')}  ${path}\n`,
  )
  put('DEBIAN/md5sums', sums.filter((line) => !line.includes('  etc/')).join(''))
  put('DEBIAN/conffiles', '/etc/byname/byname.yaml\n')
  put('DEBIAN/control', control(architecture, kibibytes))
  for (const script of ['postinst', 'prerm', 'postrm'])
    put(`DEBIAN/${script}`, readFileSync(join(DEBIAN, script)), 0o755)
  setModes(root)
}

function control(architecture: string, kibibytes: number): string {
  return `Package: byname
Version: ${REVISION}
Architecture: ${architecture}
Maintainer: ${MAINTAINER}
Installed-Size: ${kibibytes}
Depends: libatomic1, libc6 (>= 2.28), libgcc-s1, libstdc++6 (>= 8), systemd | systemd-standalone-sysusers | systemd-sysusers
Recommends: ca-certificates, nftables | iptables
Section: net
Priority: optional
Description: DNS proxy for one workload in a service mesh
 byname answers mesh names from the name table that the control plane (istiod)
 pushes. It forwards all other names to the machine's resolvers and caches their
 answers.
 .
 The service listens on port 15053 of loopback. Nothing is redirected to it
 until "byname capture apply" is run.
`
}

function debianChangelog(epoch: string): string {
  const date = new Date(Number(epoch) * 1000).toUTCString().replace('GMT', '+0000')
  return `byname (${REVISION}) unstable; urgency=medium

  * Version ${version}: changelog.gz has what changed.

 -- ${MAINTAINER}  ${date}
`
}

function filesBelow(folder: string): string[] {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const files = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
  return files.toSorted()
}

/** Folders for all; the files have theirs. */
function setModes(folder: string): void {
  chmodSync(folder, 0o755)
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isDirectory()) chmodSync(join(entry.parentPath, entry.name), 0o755)
  }
}

const { values } = parseArgs({ options: { output: { type: 'string' }, arch: { type: 'string' } } })
if (values.output === undefined) throw new Error('usage: npm run packages -- --output DIR [--arch x64|arm64]')
const lastCommit = ['log', '-1', '--format=%ct']
const epoch =
  process.env['SOURCE_DATE_EPOCH'] ?? execFileSync('git', lastCommit, { cwd: ROOT, encoding: 'utf8' }).trim()
const output = resolve(process.env['INIT_CWD'] ?? '.', values.output)
await makePackages(output, values.arch ?? process.arch, epoch)
for (const name of readdirSync(output).toSorted()) {
  process.stdout.write(`${name} ${(statSync(join(output, name)).size / 1e6).toFixed(2)} MB\n`)
}
