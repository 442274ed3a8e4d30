/**
 * The command for long load with faults.
 */
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { type LoadProgress, loadWithFaults } from './load.ts'

interface Options {
  readonly minutes: number
  readonly seed: number
  readonly replicas: number
  readonly pause: number
}

/** A line of progress at most so often. */
const TELL_SECONDS = 15

const { minutes, seed, replicas, pause } = new Command('load')
  .description('Writes on LMDB and real sockets while processes are killed and networks fail; then compares everybody.')
  .option('-m, --minutes <number>', 'how long', count, 60)
  .option('-s, --seed <number>', 'what goes wrong is drawn from', count, 1)
  .option('-r, --replicas <number>', 'how many write', count, 3)
  .option('--pause <ms>', 'between two writes of one writer, of which a replica has four', count, 50)
  .parse()
  .opts<Options>()

let toldAt = 0
const report = await loadWithFaults({
  seconds: minutes * 60,
  seed,
  replicas,
  pauseMs: pause,
  onProgress: (progress) => {
    if (progress.seconds - toldAt < TELL_SECONDS) return
    toldAt = progress.seconds
    console.log(tell(progress))
  },
})
console.log(`\nseed ${seed}, ${replicas} replicas: ${tell(report)}`)
for (const what of report.wrong) console.log(`WRONG ${what}`)
console.log(report.wrong.length === 0 ? 'nothing was lost or doubled, and all ended equal' : 'something is wrong')
process.exitCode = report.wrong.length === 0 ? 0 : 1

function tell({ seconds, kills, faults, kept, increments, answered }: LoadProgress): string {
  const time = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`
  return `${time}  ${kills} kills, ${faults} faults, ${kept} rows and ${increments} increments kept, ${answered} changes answered`
}
