/**
 * `npm run bench [-- options]`: runs subjects, prints the table, keeps it in results.json.
 *
 * Knows: the command line and the order of runs. Must never know: a workload or a subject by name.
 * 1. Every run of every subject has a process and a directory of its own.
 * 2. Runs take turns (first run of all subjects, second run of all …), so that a busy moment of the machine hits all.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { listSubjects, prepareSubject, runSubject, type SubjectKey } from './child.ts'
import {
  amountText,
  createSection,
  machineLine,
  type Section,
  saveSections,
  sectionText,
  subjectResult,
} from './report.ts'
import { peerFiles, tidemarkFiles } from './subjects.ts'
import { type FigureName, type Figures, figureKinds, type WorkloadId, workloads } from './workloads.ts'

type Options = {
  readonly peers: boolean
  readonly only: readonly WorkloadId[]
  readonly subject: string | undefined
  readonly runs: number
  readonly json: string | undefined
}
type Entry = SubjectKey & { readonly file: string; readonly figures: Figures[]; readonly failures: string[] }

const here = fileURLToPath(new URL('.', import.meta.url))
/** Beside the benchmark and not in the system's place for temporary files, which may be memory: flushes must cost. */
const runsDirectory = join(here, '.runs')
const runsDefault = 5
const runsLimit = 100

const help = `npm run bench [-- options]

  --peers         also run the peers (first: npm ci --prefix bench)
  --only W1,W3    only these workloads: ${Object.keys(workloads).join(', ')}
  --subject TEXT  only subjects with TEXT in their name; results are then kept only with --json
  --runs N        runs per subject, 1 to ${runsLimit} (default ${runsDefault}); the table shows the median and the range
  --json FILE     keep the results in FILE instead of bench/results.json
  --help          this text

Workloads
${Object.entries(workloads)
  .map(([id, { title }]) => `  ${id.padEnd(4)} ${title}`)
  .join('\n')}
`

class UsageError extends Error {}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2))
  if (options === 'help') {
    process.stdout.write(help)
    return 0
  }
  if (options.peers && !existsSync(join(here, 'node_modules'))) {
    throw new UsageError('The peers are not installed. Run: npm ci --prefix bench')
  }
  const { entries, problems } = await findEntries(options)
  if (entries.length === 0) throw new UsageError('Nothing to run: no subject matches. Try --peers, or --help.')
  process.stdout.write(`${machineLine()}\nmedian (min-max) of up to ${options.runs} runs\n`)
  const sections: Partial<Record<WorkloadId, Section>> = {}
  for (const workload of Object.keys(workloads) as WorkloadId[]) {
    const chosen = entries.filter((entry) => entry.workload === workload)
    if (chosen.length === 0) continue
    await runInTurns(chosen, options.runs)
    const results = chosen.map(({ name, figures, failures }) => [name, subjectResult(figures, failures)] as const)
    const own = new Set(chosen.filter(({ file }) => tidemarkFiles.includes(file)).map(({ name }) => name))
    const section = createSection(workload, Object.fromEntries(results), (name) => own.has(name))
    sections[workload] = section
    process.stdout.write(`\n${sectionText(workload, section)}\n`)
    keep(options, { [workload]: section })
  }
  for (const problem of problems) process.stderr.write(`${problem}\n`)
  return problems.length > 0 || entries.some(({ failures }) => failures.length > 0) ? 1 : 0
}

function parseOptions(args: string[]): Options | 'help' {
  const { values } = readArgs(args)
  if (values.help) return 'help'
  const runs = values.runs === undefined ? runsDefault : Number(values.runs)
  if (!Number.isInteger(runs) || runs < 1 || runs > runsLimit) throw new UsageError(`--runs takes 1 to ${runsLimit}`)
  const only = (values.only ?? '').split(',').filter((id) => id !== '')
  const unknown = only.find((id) => !Object.hasOwn(workloads, id))
  if (unknown) throw new UsageError(`Unknown workload ${unknown}; known: ${Object.keys(workloads).join(', ')}`)
  const { peers = false, subject, json } = values
  return { peers, only: only as WorkloadId[], subject: subject?.toLowerCase(), runs, json }
}

function readArgs(args: string[]) {
  try {
    return parseArgs({
      args,
      options: {
        peers: { type: 'boolean' },
        only: { type: 'string' },
        subject: { type: 'string' },
        runs: { type: 'string' },
        json: { type: 'string' },
        help: { type: 'boolean', short: 'h' },
      },
    })
  } catch (error) {
    throw new UsageError(`${(error as Error).message}\n\n${help}`)
  }
}

/** A file that cannot be loaded (a native part that is missing, say) is a problem to report, not the end. */
async function findEntries(options: Options): Promise<{ entries: Entry[]; problems: string[] }> {
  const entries: Entry[] = []
  const problems: string[] = []
  for (const file of [...tidemarkFiles, ...(options.peers ? peerFiles : [])]) {
    try {
      const listed = await listSubjects(file)
      entries.push(...listed.map((subject) => ({ ...subject, file, figures: [], failures: [] })))
    } catch (error) {
      problems.push(`${file} cannot be loaded: ${(error as Error).message.split('\n')[0]}`)
    }
  }
  const wanted = entries.filter(
    ({ name, workload }) =>
      (options.only.length === 0 || options.only.includes(workload)) &&
      (options.subject === undefined || name.toLowerCase().includes(options.subject)),
  )
  return { entries: wanted, problems }
}

async function runInTurns(entries: readonly Entry[], runs: number): Promise<void> {
  for (let turn = 1; turn <= runs; turn++) {
    for (const entry of entries) {
      if (turn > (entry.runsMax ?? runs) || entry.failures.length > 0) continue
      process.stderr.write(`${entry.workload} ${entry.name}, run ${turn} of ${Math.min(runs, entry.runsMax ?? runs)}: `)
      process.stderr.write(`${await runOnce(entry)}\n`)
    }
  }
}

/** A subject that failed once is not run again: its figures would come from fewer runs than the table says. */
async function runOnce(entry: Entry): Promise<string> {
  mkdirSync(runsDirectory, { recursive: true })
  const directory = mkdtempSync(join(runsDirectory, 'run-'))
  try {
    await prepareSubject(entry.file, entry, { directory })
    const figures = await runSubject(entry.file, entry, { directory })
    entry.figures.push(figures)
    return (Object.entries(figures) as [FigureName, number][])
      .map(([name, amount]) => `${figureKinds[name].label} ${amountText(amount, figureKinds[name].unit)}`)
      .join(', ')
  } catch (error) {
    entry.failures.push((error as Error).message)
    return `failed: ${(error as Error).message}`
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

function keep(options: Options, sections: Partial<Record<WorkloadId, Section>>): void {
  if (options.subject !== undefined && options.json === undefined) return
  const file = options.json === undefined ? join(here, 'results.json') : resolve(options.json)
  saveSections(file, options.peers ? 'withPeers' : 'alone', sections)
}

process.once('exit', () => rmSync(runsDirectory, { recursive: true, force: true }))
process.once('SIGINT', () => process.exit(130))
process.once('SIGTERM', () => process.exit(143))
try {
  process.exitCode = await main()
} catch (error) {
  if (!(error instanceof UsageError)) throw error
  process.stderr.write(`${error.message}\n`)
  process.exitCode = 2
}
