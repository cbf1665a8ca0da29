/**
 * The layers of src: what each folder may import of ours. Whatever is not listed is refused by the linter (oxlint.config.ts),
 * and ARCHITECTURE.md shows this table. A folder may be divided into rooms, one level deep, which see each other.
 */

/** A layer's rules. */
export interface Layer {
  /** Folders of src, or single files of them. */
  imports: readonly string[]
  /** Time, randomness, sockets and files are passed in: no `node:` module but its types. */
  isPure?: true
}

/** From the bottom up: a layer imports only what stands above it here. */
export const LAYERS: Readonly<Record<string, Layer>> = {
  base: { imports: [] },
  dns: { imports: [], isPure: true },
  stats: { imports: [], isPure: true },
  os: { imports: ['base', 'dns'] },
  rules: { imports: ['dns'], isPure: true },
  proto: { imports: [] },
  yaml: { imports: [] },
  http: { imports: ['base'] },
  capture: { imports: ['base', 'dns'] },
  istio: { imports: ['base', 'yaml'] },
  config: { imports: ['base', 'yaml', 'rules', 'dns', 'stats', 'istio'] },
  vm: { imports: ['config/resolv-conf.ts', 'base'] },
  table: { imports: ['dns'] },
  querylog: { imports: ['dns', 'stats', 'base'], isPure: true },
  engine: { imports: ['querylog', 'table', 'rules', 'dns', 'stats'], isPure: true },
  plugins: { imports: ['engine', 'dns', 'stats'], isPure: true },
  worker: { imports: ['engine', 'querylog', 'table', 'dns', 'stats', 'os', 'base'] },
  stream: {
    imports: ['engine/stream-port.ts', 'engine/stream-batch.ts', 'engine/settings.ts', 'dns', 'stats', 'base'],
  },
  xds: { imports: ['table', 'proto', 'base'] },
  credentials: { imports: ['xds/credentials.ts', 'xds/ads-stream.ts', 'proto', 'base'] },
  mesh: { imports: ['table', 'dns', 'proto', 'yaml', 'base'] },
  tables: { imports: ['xds', 'mesh', 'table', 'base'] },
  explain: { imports: ['engine/explain.ts', 'dns', 'stats', 'base'] },
  observe: { imports: ['explain', 'querylog', 'http', 'dns', 'stats', 'base'] },
  daemon: {
    imports: [
      'observe',
      'explain',
      'credentials',
      'tables',
      'mesh',
      'xds',
      'stream',
      'worker',
      'plugins',
      'engine',
      'querylog',
      'table',
      'rules',
      'config',
    ].concat(['http', 'proto', 'stats', 'os', 'dns', 'base', 'version.ts']),
  },
  cli: {
    imports: [
      'daemon',
      'capture',
      'vm',
      'istio',
      'observe',
      'explain',
      'mesh',
      'table/nds-decoder.ts',
      'config',
      'yaml',
      'stats',
      'dns',
      'base',
      'version.ts',
    ],
  },
}
