/**
 * Bundles src into dist, one file a thread. What runs is then plain JavaScript, which starts in a third of the time and a
 * third of the memory that stripping types at start takes, in every thread.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Script } from 'node:vm'
import { build, transform } from 'esbuild'
import { bundledPackages, thirdPartyText } from '../packaging/third-party.ts'

const root = fileURLToPath(new URL('..', import.meta.url))

const options = {
  absWorkingDir: root,
  outdir: 'dist',
  bundle: true,
  platform: 'node',
  target: 'node24',
  // Ships a binary of its own for each platform.
  external: ['koffi'],
  // Licences are in dist/THIRD-PARTY, whole.
  legalComments: 'none',
  metafile: true,
  minify: true,
  keepNames: true,
  logLevel: 'warning',
}

/**
 * To import a module of Node's is to read all that it has, and so to load what it would load when needed: for `node:http`
 * all of undici, 10 ms and 2 MB in every thread. Here only what is named is read.
 */
const builtins = {
  name: 'builtins',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: 'builtins', sideEffects: false }))
    onLoad({ filter: /^/, namespace: 'builtins' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path)).filter((name) => name !== 'default')
      const exported = names.map((name) => `export const ${name} = /* @__PURE__ */ (() => builtin.${name})()`)
      const builtin = `const builtin = process.getBuiltinModule(${JSON.stringify(path)})`
      return { contents: [builtin, ...exported].join('\n') }
    })
  },
}

/**
 * prom-client loads with itself what pushes metrics to a gateway and gathers those of a cluster, and these Node's TLS, zlib
 * and cluster: 50 ms of CPU and 2 MB for what is not used.
 */
const unused = {
  name: 'unused',
  setup({ onLoad }) {
    onLoad({ filter: /[\\/]prom-client[\\/]lib[\\/](?:pushgateway|cluster)\.js$/ }, () => ({ contents: '' }))
  },
}

rmSync(`${root}dist`, { recursive: true, force: true })
// The status page, with all that it needs: src/observe/status-page.ts fills it in.
const folder = `${root}src/observe/page/`
const pageScript = await build({
  absWorkingDir: root,
  entryPoints: [`${folder}page.ts`],
  bundle: true,
  write: false,
  minify: true,
  format: 'iife',
  target: 'es2023',
  logLevel: 'warning',
})
const style = await transform(readFileSync(`${folder}page.css`, 'utf8'), { loader: 'css', minify: true })
const parts = { script: pageScript.outputFiles[0].text.trim(), style: style.code.trim() }
const page = readFileSync(`${folder}page.html`, 'utf8').replace(/\{\{(script|style)\}\}/g, (_, part) => parts[part])
mkdirSync(`${root}dist`)
writeFileSync(`${root}dist/status-page.html`, page)
const streamWorker = await build({
  ...options,
  entryPoints: { 'stream-worker': 'src/stream/stream-worker.ts' },
  format: 'esm',
  plugins: [builtins],
})
// A function of `require` and its own address, which bin/data-thread.js calls.
const dataWorker = await build({
  ...options,
  entryPoints: { 'data-worker': 'src/worker/data-worker.ts' },
  format: 'iife',
  plugins: [builtins],
  charset: 'ascii',
  define: { 'import.meta.url': '__url' },
  banner: { js: '(function(require,__url){"use strict";' },
  footer: { js: '})' },
})
const dataWorkerFile = `${root}dist/data-worker.js`
const script = new Script(readFileSync(dataWorkerFile, 'latin1'), { filename: dataWorkerFile })
writeFileSync(`${dataWorkerFile}.code`, script.createCachedData())
// Scripts, whose code can be kept (see code-cache.js). Commands and table sources that are not used are not run. Last: the
// launcher takes them for the sign that all is there.
const scripts = await build({
  ...options,
  write: false,
  entryPoints: { health: 'src/health.ts', byname: 'src/main.ts' },
  outExtension: { '.js': '.cjs' },
  format: 'cjs',
  plugins: [unused],
  define: { 'import.meta.url': '__url' },
  banner: { js: "'use strict';const __url=require('node:url').pathToFileURL(__filename).href;" },
})

const packages = bundledPackages([streamWorker.metafile, dataWorker.metafile, scripts.metafile], root)
writeFileSync(`${root}dist/THIRD-PARTY`, thirdPartyText(packages))
writeFileSync(`${root}dist/bundled.json`, JSON.stringify(packages))
for (const { path, contents } of scripts.outputFiles) writeFileSync(path, contents)
