/**
 * The command for models: gives each to Spin, and says what held, what failed as it should, and how.
 */
import progress from 'cli-progress'
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { judge, type Verdict } from './judge.ts'
import { MODELS, type Model } from './models.ts'
import { missingPrograms } from './spin.ts'

interface Options {
  readonly require: boolean
  readonly long: boolean
  readonly jobs: number
  readonly only: string | undefined
}

const options = new Command('model')
  .description(
    'Gives models of the merge and of collection to Spin: every state of three replicas that write twice. Each condition that is taken away has to fail, and its shortest counterexample is printed.',
  )
  .option('--require', 'fail when Spin or gcc is not installed', false)
  .option('--long', 'the models that take minutes and up to 7 GB as well', false)
  .option('-j, --jobs <number>', 'models at once', count, 2)
  .option('-o, --only <text>', 'those whose name or file holds this text')
  .addHelpText(
    'after',
    `\nThe models are test/model/*.pml, what is expected of them test/model/models.ts:\n${MODELS.map(({ name, file, isLong }) => `  ${file}: ${name}${isLong ? ' (--long)' : ''}`).join('\n')}`,
  )
  .parse()
  .opts<Options>()

process.exitCode = await main()

async function main(): Promise<number> {
  const missing = missingPrograms()
  if (missing.length > 0) {
    console.log(
      `NOT RUN: the models need ${missing.join(' and ')} (Debian: apt-get install spin gcc). Nothing was checked.`,
    )
    return options.require ? 1 : 0
  }
  const { only, long } = options
  const models = MODELS.filter(
    ({ name, file, isLong }) => (long || !isLong) && (only === undefined || name.includes(only) || file.includes(only)),
  )
  if (models.length === 0) {
    console.log(`there is no model with "${only}" in its name; --help lists them`)
    return 1
  }
  const verdicts = await judgeAll(models)
  const wrong = verdicts.filter(({ complaint }) => complaint !== undefined).length
  console.log(
    wrong === 0
      ? `all ${models.length} models are as they should be`
      : `${wrong} of ${models.length} models are NOT as they should be`,
  )
  return wrong === 0 ? 0 : 1
}

async function judgeAll(models: readonly Model[]): Promise<Verdict[]> {
  const bar = new progress.SingleBar({
    format: 'models {bar} {value}/{total} · {states} states of the one under way',
    hideCursor: true,
    noTTYOutput: process.stderr.isTTY !== true && options.long,
    notTTYSchedule: 30_000,
    clearOnComplete: true,
  })
  bar.start(models.length, 0, { states: 0 })
  const waiting = [...models]
  const verdicts: Verdict[] = []
  const lane = async (): Promise<void> => {
    for (let model = waiting.shift(); model !== undefined; model = waiting.shift()) {
      const verdict = await judge(model, (states) => bar.update({ states: states.toLocaleString('en') }))
      bar.update(verdicts.push(verdict), { states: 0 })
    }
  }
  await Promise.all(Array.from({ length: Math.min(options.jobs, models.length) }, lane))
  bar.stop()
  // In the order of the list, whichever was first.
  for (const model of models) for (const verdict of verdicts) if (verdict.model === model) report(verdict)
  return verdicts
}

function report({ model, complaint, outcome, story }: Verdict): void {
  const { name, file, expected } = model
  console.log(`${complaint === undefined ? 'ok ' : 'BAD'} ${file.replace('.pml', '')}: ${name}: ${outcome}`)
  if (complaint !== undefined) console.log(`      ${complaint}`)
  if (expected.type === 'fails' && complaint === undefined) console.log(`      ${expected.because}`)
  for (const step of story) console.log(`        ${step}`)
}
