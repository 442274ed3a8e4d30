/**
 * The command for models: gives each to Spin, and says what held, what failed as it should, and how.
 */
import { Command } from 'commander'
import { MODELS, type Model } from './models.ts'
import { missingPrograms, runModel, type SpinVerdict } from './spin.ts'

interface Options {
  readonly require: boolean
  readonly long: boolean
  readonly jobs: number
  readonly only: string | undefined
}

const count = (text: string): number => {
  const number = Number(text)
  if (!Number.isInteger(number) || number < 1) throw new RangeError(`${text} is not a whole number from 1`)
  return number
}

const options = new Command('model')
  .description('Gives models of the merge and of collection to Spin: every state of three replicas that write twice.')
  .option('--require', 'fail when Spin or gcc is not installed', false)
  .option('--long', 'the models that take minutes and gigabytes as well', false)
  .option('-j, --jobs <number>', 'models at once', count, 2)
  .option('-o, --only <text>', 'those whose name holds this text')
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
  const models = MODELS.filter(({ name, isLong }) => (long || !isLong) && (only === undefined || name.includes(only)))
  const waiting = [...models]
  let wrong = models.length === 0 ? 1 : 0
  const lane = async (): Promise<void> => {
    for (let model = waiting.shift(); model !== undefined; model = waiting.shift()) {
      const verdict = await runModel(model)
      if (!report(model, verdict)) wrong++
    }
  }
  await Promise.all(Array.from({ length: Math.min(options.jobs, models.length) }, lane))
  console.log(
    wrong === 0 ? `all ${models.length} models are as they should be` : `${wrong} models are not as they should be`,
  )
  return wrong === 0 ? 0 : 1
}

/** True when the model did what it should. */
function report({ name, file, failsBecause }: Model, { states, seconds, story }: SpinVerdict): boolean {
  const isRight = (story !== undefined) === (failsBecause !== undefined)
  const outcome = story === undefined ? 'holds' : 'fails'
  const figures = `${states.toLocaleString('en')} states, ${seconds.toFixed(1)} s`
  console.log(`${isRight ? 'ok ' : 'BAD'} ${file.replace('.pml', '')} ${outcome}: ${name} (${figures})`)
  if (story === undefined) return isRight
  if (failsBecause !== undefined) console.log(`      ${failsBecause}`)
  for (const step of story) console.log(`        ${step}`)
  return isRight
}
