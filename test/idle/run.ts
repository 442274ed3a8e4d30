/**
 * `npm run idle-tenants`: what a tenant costs a server while nobody uses it, for each isolation mode: how long it takes to
 * open, and how much memory all of them keep, with as many open as a manager leaves open. Fails above 50 ms for one
 * of them, by the clock or in processor time, or 100 MiB for a thousand (pages of files that are mapped not counted: the system takes them back when it needs
 * them). For Linux.
 */
import { fork } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { ISOLATION_MODES } from '../../tenant/index.ts'
import type { IdleCost } from './worker.ts'

const TENANTS = Number(process.argv[2] ?? 1_000)
const OPEN_MS_MAX = 50
const BYTES_MAX = 100 * 2 ** 20 * (TENANTS / 1_000)
const MIB = 2 ** 20

function runWorker(...args: readonly string[]): Promise<IdleCost | undefined> {
  const path = fileURLToPath(new URL('worker.ts', import.meta.url))
  const worker = fork(path, args, { execArgv: ['--expose-gc', '--import', 'tsx'] })
  let cost: IdleCost | undefined
  worker.on('message', (message: { readonly cost?: IdleCost; readonly founded?: number }) => {
    if (message.cost !== undefined) cost = message.cost
    else process.stdout.write(`\r${args[2]}: ${message.founded} founded   `)
  })
  return new Promise((resolve, reject) => {
    worker.once('exit', (code) => (code === 0 ? resolve(cost) : reject(new Error(`the worker ended with ${code}`))))
  })
}

const show = (median: number, p99: number, max: number): string =>
  `p50 ${median.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, at most ${max.toFixed(1)} ms`

let isWithin = true
for (const mode of ISOLATION_MODES) {
  const directory = mkdtempSync(join(tmpdir(), 'tidemark-idle-'))
  try {
    await runWorker('found', directory, mode, `${TENANTS}`)
    const cost = await runWorker('open', directory, mode, `${TENANTS}`)
    if (cost === undefined) throw new Error('the worker said nothing')
    const { openMsMedian, openMsP99, openMsMax, workMsMedian, workMsP99, workMsMax, collectedMsMax } = cost
    const { open, ownBytes, fileBytes } = cost
    const memory = `${(ownBytes / MIB).toFixed(1)} MiB, and ${(fileBytes / MIB).toFixed(1)} MiB of files`
    console.log(`\r${mode}: ${TENANTS} tenants, ${open} of them open, cost ${memory}`)
    console.log(`  opened in ${show(openMsMedian, openMsP99, openMsMax)}`)
    console.log(`  of it processor time: ${show(workMsMedian, workMsP99, workMsMax)}`)
    console.log(`  garbage was collected for ${collectedMsMax.toFixed(1)} ms at most at once`)
    isWithin &&= openMsMax <= OPEN_MS_MAX && workMsMax <= OPEN_MS_MAX && ownBytes <= BYTES_MAX
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
process.exit(isWithin ? 0 : 1)
