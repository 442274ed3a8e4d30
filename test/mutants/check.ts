/**
 * Checks: the commands that a planted bug is given to, each a process of its own in a scratch copy.
 *
 * Knows: how each command says that it found something. Must never know: what was planted.
 *
 * Invariant CK1: a check that could not run is an error, and never counts as a bug that was found.
 */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'

export type Check =
  | { readonly type: 'compiler' }
  | { readonly type: 'tests'; readonly files: readonly string[] }
  | { readonly type: 'simulator'; readonly schedules: number; readonly seed: string }

export interface Verdict {
  /** What broke, in words; undefined when everything held. */
  readonly finding: string | undefined
  readonly seconds: number
  /** All that the command printed. */
  readonly output: string
}

/** A check that takes longer is one that a bug has stopped. */
const PATIENCE_MS = 240_000
const OUTPUT_MAX = 1 << 20

export function describeCheck(check: Check): string {
  switch (check.type) {
    case 'compiler':
      return 'compiler'
    case 'tests':
      return check.files.map((file) => file.replace(/^test\//, '').replace(/\.test\.ts$/, '')).join(', ')
    case 'simulator':
      return 'simulator'
  }
}

export async function runCheck(check: Check, root: string): Promise<Verdict> {
  const startedAt = performance.now()
  const { status, output } = await run(commandOf(check), root)
  const seconds = (performance.now() - startedAt) / 1_000
  if (status === 'stuck') return { finding: `it did not end within ${PATIENCE_MS / 1_000} s`, seconds, output }
  const finding = findingOf(check, status, output, root)
  return { finding, seconds, output }
}

const REPORT = 'mutant-report.json'

function commandOf(check: Check): string[] {
  switch (check.type) {
    case 'compiler':
      // A line that is made wrong may leave something unused behind.
      return [
        'typescript/bin/tsc',
        '-p',
        'core',
        '--noEmit',
        '--noUnusedLocals',
        'false',
        '--noUnusedParameters',
        'false',
      ]
    case 'tests': {
      const report = ['--reporter', 'json', '--outputFile', REPORT]
      return ['vitest/vitest.mjs', 'run', ...check.files, '--bail', '1', '--maxWorkers', '1', ...report]
    }
    case 'simulator': {
      const { schedules, seed } = check
      return [
        'tsx/dist/cli.mjs',
        'test/simulation/run.ts',
        '-n',
        `${schedules}`,
        '-s',
        seed,
        '-j',
        '1',
        '--failures',
        '1',
      ]
    }
  }
}

function findingOf(check: Check, status: number, output: string, root: string): string | undefined {
  if (check.type === 'tests') return findFailedTest(root, output)
  if (status === 0) return undefined
  if (check.type === 'compiler') return output.split('\n')[0] ?? 'it does not compile'
  const broken = /BROKEN PROMISE: (.*)\n(.*)/.exec(output)
  if (broken === null) throw new Error(`the simulator ended with ${status} and found nothing:\n${output}`)
  const schedules = /^(\d+) schedules in/m.exec(output)?.[1] ?? 'some'
  return `${broken[1]} (after ${schedules} schedules)`
}

interface TestReport {
  readonly testResults: readonly {
    readonly message: string
    readonly assertionResults: readonly { readonly status: string; readonly title: string }[]
  }[]
}

function findFailedTest(root: string, output: string): string | undefined {
  const path = join(root, REPORT)
  if (!existsSync(path)) throw new Error(`the tests did not run:\n${output}`)
  const { testResults } = JSON.parse(readFileSync(path, 'utf8')) as TestReport
  rmSync(path)
  const tests = testResults.flatMap(({ assertionResults }) => assertionResults)
  if (tests.length === 0) throw new Error(`the tests did not load: ${testResults[0]?.message ?? output}`)
  return tests.find(({ status }) => status === 'failed')?.title
}

/** Runs one of the installed programs. Everything that it started ends with it. */
function run(
  [program = '', ...options]: readonly string[],
  root: string,
): Promise<{ status: number | 'stuck'; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [join(root, 'node_modules', program), ...options], {
      cwd: root,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NODE_OPTIONS: '--max-old-space-size=2048', NO_COLOR: '1' },
    })
    let output = ''
    const take = (bytes: Buffer): void => {
      if (output.length < OUTPUT_MAX) output += bytes.toString()
    }
    child.stdout.on('data', take)
    child.stderr.on('data', take)
    let isStuck = false
    const timer = setTimeout(() => {
      isStuck = true
      if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL')
    }, PATIENCE_MS)
    child.on('error', reject)
    child.on('close', (code) => {
      clearTimeout(timer)
      resolve({ status: isStuck ? 'stuck' : (code ?? 1), output })
    })
  })
}
