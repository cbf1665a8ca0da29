import { describe, expect, test } from 'vitest'
import { readVmEnvironment, type ReadFile } from '../../src/istio/vm-environment.ts'

const MACHINE = { hostName: 'vm-1.example.com', addresses: ['192.0.2.7', '2001:db8::7'] }

function filesOf(files: Record<string, string>): ReadFile {
  return (path) => {
    const value = files[path]
    return value === undefined ? { problem: 'does not exist', isMissing: true } : { value }
  }
}

describe('a machine’s files become an environment', () => {
  test('those in one folder', () => {
    const read = filesOf({
      '/vm/cluster.env': "POD_NAMESPACE='shop'\nTRUST_DOMAIN='td'\nISTIO_META_NETWORK=''\n",
      '/vm/mesh.yaml': 'defaultConfig:\n  discoveryAddress: istiod.istio-system.svc:15012\n',
    })
    expect(readVmEnvironment('/vm', read, MACHINE)).toEqual({
      variables: {
        POD_NAMESPACE: 'shop',
        TRUST_DOMAIN: 'td',
        ISTIO_META_NETWORK: '',
        PROXY_CONFIG: '{"discoveryAddress":"istiod.istio-system.svc:15012"}',
        INSTANCE_IP: '192.0.2.7',
        POD_NAME: 'vm-1',
      },
      origins: {
        POD_NAMESPACE: '/vm/cluster.env',
        TRUST_DOMAIN: '/vm/cluster.env',
        ISTIO_META_NETWORK: '/vm/cluster.env',
        PROXY_CONFIG: '/vm/mesh.yaml',
        INSTANCE_IP: 'first address',
        POD_NAME: 'host name',
      },
      rootCerts: ['/vm/certs/root-cert.pem', '/vm/root-cert.pem'],
      token: '/vm/istio-token',
      hosts: '/vm/hosts',
      certificates: '/vm/certs',
      resolvConf: '',
      problems: [],
    })
  })

  test('those at Istio’s own places; cluster.env over sidecar.env', () => {
    const read = filesOf({
      '/var/lib/istio/envoy/sidecar.env': 'A=1\nB=1\n',
      '/var/lib/istio/envoy/cluster.env': "B='2'\nISTIO_SVC_IP='10.9.9.9'\n",
    })
    const vm = readVmEnvironment('/', read, MACHINE)
    expect(vm.variables).toEqual({
      A: '1',
      B: '2',
      ISTIO_SVC_IP: '10.9.9.9',
      INSTANCE_IP: '10.9.9.9',
      POD_NAME: 'vm-1',
    })
    expect(vm.origins['INSTANCE_IP']).toBe('ISTIO_SVC_IP in /var/lib/istio/envoy/cluster.env')
    expect(vm).toMatchObject({
      rootCerts: ['/etc/certs/root-cert.pem'],
      token: '/var/run/secrets/tokens/istio-token',
      hosts: '/etc/hosts',
      certificates: '/etc/certs',
    })
  })

  test('resolvers that were put aside are used', () => {
    const files = { '/var/lib/istio/envoy/cluster.env': '', '/var/lib/istio/resolv.conf': 'nameserver 192.0.2.53' }
    expect(readVmEnvironment('/', filesOf(files), MACHINE).resolvConf).toBe('/var/lib/istio/resolv.conf')
  })

  test('PROV_CERT and OUTPUT_CERTS move the certificates', () => {
    const read = filesOf({ '/vm/cluster.env': 'PROV_CERT=/p\nOUTPUT_CERTS=/o\n' })
    expect(readVmEnvironment('/vm', read, MACHINE)).toMatchObject({
      rootCerts: ['/p/root-cert.pem', '/vm/root-cert.pem'],
      certificates: '/o',
    })
  })
})

describe('what is wrong is one line with the file', () => {
  test.each([
    [
      {},
      ['/vm/cluster.env: does not exist; write it with "byname vm configure" or "istioctl x workload entry configure"'],
    ],
    [
      { '/vm/cluster.env': 'A=b c' },
      ['/vm/cluster.env:1: A: more follows after the value; put a value with spaces into single quotes'],
    ],
    [
      { '/vm/cluster.env': '', '/vm/mesh.yaml': '[1]' },
      ['/vm/mesh.yaml: must be a section with the key defaultConfig'],
    ],
    [
      { '/vm/cluster.env': '', '/vm/mesh.yaml': 'defaultConfig: 1' },
      ['/vm/mesh.yaml: defaultConfig: must be a section of keys'],
    ],
    [{ '/vm/cluster.env': '', '/vm/mesh.yaml': 'a: 1\n---\nb: 1' }, ['/vm/mesh.yaml: is more than one document']],
  ])('%j', (files, problems) => {
    expect(readVmEnvironment('/vm', filesOf(files), MACHINE).problems).toEqual(problems)
  })
})
