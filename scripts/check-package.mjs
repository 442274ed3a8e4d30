/**
 * The package as an app gets it: packed, unpacked beside nothing but what it depends on, compiled against with every
 * declaration checked, and run. What works only because the development tools are installed fails here.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'

const root = resolve(import.meta.dirname, '..')
const app = mkdtempSync(join(tmpdir(), 'tidemark-app-'))

/** What an app for Node brings itself: types of Node, and the peer that `tidemark/testing` asks for. */
const OF_THE_APP = ['@types/node', 'undici-types', 'fast-check', 'pure-rand']

const BROWSER_APP = `
import { openReplica, table } from 'tidemark/core'
import { openIndexedDbStore } from 'tidemark/stores/indexeddb'
import { connect } from 'tidemark/sync-client'

type Note = { id: string; title: string }
export async function start(url: string): Promise<readonly Note[]> {
  const store = await openIndexedDbStore('notes')
  const replica = await openReplica({ tenant: 'acme', store, tables: { notes: table<Note>() } })
  connect(replica, { url, token: 'a token' })
  const notes: Note[] = []
  for await (const note of replica.table('notes').scan()) notes.push(note)
  return notes
}
`
const DOORS_APP = `
import { lastWriteWins } from 'tidemark/core'
import { openLmdbStore } from 'tidemark/stores/lmdb'
import { type Plan } from 'tidemark/tenant'
import { checkPolicy } from 'tidemark/testing'

export const plan: Plan | undefined = undefined
if (typeof openLmdbStore !== 'function' || typeof checkPolicy !== 'function') throw new Error('a door is empty')
console.log(lastWriteWins().name)
`

try {
  unpack()
  writeFileSync(join(app, 'package.json'), '{ "name": "app", "private": true, "type": "module" }')
  writeFileSync(join(app, 'quickstart.ts'), readFileSync(join(root, 'examples/quickstart.ts')))
  writeFileSync(join(app, 'doors.ts'), DOORS_APP)
  mkdirSync(join(app, 'browser'))
  writeFileSync(join(app, 'browser/app.ts'), BROWSER_APP)
  compile('quickstart.ts doors.ts', '--module nodenext --lib es2023 --types node --outDir out')
  compile('browser/app.ts', '--module esnext --moduleResolution bundler --lib es2023,dom --types --noEmit')
  expectOutput(run(process.execPath, ['out/quickstart.js']), /update-update of n1/)
  expectOutput(run(process.execPath, ['out/doors.js']), /lastWriteWins/)
  expectOutput(run(process.execPath, [join(app, 'node_modules/tidemark/dist/sync-server/cli.js'), '--help']), /serve/)
  console.log('the packed package compiles and runs in an app for Node, and compiles in one for browsers')
} finally {
  rmSync(app, { recursive: true, force: true })
}

function unpack() {
  const [{ filename }] = JSON.parse(run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', app], root))
  mkdirSync(join(app, 'node_modules/tidemark'), { recursive: true })
  run('tar', ['-xzf', filename, '--strip-components=1', '-C', 'node_modules/tidemark'])
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
  const shipped = Object.entries(packages)
    .filter(([path, { dev, devOptional, optional }]) => path !== '' && !dev && !devOptional && !optional)
    .map(([path]) => path.replace(/^node_modules\//, ''))
  for (const name of new Set([...shipped, ...OF_THE_APP])) {
    if (name.includes('/node_modules/')) continue
    const target = join(app, 'node_modules', name)
    mkdirSync(dirname(target), { recursive: true })
    // Symbolic links would be followed back to where the development tools are.
    symlinkSync(join(root, 'node_modules', name), target, 'junction')
  }
}

/**
 * @param {string} files
 * @param {string} options
 */
function compile(files, options) {
  const always = '--strict --target es2023 --skipLibCheck false --preserveSymlinks --pretty false'
  run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...`${files} ${always} ${options}`.split(' ')])
}

/**
 * @param {string} command
 * @param {string[]} args
 * @param {string} cwd
 * @returns {string}
 */
function run(command, args, cwd = app) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: 'utf8',
    shell: command === 'npm' && process.platform === 'win32',
  })
  if (status === 0) return stdout
  throw new Error(`${command} ${args.join(' ')} failed:\n${stdout}${stderr}`)
}

/**
 * @param {string} output
 * @param {RegExp} expected
 */
function expectOutput(output, expected) {
  if (!expected.test(output)) throw new Error(`expected ${expected} in:\n${output}`)
}
