/**
 * The command for planted bugs: every one of them, in copies of the sources, a few at a time.
 */
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { runCheck } from './check.ts'
import { CI_SEED, complaintOf, HUNT_SCHEDULES, type Hunt, type HuntOptions, hunt } from './hunt.ts'
import { type Mutant, whyUnfit } from './mutant.ts'
import { MUTANTS } from './mutants.ts'
import { createScratch, ROOT } from './scratch.ts'

interface Options {
  readonly jobs: number
  readonly only: string | undefined
  readonly thorough: boolean
  readonly show: boolean
}

const options = new Command('mutants')
  .description('Plants bugs in copies of core, one at a time, and says which check finds each. Fails if one survives.')
  .option('-j, --jobs <number>', 'bugs hunted at once', count, 2)
  .option('-o, --only <text>', 'those whose name holds this text')
  .option('--thorough', 'ask every check about every bug: says which of them the simulator finds alone', false)
  .option('--show', 'print what the check that found it printed', false)
  .parse()
  .opts<Options>()

const huntOptions: HuntOptions = { isThorough: options.thorough, schedules: HUNT_SCHEDULES }
const mutants = MUTANTS.filter(({ name }) => options.only === undefined || name.includes(options.only))
process.exitCode = await huntAll(mutants)

async function huntAll(all: readonly Mutant[]): Promise<number> {
  const unfit = MUTANTS.map((mutant) => whyUnfit(mutant, ROOT)).filter((why) => why !== undefined)
  for (const why of unfit) console.log(why)
  if (unfit.length > 0 || all.length === 0) return 1
  const startedAt = performance.now()
  const waiting = [...all]
  const hunts: Hunt[] = []
  const lane = async (number: number): Promise<void> => {
    const scratch = createScratch()
    try {
      if (number === 0) await expectSound(scratch.path)
      for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
        const done = await hunt(next, scratch.path, huntOptions)
        hunts.push(done)
        report(done, hunts.length, all.length)
      }
    } finally {
      scratch.remove()
    }
  }
  await Promise.all(Array.from({ length: Math.min(options.jobs, all.length) }, (_, number) => lane(number)))
  return summarize(hunts, (performance.now() - startedAt) / 1_000)
}

/** Without a planted bug nothing is found: otherwise everything would be. */
async function expectSound(root: string): Promise<void> {
  const verdict = await runCheck({ type: 'simulator', schedules: HUNT_SCHEDULES, seed: CI_SEED }, root)
  if (verdict.finding !== undefined) throw new Error(`without a planted bug the simulator finds:\n${verdict.output}`)
}

function report(done: Hunt, number: number, total: number): void {
  const { mutant, findings, seconds } = done
  const complaint = complaintOf(done, huntOptions)
  const place = `${String(number).padStart(2)}/${total}`
  console.log(`${place}  ${complaint ?? 'caught'}  ${mutant.name}  (${mutant.file}, ${seconds.toFixed(1)} s)`)
  for (const { check, finding, seconds: took, output } of findings) {
    console.log(`         ${check}, ${took.toFixed(1)} s: ${finding ?? 'nothing found'}`)
    if (options.show && finding !== undefined) console.log(output)
  }
  if (complaint !== undefined) console.log(`         it breaks: ${mutant.breaks}`)
}

function summarize(hunts: readonly Hunt[], seconds: number): number {
  const complaints = hunts.filter((each) => complaintOf(each, huntOptions) !== undefined)
  const bySimulator = hunts.filter(({ findings }) =>
    findings.some(({ check, finding }) => check === 'simulator' && finding !== undefined),
  ).length
  const caught = hunts.length - complaints.length
  console.log(
    `\n${caught} of ${hunts.length} planted bugs caught in ${seconds.toFixed(0)} s; by the simulator ${bySimulator}`,
  )
  for (const { mutant } of complaints) console.log(`  not as it should be: ${mutant.name}`)
  return complaints.length === 0 ? 0 : 1
}
