/**
 * The command for networks that misbehave: rounds of faults on real sockets, and how long it takes to converge after each.
 */
import progress from 'cli-progress'
import { Command } from 'commander'
import { count } from '../whole-number.ts'
import { healOverAndOver, percentile } from './healing.ts'

interface Options {
  readonly rounds: number
  readonly seed: number
  readonly fault: number
  readonly cap: number
}

const CONVERGES_MS = 5_000

const { rounds, seed, fault, cap } = new Command('faults')
  .description('Cuts, holds up, half-opens and truncates real connections, and measures how long it takes to converge.')
  .option('-n, --rounds <number>', 'how many', count, 200)
  .option('-s, --seed <number>', 'what the faults are drawn from', count, 1)
  .option('--fault <ms>', 'how long a network may be wrong', count, 1_000)
  .option('--cap <ms>', 'the longest wait of a link between two attempts', count, 4_000)
  .parse()
  .opts<Options>()

const bar = new progress.SingleBar({
  format: '{bar} {value}/{total} rounds, {eta_formatted} left',
  noTTYOutput: true,
  notTTYSchedule: 10_000,
})
bar.start(rounds, 0)
const report = await healOverAndOver({
  rounds,
  seed,
  faultMsMax: fault,
  capMs: cap,
  onRound: (done) => bar.update(done),
})
bar.stop()
const { ms, faults, writes, wrong } = report
console.log(`seed ${seed}: ${ms.length} rounds, ${writes} writes; ${tellFaults()}`)
const [p50, p90, p99, worst] = [0.5, 0.9, 0.99, 1].map((share) => percentile(ms, share))
console.log(`converged after ${tell(p50)} (p50), ${tell(p90)} (p90), ${tell(p99)} (p99), ${tell(worst)} (all)`)
for (const what of wrong) console.log(`WRONG ${what}`)
const isInTime = (p99 ?? 0) <= CONVERGES_MS
if (!isInTime) console.log(`WRONG p99 is above ${tell(CONVERGES_MS)}`)
process.exitCode = wrong.length === 0 && isInTime ? 0 : 1

function tell(milliseconds = 0): string {
  return `${(milliseconds / 1_000).toFixed(2)} s`
}

function tellFaults(): string {
  return Object.entries(faults)
    .map(([name, times]) => `${times} ${name}`)
    .join(', ')
}
