/**
 * The examples and the documents: what they say is run, or looked up in the code.
 *
 * Knows: the texts of README and docs, and the sources as text. Must never know: how any of the code works.
 */
import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { DEFAULT_LIMITS, ERROR_CODES, type Limits } from 'tidemark/core'
import { createMemoryStores } from 'tidemark/stores/memory'
import { createSyncServer } from 'tidemark/sync-server'
import { afterAll, describe, expect, test } from 'vitest'
import { VOID_CODES } from '../core/block.ts'

const root = fileURLToPath(new URL('..', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'tidemark-examples-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const DEMO_TIMEOUT_MS = 60_000

describe('an example', () => {
  test('quickstart: two replicas disagree, agree again, and report the conflict', async () => {
    const { code, output } = await run('examples/quickstart.ts')
    expect(code, output).toBe(0)
    const rows = output.match(/\{\s*id: 'n1'[^}]*\}/g) ?? []
    expect(rows).toHaveLength(2)
    expect(rows[0]).toBe(rows[1])
    expect(rows[0]).toContain('done: true')
    expect(output).toMatch(/update-update of n1: The update of replica .* wins/)
  })

  test('peers: two replicas sync without a server', async () => {
    const { code, output } = await run('examples/peers.ts')
    expect(code, output).toBe(0)
    expect(output.trim().split('\n')).toEqual([
      'each has 2 rows, clocks are equal',
      'remote: 460 bolts',
      'digests are equal',
    ])
  })
})

describe('the simulator for users', () => {
  test('finds the policy of its example that looks at the clock, and lets the other one pass', {
    timeout: DEMO_TIMEOUT_MS,
  }, async () => {
    const { code, output } = await run('examples/simulate.ts')
    expect(code, output).toBe(0)
    expect(output).toContain('highest: every promise held')
    expect(output).toMatch(/newest: BROKEN PROMISE: Replicas that hold the same changes of a row show the same/)
  })

  test('is shown in its document as it is', () => {
    const region = regionOf('examples/simulate.ts', 'docs/simulation.md')
    expect(read('docs/simulation.md')).toContain(`<!-- examples/simulate.ts -->\n\`\`\`ts\n${region}\`\`\`\n`)
  })
})

describe('the demo', () => {
  test('ends with equal state, and goes on from its stores when it runs again', {
    timeout: DEMO_TIMEOUT_MS,
  }, async () => {
    const options = ['--rows', '5000', '--alone', '--data', join(folder, 'alone')]
    const first = await run('examples/demo.ts', ...options)
    expect(first.code, first.output).toBe(0)
    expect(first.output).toContain('A imports: 5,000 changes')
    const second = await run('examples/demo.ts', ...options)
    expect(second.code, second.output).toBe(0)
    expect(second.output).toContain('A imports: nothing to do')
    for (const { output } of [first, second]) {
      for (const type of ['merged', 'update-update', 'update-delete', 'delete-update', 'insert-insert']) {
        expect(output).toMatch(new RegExp(`^ {2}${type} `, 'm'))
      }
      expect(output).toContain('All hold equal rows and equal clocks.')
    }
  })

  test('runs beside a server, and shows with a third replica what that one holds', {
    timeout: DEMO_TIMEOUT_MS,
  }, async () => {
    const logger = pino({ level: 'silent' })
    const server = await createSyncServer({ dev: true, port: 0, openStore: createMemoryStores(), logger })
    try {
      const options = ['--rows', '2000', '--tenant', 'beside', '--url', server.url, '--data', join(folder, 'beside')]
      const { code, output } = await run('examples/demo.ts', ...options)
      expect(code, output).toBe(0)
      expect(output).toMatch(/^ {2}C \(all the server sent\) /m)
      expect(output).toContain('All hold equal rows and equal clocks.')
    } finally {
      await server.close()
    }
  })

  test('says what is wrong and what to do when there is no server', async () => {
    const { code, output } = await run(
      'examples/demo.ts',
      '--url',
      'http://127.0.0.1:1',
      '--data',
      join(folder, 'none'),
    )
    expect(code).toBe(1)
    expect(output).toContain('no sync server answers at http://127.0.0.1:1. Start one with npm start')
  })
})

describe('the README', () => {
  const readme = read('README.md')

  test('shows the quickstart as it is', () => {
    const region = regionOf('examples/quickstart.ts', 'README')
    expect(readme).toContain(`<!-- examples/quickstart.ts -->\n\`\`\`ts\n${region}\`\`\`\n`)
  })

  test('names only doors that the package has', () => {
    const { exports } = JSON.parse(read('package.json')) as { readonly exports: Readonly<Record<string, unknown>> }
    const doors = [...readme.matchAll(/^\| `tidemark(\/[\w/-]+)`/gm)].map((match) => `.${match[1]}`)
    expect(doors.length).toBeGreaterThan(0)
    expect(doors.filter((door) => !(door in exports))).toEqual([])
  })
})

describe.each(documents())('%s', (path) => {
  const text = read(path)

  test('links only to what exists', () => {
    const targets = [...text.matchAll(/\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? '')
    expect(targets.filter((target) => !existsSync(join(root, dirname(path), target)))).toEqual([])
  })

  test('names only files and npm scripts that exist', () => {
    const files = [...text.matchAll(/`((?:core|sync-client|sync-server|tenant|test|examples|bench)\/[\w./-]*)`/g)]
    expect(files.map((match) => match[1] ?? '').filter((file) => !existsSync(join(root, file)))).toEqual([])
    const { scripts } = JSON.parse(read('package.json')) as { readonly scripts: Readonly<Record<string, string>> }
    const named = [...text.matchAll(/npm (?:run )?(?!ci\b|run\b|install\b)([a-z][a-z:-]*)/g)].map(
      (match) => match[1] ?? '',
    )
    expect(named.filter((script) => !(script in scripts))).toEqual([])
  })

  test('quotes only invariants that the files have', () => {
    const quoted: [file: string, rule: string][] = []
    // `core/row.ts` M1, or: M1 to M3 in `core/row.ts`
    for (const [, file = '', rule = ''] of text.matchAll(/`([\w/-]+\.ts)`\s([A-Z]\d)/g)) quoted.push([file, rule])
    for (const [, first = '', last = '', file = ''] of text.matchAll(
      /([A-Z]\d)(?:\s(?:to|and)\s([A-Z]\d))?\sin\s`([\w/-]+\.ts)`/g,
    )) {
      quoted.push([file, first], ...(last === '' ? [] : [[file, last] as [string, string]]))
    }
    expect(quoted.filter(([file, rule]) => !new RegExp(`^ \\*.*\\b${rule}\\b`, 'm').test(read(file)))).toEqual([])
  })
})

test('the way of one change names what is in the files', () => {
  const steps = [...read('docs/architecture.md').matchAll(/^\| \d+ \| (.*?) \|/gm)].map((match) => match[1] ?? '')
  expect(steps.length).toBeGreaterThan(10)
  const named = steps.flatMap((step) => [...step.matchAll(/`([\w/-]+\.ts)` `(\w+)`/g)])
  expect(named.length).toBeGreaterThanOrEqual(steps.length)
  expect(named.filter(([, file = '', name = '']) => !new RegExp(`\\b${name}\\b`).test(read(file)))).toEqual([])
})

test('every error code and every reason of a refusal is explained', () => {
  const text = read('docs/errors.md')
  const codes = [...ERROR_CODES, ...VOID_CODES]
  expect(codes.filter((code) => !new RegExp(`^\\|.*\`${code}\`.*\\|`, 'm').test(text))).toEqual([])
})

test('every limit is explained, with its default', () => {
  const text = read('docs/limits.md')
  const missing = Object.entries(DEFAULT_LIMITS).filter(
    ([name, value]) => !text.includes(`| \`${name}\` | ${formatLimit(name, value)} |`),
  )
  expect(missing).toEqual([])
  const shown = [...read('README.md').matchAll(/^\| `(\w+)`: [^|]*\| ([^|]+) \|/gm)]
  expect(shown.length).toBeGreaterThan(0)
  for (const [, name = '', value] of shown) {
    expect(value, name).toBe(formatLimit(name, DEFAULT_LIMITS[name as keyof Limits]))
  }
})

function formatLimit(name: string, value: number): string {
  if (name.endsWith('Ms')) return `${value / 1_000} s`
  if (!/Bytes/.test(name)) return value.toLocaleString('en-US')
  if (value % 2 ** 20 === 0) return `${value / 2 ** 20} MiB`
  return value % 2 ** 10 === 0 ? `${(value / 2 ** 10).toLocaleString('en-US')} KiB` : `${value} B`
}

/** What of an example a document shows. */
function regionOf(example: string, document: string): string {
  const parts = read(example).split(new RegExp(`// ${document}: (?:begin|end)\\n`))
  expect(parts, `${example} marks what ${document} shows`).toHaveLength(3)
  return parts[1] ?? ''
}

function documents(): string[] {
  const docs = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
  return [
    'README.md',
    'CHANGELOG.md',
    'SECURITY.md',
    ...docs.filter((path) => path.endsWith('.md')).map((path) => `docs/${path}`),
  ]
}

interface Finished {
  readonly code: number | null
  readonly output: string
}

/** Runs an example as its reader would; what it prints to both streams, in one text. */
function run(path: string, ...options: readonly string[]): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ['--import', 'tsx', path, ...options], { cwd: root })
    let output = ''
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        output += text
      })
    }
    child.once('error', reject)
    child.once('close', (code) => resolve({ code, output }))
  })
}

function read(path: string): string {
  return readFileSync(join(root, path), 'utf8')
}
