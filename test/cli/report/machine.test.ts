/** What is read of /proc and /sys, from files as kernels write them. */
import { describe, expect, test } from 'vitest'
import { readCgroup } from '../../../src/cli/report/cgroup.ts'
import type { Host } from '../../../src/cli/report/host.ts'
import { findProcesses } from '../../../src/cli/report/processes.ts'
import { readSockets } from '../../../src/cli/report/sockets.ts'

function hostOf(files: Record<string, string>, links: Record<string, string> = {}): Host {
  return {
    read: (path) => (files[path] === undefined ? { reason: 'no such file' } : { text: files[path] }),
    list: (path) => [
      ...new Set(
        Object.keys(files).flatMap((file) =>
          file.startsWith(`${path}/`) ? [file.slice(path.length + 1).split('/')[0]!] : [],
        ),
      ),
    ],
    link: (path) => links[path] ?? null,
    run: () => Promise.resolve({ reason: 'no programs' }),
  }
}

describe('a control group', () => {
  test('of version 2', () => {
    const host = hostOf({
      '/proc/7/cgroup': '0::/kubepods/pod1\n',
      '/sys/fs/cgroup/kubepods/pod1/memory.max': '134217728\n',
      '/sys/fs/cgroup/kubepods/pod1/memory.current': '120000000\n',
      '/sys/fs/cgroup/kubepods/pod1/memory.events': 'low 0\noom 3\noom_kill 2\n',
      '/sys/fs/cgroup/kubepods/pod1/cpu.max': '20000 100000\n',
      '/sys/fs/cgroup/kubepods/pod1/cpu.stat':
        'usage_usec 5\nnr_periods 100\nnr_throttled 40\nthrottled_usec 2500000\n',
      '/sys/fs/cgroup/kubepods/pod1/pids.max': 'max\n',
    })
    expect(readCgroup(host, 7)).toMatchObject({
      version: 2,
      path: '/kubepods/pod1',
      memory: { limitBytes: 134_217_728, bytes: 120_000_000, kills: 2, peakBytes: null },
      cpu: { limit: 0.2, periods: 100, throttledPeriods: 40, throttledSeconds: 2.5 },
      processes: { limit: null },
    })
  })

  test('of version 2 in a container, whose folder is mounted at the top', () => {
    const host = hostOf({
      '/proc/self/cgroup': '0::/../../pod1\n',
      '/sys/fs/cgroup/memory.max': 'max\n',
      '/sys/fs/cgroup/cpu.max': 'max 100000\n',
    })
    expect(readCgroup(host, 'self')).toMatchObject({ version: 2, memory: { limitBytes: null }, cpu: { limit: null } })
  })

  test('of version 1', () => {
    const host = hostOf({
      '/proc/7/cgroup': '4:memory:/docker/1\n3:cpu,cpuacct:/docker/1\n2:pids:/docker/1\n0::/\n',
      '/sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes': '134217728\n',
      '/sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes': '5\n',
      '/sys/fs/cgroup/memory/docker/1/memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
      '/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_quota_us': '50000\n',
      '/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.cfs_period_us': '100000\n',
      '/sys/fs/cgroup/cpu,cpuacct/docker/1/cpu.stat': 'nr_periods 10\nnr_throttled 1\nthrottled_time 3000000000\n',
    })
    expect(readCgroup(host, 7)).toMatchObject({
      version: 1,
      memory: { limitBytes: 134_217_728, bytes: 5, kills: 1 },
      cpu: { limit: 0.5, periods: 10, throttledPeriods: 1, throttledSeconds: 3 },
    })
  })

  test('of version 1 without limits, in a container', () => {
    const host = hostOf({
      '/proc/7/cgroup': '4:memory:/docker/1\n',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712\n',
      '/sys/fs/cgroup/cpu/cpu.cfs_quota_us': '-1\n',
    })
    expect(readCgroup(host, 7)).toMatchObject({ version: 1, memory: { limitBytes: null }, cpu: { limit: null } })
  })

  test('that is not to be seen', () => {
    expect(readCgroup(hostOf({}), 'self')).toBeNull()
  })
})

describe('sockets', () => {
  const udp = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 0100007F:3ACD 00000000:0000 07 00000000:00000A00 00:00000000 00000000  1337        0 4711 2 0000000000000000 12
  101: 0100007F:1F90 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
`
  const tcp6 = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000001000000:3ACD 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000  1337        0 4713 1 0000000000000000 100 0 0 10 0
`

  test('of the ports asked for are read, with what waits in them', () => {
    const host = hostOf({ '/proc/self/net/udp': udp, '/proc/self/net/tcp6': tcp6 })
    expect(readSockets(host, new Set([53, 15_053]))).toEqual({
      left: 0,
      rows: [
        {
          protocol: 'udp',
          local: '127.0.0.1:15053',
          remote: '0.0.0.0:0',
          state: 'CLOSE',
          receiveQueueBytes: 2560,
          sendQueueBytes: 0,
          uid: 1337,
          inode: '4711',
          drops: 12,
        },
        {
          protocol: 'tcp6',
          local: '[::1]:15053',
          remote: '[::]:0',
          state: 'LISTEN',
          receiveQueueBytes: 0,
          sendQueueBytes: 0,
          uid: 1337,
          inode: '4713',
          drops: null,
        },
      ],
    })
  })

  test('that cannot be read say so', () => {
    expect(() => readSockets(hostOf({}), new Set([53]))).toThrow('/proc/self/net has no tables of sockets')
  })
})

describe('processes', () => {
  const status =
    'Name:\tbyname\nState:\tT (stopped)\nUid:\t1337\t1337\t1337\t1337\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n'
  const files = {
    '/proc/7/cmdline': 'byname run --config /etc/byname/byname.yaml\0\0\0',
    '/proc/7/status': status,
    '/proc/7/limits':
      'Limit                     Soft Limit           Hard Limit           Units\nMax open files            1024                 4096                 files\n',
    '/proc/7/environ': 'BYNAME_WORKERS=2\0A=b=c\0',
    '/proc/7/fd/0': '',
    '/proc/7/task/7/stat': '7 (data) 0 (x) S 1 7 7 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 1 0',
    '/proc/8/cmdline': '/usr/bin/node\0--flag\0/opt/byname/bin/byname\0run\0',
    '/proc/9/cmdline': '/opt/byname/bin/byname\0status\0',
    '/proc/10/cmdline': 'vim\0byname\0run\0',
    '/proc/11/cmdline': 'byname run',
    '/proc/net/udp': '',
  }

  test('of byname that serve in this network namespace are found', () => {
    const links = { '/proc/self/ns/net': 'net:[1]', '/proc/7/ns/net': 'net:[1]', '/proc/11/ns/net': 'net:[2]' }
    const found = findProcesses(hostOf(files, links), 12)
    expect(found.map(({ pid }) => pid)).toEqual([7, 8])
    expect(found[0]).toEqual({
      pid: 7,
      state: 'T (stopped)',
      arguments: ['byname', 'run', '--config', '/etc/byname/byname.yaml'],
      environment: { BYNAME_WORKERS: '2', A: 'b=c' },
      uid: 1337,
      memoryBytes: 1_048_576,
      mostMemoryBytes: 2_097_152,
      openFiles: 1,
      openFilesLimit: 1024,
      threads: [{ id: 7, name: 'data) 0 (x', seconds: 2 }],
    })
  })
})
