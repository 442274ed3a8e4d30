/**
 * The command for lines that nobody chose: breaks random lines of core, one at a time, in copies of the sources, and says what
 * found each. What survives is for reading: it is harmless, or there is a hole in the checks.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { type Check, describeCheck, runCheck, type Verdict } from './check.ts'
import { CI_SEED, HUNT_SCHEDULES } from './hunt.ts'
import { type BrokenLine, breakLine } from './lines.ts'
import { allLines, shuffled } from './sample.ts'
import { createScratch, ROOT } from './scratch.ts'

interface Options {
  readonly number: number
  readonly seed: string
  readonly jobs: number
  readonly file: string | undefined
  readonly all: boolean
  readonly show: boolean
}

interface Fate {
  readonly line: BrokenLine
  readonly before: string
  readonly after: string
  /** `survives`: nobody found it. `void`: no program, so it does not count. */
  readonly state: 'found' | 'survives' | 'void'
  readonly by: string
  readonly what: string
  readonly seconds: number
  readonly output: string
}

const options = new Command('broken-lines')
  .description(
    'Breaks random lines of core in copies of the sources (one operator, number, condition or statement at a time), and asks the compiler, the first simulated schedules, the tests that know the file and then all tests of core. What survives is printed, to be read.',
  )
  .option('-n, --number <number>', 'lines that compile when they are broken', count, 100)
  .option('-s, --seed <text>', 'what they are drawn from', '1')
  .option('-j, --jobs <number>', 'lines at once', count, 2)
  .option('-f, --file <text>', 'only files whose name holds this text')
  .option('--all', 'ask all tests of core about what survives those that know the file: minutes for each', false)
  .option('--show', 'print what the check that found it printed', false)
  .parse()
  .opts<Options>()

const SIMULATOR: Check = { type: 'simulator', schedules: HUNT_SCHEDULES, seed: CI_SEED }
const ALL_TESTS: Check = {
  type: 'tests',
  files: ['test/core', 'test/conflicts', 'test/small-worlds', 'test/worlds', 'test/crash'],
}
const TEST_ROOMS = ['test/core', 'test/conflicts', 'test/integration', 'test/worlds', 'test/testing']

process.exitCode = await main()

async function main(): Promise<number> {
  const lines = shuffled(allLines(ROOT), options.seed).filter(
    ({ file }) => options.file === undefined || file.includes(options.file),
  )
  const fates: Fate[] = []
  const startedAt = performance.now()
  let isSound = true
  const lane = async (number: number): Promise<void> => {
    const scratch = createScratch()
    try {
      if (number === 0) isSound = (await runCheck(SIMULATOR, scratch.path)).finding === undefined
      while (isSound && counting(fates) < options.number) {
        const line = lines.shift()
        if (line === undefined) return
        const fate = await breakOne(line, scratch.path)
        fates.push(fate)
        if (fate.state !== 'void' && counting(fates) <= options.number) report(fate, counting(fates))
      }
    } finally {
      scratch.remove()
    }
  }
  await Promise.all(Array.from({ length: options.jobs }, (_, number) => lane(number)))
  if (!isSound) {
    console.log('without a broken line the simulator finds something: nothing was tried')
    return 1
  }
  summarize(fates, (performance.now() - startedAt) / 1_000)
  return 0
}

function counting(fates: readonly Fate[]): number {
  return fates.filter(({ state }) => state !== 'void').length
}

async function breakOne(line: BrokenLine, root: string): Promise<Fate> {
  const path = join(root, line.file)
  const text = readFileSync(path, 'utf8')
  const broken = breakLine(text, line)
  const startedAt = performance.now()
  const told = { line, before: lineAt(text, line), after: lineAt(broken, line) }
  writeFileSync(path, broken)
  try {
    for (const check of checksOf(line)) {
      const { finding, output } = await runCheck(check, root).catch(notEvenStarted)
      if (finding === undefined) continue
      const seconds = (performance.now() - startedAt) / 1_000
      const state = check.type === 'compiler' ? 'void' : 'found'
      return { ...told, state, by: describeCheck(check), what: finding, seconds, output }
    }
    const seconds = (performance.now() - startedAt) / 1_000
    return { ...told, state: 'survives', by: 'nobody', what: '', seconds, output: '' }
  } finally {
    writeFileSync(path, text)
  }
}

/** The checks can run: the first of them has, before any line was broken. */
function notEvenStarted(error: unknown): Pick<Verdict, 'finding' | 'output'> {
  const output = String(error)
  const [, reason = 'nothing was told'] = /^\s*(\w*Error: .*)$/m.exec(output) ?? []
  return { finding: `does not even start: ${reason}`, output }
}

function checksOf({ file }: BrokenLine): Check[] {
  const files = testsAbout(file)
  return [
    { type: 'compiler' },
    SIMULATOR,
    ...(files.length > 0 ? [{ type: 'tests', files } as const] : []),
    ...(options.all ? [ALL_TESTS] : []),
  ]
}

/** The tests that import a file by its name. */
function testsAbout(file: string): string[] {
  return TEST_ROOMS.flatMap((room) =>
    readdirSync(join(ROOT, room))
      .filter((name) => name.endsWith('.test.ts'))
      .map((name) => `${room}/${name}`)
      .filter((path) => readFileSync(join(ROOT, path), 'utf8').includes(`core/${basename(file)}'`)),
  )
}

function lineAt(text: string, { start, line }: BrokenLine): string {
  const from = text.lastIndexOf('\n', start - 1) + 1
  const end = text.indexOf('\n', start)
  return line > 0 ? text.slice(from, end < 0 ? undefined : end).trim() : ''
}

function report({ line, before, after, state, by, what, seconds, output }: Fate, number: number): void {
  const place = `${line.file}:${line.line}`
  console.log(`${String(number).padStart(3)}  ${state}  ${place}  ${line.kind}  (${seconds.toFixed(1)} s)`)
  console.log(`       - ${before}\n       + ${after}`)
  if (state === 'found') console.log(`       ${by}: ${what}`)
  if (state === 'found' && options.show) console.log(output)
}

function summarize(fates: readonly Fate[], seconds: number): void {
  const counted = fates.filter(({ state }) => state !== 'void')
  const found = counted.filter(({ state }) => state === 'found')
  const bySimulator = found.filter(({ by }) => by === 'simulator')
  const times = bySimulator.map((fate) => fate.seconds).sort((a, b) => a - b)
  const median = times[Math.floor(times.length / 2)]
  console.log(
    `\n${found.length} of ${counted.length} broken lines were found in ${seconds.toFixed(0)} s: ${bySimulator.length} by the simulator${median === undefined ? '' : ` (median ${median.toFixed(1)} s, slowest ${times.at(-1)?.toFixed(1)} s)`}, ${found.length - bySimulator.length} by tests; ${fates.length - counted.length} more did not compile`,
  )
  for (const { line, before, after } of counted.filter(({ state }) => state === 'survives'))
    console.log(`  survives: ${line.file}:${line.line}  ${line.kind}\n    - ${before}\n    + ${after}`)
}
