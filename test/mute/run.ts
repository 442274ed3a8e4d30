/**
 * The command for sockets that never read.
 */
import { Command } from 'commander'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { count } from '../whole-number.ts'
import { goMute } from './mute.ts'

const BYTES_MAX = 4 * 1024 * 1024
const CLOSED_WITHIN_MS = 30_000

const { sockets } = new Command('mute')
  .description(
    'Opens sockets that ask for everything and read nothing, and looks what they cost and when they are closed.',
  )
  .option('-n, --sockets <number>', 'how many', count, 300)
  .parse()
  .opts<{ readonly sockets: number }>()

const { stalledMs } = DEFAULT_LIMITS
console.log(`${sockets} sockets that never read; the server gives each ${stalledMs / 1_000} s …`)
const { bytesPerSocket, closedAfterMs, stallsMs, wrong } = await goMute({ sockets, stalledMs })
const mib = (bytesPerSocket / 1024 / 1024).toFixed(2)
console.log(`the server took ${mib} MiB for each, and had closed each within ${(closedAfterMs / 1_000).toFixed(1)} s`)
console.log(`stalls above 100 ms: ${stallsMs.length}`)
for (const what of wrong) console.log(`WRONG ${what}`)
if (bytesPerSocket > BYTES_MAX) console.log('WRONG that is more than 4 MiB')
if (closedAfterMs > CLOSED_WITHIN_MS) console.log('WRONG that is later than 30 s')
process.exitCode = wrong.length === 0 && bytesPerSocket <= BYTES_MAX && closedAfterMs <= CLOSED_WITHIN_MS ? 0 : 1
