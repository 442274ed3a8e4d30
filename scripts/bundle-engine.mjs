/**
 * One file of an entry point and all it imports, for measuring the engine with some of its modules replaced.
 *
 * Knows: how to bundle. Must never know: what is measured.
 */
import { build } from 'esbuild'

/**
 * @param {string} entry
 * @param {string} outfile
 * @param {{ readonly filter: RegExp, readonly path: string } | undefined} replaced imports that match lead to this file
 */
export async function bundleEngine(entry, outfile, replaced) {
  /** @type {import('esbuild').Plugin} */
  const replacing = {
    name: 'replacing',
    setup(bundle) {
      if (replaced !== undefined) bundle.onResolve({ filter: replaced.filter }, () => ({ path: replaced.path }))
    },
  }
  await build({
    entryPoints: [entry],
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    plugins: [replacing],
  })
}
