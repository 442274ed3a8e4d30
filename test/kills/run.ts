/**
 * The command that kills: a server and two replicas on LMDB under load, over and over.
 */
import progress from 'cli-progress'
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { killAll } from './killing.ts'

const { kills, seed } = new Command('kills')
  .description('Kills processes under load with SIGKILL, and looks for all that somebody was told is kept.')
  .option('-k, --kills <number>', 'how many', count, 200)
  .option('-s, --seed <number>', 'what victims and moments are drawn from', count, 1)
  .parse()
  .opts<{ readonly kills: number; readonly seed: number }>()

const bar = new progress.SingleBar({
  format: '{bar} {value}/{total} kills, {eta_formatted} left',
  noTTYOutput: true,
  notTTYSchedule: 10_000,
})
const startedAt = performance.now()
bar.start(kills, 0)
const report = await killAll({ kills, seed, onKill: (done) => bar.update(done) })
bar.stop()
const seconds = ((performance.now() - startedAt) / 1_000).toFixed(0)
const { kept, increments, answered, wrong } = report
console.log(
  `seed ${seed}: ${report.kills} kills in ${seconds} s; ${kept} rows and ${increments} increments were told to be kept, ` +
    `${answered} changes to be at the server`,
)
for (const what of wrong) console.log(`WRONG ${what}`)
console.log(wrong.length === 0 ? 'nothing was lost, and all ended equal' : `${wrong.length} things are wrong`)
process.exitCode = wrong.length === 0 ? 0 : 1
