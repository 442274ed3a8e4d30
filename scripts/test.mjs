/**
 * The whole test command: runs every step even after a failure, so that one run tells everything, and ends with one
 * plain line, `N passed, N failed`. A step counts as one; the unit step counts as its tests.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const STEPS = ['types', 'lint', 'dead', 'shape', 'bundle', 'unit', 'simulate:ci', 'model', 'demo:ci']

/** @typedef {{ passed: number, failed: number }} Count */
/** @typedef {{ status: string, assertionResults: { status: string }[] }} TestFile */
/** @typedef {{ numPassedTests: number, numFailedTests: number, testResults: TestFile[] }} Report */

let passed = 0
let failed = 0
/** @type {string[]} */
const failedSteps = []

for (const step of STEPS) {
  console.log(`\n=== ${step} ===`)
  const startedAt = performance.now()
  const count = step === 'unit' ? runUnit() : runStep(step)
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(1)
  console.log(`--- ${step}: ${count.failed === 0 ? 'ok' : 'FAILED'} in ${seconds} s`)
  passed += count.passed
  failed += count.failed
  if (count.failed > 0) failedSteps.push(step)
}

if (failedSteps.length > 0) console.log(`\nfailed: ${failedSteps.join(', ')}`)
console.log(`\n${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1

/**
 * @param {string} step
 * @returns {Count}
 */
function runStep(step) {
  return runScript(step, []) ? { passed: 1, failed: 0 } : { passed: 0, failed: 1 }
}

/** @returns {Count} */
function runUnit() {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-test-'))
  const reportPath = join(folder, 'report.json')
  try {
    const ok = runScript('unit', ['--reporter=default', '--reporter=json', `--outputFile.json=${reportPath}`])
    return countTests(readReport(reportPath), ok)
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

/**
 * What never ran is a failure: a file that does not load, a run without a single test, a runner that dies.
 *
 * @param {Report | undefined} report
 * @param {boolean} ok
 * @returns {Count}
 */
function countTests(report, ok) {
  const files = report?.testResults ?? []
  const broken = files.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  )
  const passed = report?.numPassedTests ?? 0
  const failed = (report?.numFailedTests ?? 0) + broken.length
  const ranWell = ok && passed > 0
  return { passed, failed: failed === 0 && !ranWell ? 1 : failed }
}

/**
 * @param {string} path
 * @returns {Report | undefined}
 */
function readReport(path) {
  try {
    return JSON.parse(readFileSync(path, 'utf8'))
  } catch {
    return undefined
  }
}

/**
 * @param {string} name
 * @param {string[]} options
 * @returns {boolean}
 */
function runScript(name, options) {
  const { status } = spawnSync('npm', ['run', '--silent', name, ...(options.length > 0 ? ['--', ...options] : [])], {
    stdio: 'inherit',
    // npm is a .cmd file on Windows.
    shell: process.platform === 'win32',
  })
  return status === 0
}
