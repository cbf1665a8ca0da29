/** Credentials as a kubelet mounts them: it swaps the folder behind ..data, and the running daemon takes what is new. */
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SecuredControlPlane } from '../credentials/secured-control-plane.ts'
import { TestAuthority } from '../credentials/test-authority.ts'
import { DaemonProcess } from './daemon-process.ts'

const authority = new TestAuthority('mesh root')
const other = new TestAuthority('other root')

/** A folder with root-cert.pem and token behind ..data. */
class Mount {
  readonly path: string = mkdtempSync(join(tmpdir(), 'byname-mount-'))
  #version = 0

  constructor(root: string, token: string) {
    this.swap(root, token)
    for (const name of ['root-cert.pem', 'token']) symlinkSync(`..data/${name}`, join(this.path, name))
  }

  swap(root: string, token: string): void {
    const version = `..v${++this.#version}`
    mkdirSync(join(this.path, version))
    writeFileSync(join(this.path, version, 'root-cert.pem'), root)
    writeFileSync(join(this.path, version, 'token'), token)
    symlinkSync(version, join(this.path, '..fresh'))
    renameSync(join(this.path, '..fresh'), join(this.path, '..data'))
  }
}

test('a root, then a token, that come with a swap are used at once, and the table stays', async () => {
  const plane = new SecuredControlPlane({ authority, tokens: ['first', 'second'] })
  const address = await plane.start()
  const mount = new Mount(other.root, 'refused')
  const daemon = await DaemonProcess.start({
    config: {
      mesh: {
        source: {
          xds: {
            address,
            tls: { rootCert: join(mount.path, 'root-cert.pem'), serverName: 'istiod.istio-system.svc' },
            token: join(mount.path, 'token'),
          },
        },
      },
    },
  })
  try {
    await expect.poll(async () => (await daemon.status()).xds?.away?.reason).toMatch(/unknown authority/)
    mount.swap(authority.root, 'refused')
    expect((await plane.streams.next()).authorization).toBe('Bearer refused')
    mount.swap(authority.root, 'first')
    await daemon.line('connected to the control plane')
    await expect.poll(async () => (await daemon.status()).table.version).toBe('v1')
    const authorizations = async (last: string): Promise<void> => {
      for (;;) if ((await plane.streams.next()).authorization === last) return
    }
    // A new root makes it connect anew, and with the token of then.
    mount.swap(`${other.root}${authority.root}`, 'second')
    await authorizations('Bearer second')
    await expect.poll(async () => (await daemon.status()).xds?.connected).toBe(true)
    const { table, ready } = await daemon.status()
    expect([ready, table.version]).toEqual([true, 'v1'])
    mount.swap(other.root, 'second')
    await expect.poll(async () => (await daemon.status()).xds?.away?.reason ?? '').toMatch(/unknown authority/)
    expect((await daemon.status()).table.version).toBe('v1')
  } finally {
    await daemon.stop()
    plane.stop()
    rmSync(mount.path, { recursive: true, force: true })
  }
})
