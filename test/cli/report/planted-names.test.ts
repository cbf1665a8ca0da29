/** A daemon and a machine full of names: none of them is in its anonymised report. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DaemonProcess } from '../../daemon/daemon-process.ts'
import { byname } from '../byname-process.ts'
import { readArchive } from './read-archive.ts'

const NAMES = [
  'zebrafish',
  'quokkashop',
  'wombatpay',
  'numbatcorp',
  'echidna',
  'platypus',
  'koalabank',
  'bilbyhost',
  'dingo-team',
]
const ADDRESSES = ['10.77.1.7', '10.77.1.8', 'fd77:1::7', 'fe80::77:53', 'fe80::77:54', '240.77.0.9']

const folder = mkdtempSync(join(tmpdir(), 'byname-names-'))
let daemon: DaemonProcess
let files: Map<string, string>
let error = ''

beforeAll(async () => {
  const table = join(folder, 'table.json')
  writeFileSync(
    table,
    JSON.stringify({
      table: {
        'zebrafish.quokkashop.svc.cluster.local': {
          ips: ['10.77.1.7', 'fd77:1::7'],
          registry: 'Kubernetes',
          namespace: 'quokkashop',
          shortname: 'zebrafish',
        },
        'ledger.koalabank.example': { ips: ['240.77.0.9'], registry: 'External', namespace: 'wombatpay' },
        'bad_Name..echidna': { ips: ['10.77.1.8'], registry: 'Kubernetes', namespace: 'quokkashop' },
      },
    }),
  )
  daemon = await DaemonProcess.start({
    config: {
      mesh: { source: { table } },
      identity: {
        namespace: 'quokkashop',
        pod: 'zebrafish-v1-7d4f9c',
        serviceAccount: 'platypus',
        ip: '10.77.1.8',
        labels: { team: 'dingo-team' },
      },
      upstream: { routes: [{ domains: ['intra.numbatcorp'], servers: ['fe80::77:54%lo'] }] },
    },
    resolvConf: 'search quokkashop.svc.cluster.local bilbyhost\nnameserver fe80::77:53%lo\noptions ndots:5\n',
  })
  const { address, port } = daemon.at()
  const at = (endpoint: string): string => {
    const line = daemon.lines.find(({ msg }) => msg === `${endpoint} endpoint is listening`)!
    return `${String(line['address'])}:${String(line['port'])}`
  }
  await daemon.line('metrics endpoint is listening')
  await daemon.line('admin endpoint is listening')
  const server = `${address}:${port}`
  await Promise.all(
    ['zebrafish', 'ledger.koalabank.example', 'www.numbatcorp', 'echidna.intra.numbatcorp'].map((name) =>
      byname(['query', name, '--server', server, '--timeout', '6']),
    ),
  )
  const path = join(folder, 'report.tar.gz')
  const args = ['bug-report', '--anonymise', '--output', path, '--admin', at('admin'), '--metrics', at('metrics')]
  const ended = await byname(args)
  error = ended.err
  files = readArchive(readFileSync(path))
})
afterAll(async () => {
  await daemon.stop()
  rmSync(folder, { recursive: true, force: true })
})

test.each([...NAMES, ...ADDRESSES])('%s is nowhere in the archive', (name) => {
  for (const [file, text] of files) {
    const at = text.toLowerCase().indexOf(name.toLowerCase())
    expect(at < 0 ? '' : `${file}: ${text.slice(Math.max(0, at - 100), at + 60)}`).toBe('')
    expect(text).not.toContain(Buffer.from(name).toString('base64').replace(/=+$/, ''))
  }
})

test('the name of the machine is no more', () => {
  expect(files.get('machine/system.json')).toContain('"host": "n-')
  expect(files.get('machine/system.json')).not.toContain(`"${hostname()}"`)
})

test('the report still reads: findings, links, figures', () => {
  expect(files.has('daemon/status.json'), error).toBe(true)
  const findings = files.get('findings.json')!
  expect(findings).toMatch(/the resolver \[ip6-[0-9a-f]{10}%lo\]:53 /)
  expect(files.get('index.html')).toContain('Names and addresses are replaced')
  expect(files.get('daemon/metrics.txt')).toMatch(/^byname_dns_requests_total\{proto="udp",family="4",type="A"\} \d+$/m)
  expect(files.get('network/resolv.conf')).toMatch(
    /^search n-\w+\.svc\.cluster\.local n-\w+\nnameserver ip6-\w+%lo\noptions ndots:5\n$/,
  )
  const status: { table: { hosts: number } } = JSON.parse(files.get('daemon/status.json')!)
  expect(status.table.hosts).toBe(2)
  expect(Object.keys(JSON.parse(files.get('daemon/configuration.json')!))).toContain('maxUdpPayload')
})
