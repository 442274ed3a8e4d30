/**
 * The walls between the rooms: what each may import, what the compiler lets it see, and how its files look.
 *
 * Knows: the sources as text, and the compiler. Must never know: what any of the code does.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, posix } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

interface Room {
  /** Files of other rooms that may be imported. */
  readonly entrances: RegExp
  readonly packages: RegExp
}

const NOTHING = /^$/

const ROOMS: Readonly<Record<string, Room>> = {
  core: { entrances: NOTHING, packages: /^(uuid|@standard-schema\/spec)$/ },
  'core/stores': { entrances: /^core\/(store|errors)\.ts$/, packages: /^(lmdb|node:.+)$/ },
  tenant: { entrances: /^core\/(index|server-door)\.ts$/, packages: NOTHING },
  'sync-client': { entrances: /^core\/index\.ts$/, packages: /^socket\.io-client$/ },
  'sync-server': {
    entrances: /^(core\/index|core\/server-door|core\/stores\/[^/]+|tenant\/index|sync-client\/index)\.ts$/,
    packages: /^(?!tidemark\/)/,
  },
}

describe.each(Object.entries(ROOMS))('%s', (name, room) => {
  const files = sourceFiles(name).filter((file) => roomOf(file) === name)

  test('imports only what its wall lets through', () => {
    expect(files).not.toEqual([])
    const breaches = files.flatMap((file) =>
      importsOf(file)
        .filter((specifier) => !isAllowed(file, specifier, room))
        .map((specifier) => `${file} imports ${specifier}`),
    )
    expect(breaches).toEqual([])
  })
})

test('of the server only a relay’s upstream is reached as a client reaches its server', () => {
  const callers = sourceFiles('sync-server').filter((file) =>
    importsOf(file).some((specifier) => specifier.includes('sync-client')),
  )
  expect(callers).toEqual(['sync-server/upstream.ts'])
})

describe('a source file', () => {
  const files = ['core', 'tenant', 'sync-client', 'sync-server', 'test'].flatMap(sourceFiles)

  test('has a name in kebab-case that says what it is about', () => {
    expect(files.filter((file) => !/^[a-z0-9]+([-.][a-z0-9]+)*\.ts$/.test(basename(file)))).toEqual([])
    expect(files.filter((file) => /^(utils?|helpers?|common|types)\b/.test(basename(file)))).toEqual([])
  })

  test('begins with a comment that says what it knows', () => {
    expect(files.filter((file) => !/^(#!.*\n\s*)?\/\*\*/.test(read(file)))).toEqual([])
  })

  test('has no `any`', () => {
    expect(files.filter((file) => /(?<![.\w])any\b(?![\\:(])/.test(codeOf(file, { strings: false })))).toEqual([])
  })
})

// The visible half proves that the probe can pass, so that the hidden half means something.
test.each([
  ['core', 'TextEncoder TextDecoder crypto performance queueMicrotask', 'process Buffer setTimeout console document'],
  ['tenant', 'TextEncoder TextDecoder crypto performance queueMicrotask', 'process Buffer setTimeout console document'],
  ['core/stores/tsconfig.indexeddb.json', 'indexedDB', 'process Buffer'],
  ['core/stores/tsconfig.lmdb.json', 'process Buffer', 'document indexedDB'],
  ['sync-client', 'document setTimeout console', 'process Buffer'],
  ['sync-server', 'process Buffer setTimeout console', 'document indexedDB'],
])('the compiler walls off %s, which sees %s but not %s', (project, visible, hidden) => {
  const names = [...visible.split(' '), ...hidden.split(' ')]
  expect(unseenBy(project, names)).toEqual(hidden.split(' '))
})

test('every door leads tests to the source of what it leads users to', () => {
  const manifest = JSON.parse(read('package.json')) as { exports: Record<string, { default: string }> }
  const tsconfig = JSON.parse(read('tsconfig.json').replaceAll(/^\s*\/\/.*$/gm, '')) as {
    compilerOptions: { paths: Record<string, readonly string[]> }
  }
  for (const [door, target] of Object.entries(manifest.exports)) {
    if (door === './package.json') continue
    const source = target.default.replace('./dist/', './').replace(/\.js$/, '.ts')
    expect(existsSync(join(root, source)), source).toBe(true)
    expect(tsconfig.compilerOptions.paths[door.replace('.', 'tidemark')], door).toEqual([source])
  }
})

function isAllowed(file: string, specifier: string, room: Room): boolean {
  if (!specifier.startsWith('.')) return room.packages.test(specifier)
  const target = posix.join(posix.dirname(file), specifier)
  return roomOf(target) === roomOf(file) || room.entrances.test(target)
}

/** The innermost room that a file lies in; `undefined` outside of all rooms. */
function roomOf(file: string): string | undefined {
  return Object.keys(ROOMS)
    .filter((room) => file.startsWith(`${room}/`))
    .sort((a, b) => b.length - a.length)[0]
}

function sourceFiles(folder: string): readonly string[] {
  return readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.ts'))
    .map((path) => posix.join(folder, path.replaceAll('\\', '/')))
}

function importsOf(file: string): readonly string[] {
  const specifiers = /\b(?:from|import)\s*\(?\s*(['"])([^'"\n]+)\1/g
  // What stands in a template is text for somebody to read.
  const templates = /`(?:\\[\s\S]|[^`\\])*`/g
  const code = codeOf(file, { strings: true }).replace(templates, ' ')
  return [...code.matchAll(specifiers)].map((match) => match[2] ?? '')
}

/** The text without comments, and without the content of strings unless they are asked for. */
function codeOf(file: string, options: { readonly strings: boolean }): string {
  const commentsAndStrings = /\/\*[\s\S]*?\*\/|\/\/.*|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\[\s\S]|[^`\\])*`/g
  return read(file).replace(commentsAndStrings, (part) => (part.startsWith('/') || !options.strings ? ' ' : part))
}

/** Which of `names` are no values for the compiler, under the settings of a project. */
function unseenBy(project: string, names: readonly string[]): readonly string[] {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-rooms-'))
  const isPure = project === 'core' || project === 'tenant'
  const config = {
    extends: join(root, project.endsWith('.json') ? project : `${project}/tsconfig.json`),
    compilerOptions: {
      noEmit: true,
      composite: false,
      incremental: false,
      rootDir: '/',
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: [],
    references: [],
    files: ['probe.mts', ...(isPure ? [join(root, 'core/globals.d.ts')] : [])],
  }
  try {
    writeFileSync(join(folder, 'tsconfig.json'), JSON.stringify(config))
    const lines = names.map((name, index) => `export const probe${index}: unknown = ${name}`)
    writeFileSync(join(folder, 'probe.mts'), lines.join('\n'))
    const tsc = join(root, 'node_modules/typescript/bin/tsc')
    const { stdout } = spawnSync(process.execPath, [tsc, '-p', folder, '--pretty', 'false'], { encoding: 'utf8' })
    const badLines = new Set([...stdout.matchAll(/probe\.mts\((\d+),/g)].map((match) => Number(match[1])))
    return names.filter((_, index) => badLines.has(index + 1))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
