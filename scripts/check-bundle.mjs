/**
 * What a browser app loads when it opens the core and sync-client doors: how big it is, and that nothing of the
 * server, of native code or of Node is in it.
 */
import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'

/**
 * A ratchet: never more than today. The goal is 45,000; socket.io-client alone takes 13,000. What only servers do in a link
 * (admission, hosting, relaying, sending snapshots) is not in it: see `core/link-part.ts`.
 */
const GZIP_BYTES_MAX = 77_200
const BIGGEST_SHOWN = 12

/** Everything that may be in the bundle, by name: a new dependency of the client is a decision, not an accident. */
const ALLOWED = [
  /^core\/(?!stores\/)/,
  /^sync-client\//,
  /^node_modules\/(socket\.io-client|engine\.io-client|socket\.io-parser|engine\.io-parser|@socket\.io\/component-emitter)\//,
  /^node_modules\/uuid\//,
]

const result = await build({
  stdin: {
    contents: `
      import * as core from './core/index.ts'
      import * as syncClient from './sync-client/index.ts'
      export { core, syncClient }`,
    resolveDir: process.cwd(),
    sourcefile: 'bundle-entry.js',
  },
  bundle: true,
  minify: true,
  format: 'esm',
  platform: 'browser',
  target: 'es2022',
  metafile: true,
  write: false,
  logLevel: 'error',
})

const bytes = result.outputFiles.map((file) => file.contents)
const gzipBytes = bytes.reduce((sum, contents) => sum + gzipSync(contents, { level: 9 }).length, 0)
const minifiedBytes = bytes.reduce((sum, contents) => sum + contents.length, 0)

const bytesByInput = new Map(
  Object.values(result.metafile.outputs).flatMap((output) =>
    Object.entries(output.inputs).map(([path, input]) => [path, input.bytesInOutput]),
  ),
)
const biggest = [...bytesByInput].sort((a, b) => b[1] - a[1]).slice(0, BIGGEST_SHOWN)
console.log('biggest inputs, minified bytes:')
for (const [path, size] of biggest) console.log(`${String(size).padStart(8)}  ${path}`)
console.log(`bundle: ${minifiedBytes} bytes minified, ${gzipBytes} bytes gzip (limit ${GZIP_BYTES_MAX})`)

// Inputs, not outputs: a server module that happens to be shaken out today is still one import away.
const intruders = Object.keys(result.metafile.inputs).filter(
  (path) => path !== 'bundle-entry.js' && !ALLOWED.some((allowed) => allowed.test(path)),
)
for (const path of intruders) console.error(`not allowed in the bundle: ${path}`)
if (gzipBytes > GZIP_BYTES_MAX) console.error(`too big by ${gzipBytes - GZIP_BYTES_MAX} bytes gzip`)
process.exitCode = intruders.length > 0 || gzipBytes > GZIP_BYTES_MAX ? 1 : 0
