/**
 * `tidemark verify`: are the rows of a store, or of another server, the same as those of a server?
 *
 * Knows: flags, and how differences look to people. Must never know: how they are found.
 * Invariant W4: without --repair nothing is written, neither here nor there.
 */

import { SingleBar } from 'cli-progress'
import { Command, InvalidArgumentError, Option } from 'commander'
import { isTidemarkError, type Ledger, parseTenantName, TidemarkError, table } from '../../core/index.ts'
import {
  type Ask,
  askLedger,
  type ComparedRow,
  type DifferingRow,
  differingRows,
  findDiffering,
  joinStretch,
  readCursor,
  tablesWithRows,
} from '../../core/server-door.ts'
import { toJson } from '../json.ts'
import { type Inquiry, inquire } from './inquiry.ts'
import { formatColumns, nameOf, oneLine, parseCount } from './printing.ts'
import { readTables, recallTables, type Tables, withLedger } from './stored-replica.ts'

interface VerifyFlags {
  readonly tenant: string
  readonly token?: string
  readonly store?: string
  readonly with?: string
  readonly withTenant?: string
  readonly withToken?: string
  readonly tables?: string
  readonly table?: readonly string[]
  readonly repair: boolean
  readonly limit: number
  readonly timeout: number
  readonly json: boolean
}

const HELP = `
Exits with 0 when all rows are the same, with 1 when some differ, and with 2 when that could not be found out.

Ranges of rows are compared by hash and split where they differ: a difference among 100,000 rows takes four or five
questions. Nothing is synced. What is under way between the two counts as a difference, so let the app sync first.

--repair joins what the server has into the store: it can only add what was missing there. What only the store has stays as
it is. A server is repaired by comparing the store that it keeps the tenant in with another server.

--tables names a file that says how the app defines its tables (see "tidemark conflicts --help"): those tables are compared,
and rows in conflict shown as the app shows them. Without it, all tables that the store has rows of. --table narrows it down.

A token is better given in the environment: command lines can be read by others on the same machine.

Examples:
  $ TIDEMARK_TOKEN=… tidemark verify https://sync.example.com --tenant acme --store ./app-data
  $ TIDEMARK_TOKEN=… tidemark verify https://sync.example.com --tenant acme --store ./app-data --repair
  $ tidemark verify http://127.0.0.1:7300 --tenant acme --with http://127.0.0.1:7301 --table notes --table items
  $ tidemark verify http://127.0.0.1:7300 --tenant acme --with http://127.0.0.1:7300 --with-tenant acme-copy --table notes`

export function verifyCommand(): Command {
  return new Command('verify')
    .description('Compare a store, or another server, with the server at URL.')
    .argument('<url>', 'of the server')
    .addOption(new Option('--tenant <name>', 'which tenant').env('TIDEMARK_TENANT').makeOptionMandatory())
    .addOption(new Option('--token <token>', 'what the server authenticates').env('TIDEMARK_TOKEN'))
    .addOption(new Option('--store <dir>', 'compare this directory of a replica').env('TIDEMARK_STORE'))
    .option('--with <url>', 'compare this server instead of a store')
    .option('--with-tenant <name>', 'its tenant, where it is another')
    .addOption(new Option('--with-token <token>', 'its token, where it is another').env('TIDEMARK_WITH_TOKEN'))
    .addOption(new Option('--tables <file>', 'table definitions').env('TIDEMARK_TABLES'))
    .addOption(new Option('--table <name>', 'this table; may be given again').argParser(addTo))
    .option('--repair', 'join the server’s rows into the store', false)
    .addOption(new Option('--limit <count>', 'show at most so many rows').default(20).argParser(parseCount))
    .addOption(new Option('--timeout <seconds>', 'how long one answer may take').default(60).argParser(parseCount))
    .option('--json', 'print JSON', false)
    .addHelpText('after', HELP)
    .action(run)
}

function addTo(name: string, names: readonly string[] = []): readonly string[] {
  if (name === '') throw new InvalidArgumentError('It must be the name of a table.')
  return [...names, name]
}

async function run(url: string, flags: VerifyFlags): Promise<void> {
  try {
    process.exitCode = await verify(url, flags)
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    process.stderr.write(`tidemark: ${error.message}\n`)
    process.exitCode = 2
  }
}

/** Answers with what to exit with. */
async function verify(url: string, flags: VerifyFlags): Promise<number> {
  const { store, tenant } = flags
  if ((store === undefined) === (flags.with === undefined)) {
    throw new TidemarkError('bad-option', 'say in one way what to compare', {
      remedy: 'Give --store DIR for a replica on this disk, or --with URL for another server',
    })
  }
  const options = { tenant: parseTenantName(tenant), token: flags.token, timeoutMs: flags.timeout * 1000 }
  if (store !== undefined) {
    return withLedger({ store, tenant }, (ledger) =>
      during(inquire({ url, ...options }), (server) => withStore(ledger, server, flags)),
    )
  }
  if (flags.repair) {
    throw new TidemarkError('bad-option', 'only a store can be repaired', {
      remedy: 'Give --store with the directory that the server keeps this tenant in',
    })
  }
  const other = {
    url: flags.with as string,
    tenant: flags.withTenant === undefined ? options.tenant : parseTenantName(flags.withTenant),
    token: flags.withToken ?? options.token,
    timeoutMs: options.timeoutMs,
  }
  if (other.url === url && other.tenant === options.tenant) {
    throw new TidemarkError('bad-option', 'the two are the same tenant of the same server')
  }
  return during(inquire({ url, ...options }), (server) =>
    during(inquire(other), (its) => withServer(its, server, flags)),
  )
}

async function during<Result>(asking: Promise<Inquiry>, work: (inquiry: Inquiry) => Promise<Result>): Promise<Result> {
  const there = await asking
  try {
    return await work(there)
  } finally {
    await there.close()
  }
}

async function withStore(ledger: Ledger, server: Inquiry, flags: VerifyFlags): Promise<number> {
  const defined = flags.tables === undefined ? await recallTables(ledger) : await readTables(flags.tables)
  const found = flags.tables === undefined ? await tablesWithRows(ledger) : []
  const names = flags.table ?? [...new Set([...defined.keys(), ...found])]
  const comparison: Comparison = { names, defined, ours: askLedger(ledger), theirs: server.ask, ledger }
  const outcome = await compare(comparison, flags)
  return report(outcome, { ...flags, here: 'STORE', there: 'SERVER', notes: await notesOf(ledger, server) })
}

async function withServer(its: Inquiry, server: Inquiry, flags: VerifyFlags): Promise<number> {
  const defined = flags.tables === undefined ? new Map() : await readTables(flags.tables)
  const names = flags.table ?? [...defined.keys()]
  const outcome = await compare({ names, defined, ours: its.ask, theirs: server.ask }, flags)
  return report(outcome, { ...flags, here: '--with', there: 'SERVER', notes: [] })
}

// ── Comparing ───────────────────────────────────────────────────────────────────────────────────────────────────────

interface Comparison {
  readonly names: readonly string[]
  readonly defined: Tables
  readonly ours: Ask
  readonly theirs: Ask
  /** What can be repaired. */
  readonly ledger?: Ledger
}

interface Outcome {
  readonly tables: readonly string[]
  readonly rows: number
  readonly questions: number
  readonly differing: number
  readonly repaired: number
  /** As many as are shown, with both sides as they were before any repair. */
  readonly shown: readonly ShownRow[]
}

type ShownRow = DifferingRow & { readonly isRepaired: boolean }

async function compare({ names, defined, ours, theirs, ledger }: Comparison, flags: VerifyFlags): Promise<Outcome> {
  if (names.length === 0) {
    throw new TidemarkError('bad-option', 'nobody says which tables there are', {
      remedy: 'Name them with --table, or give their definitions with --tables',
    })
  }
  const shown: ShownRow[] = []
  let [rows, questions, differing, repaired] = [0, 0, 0, 0]
  const bar = startBar()
  const counted: Ask = (question) => {
    questions++
    return theirs(question)
  }
  try {
    const stretches = findDiffering(names, { ours, theirs: counted }, (done, total) => {
      rows = total
      bar?.setTotal(Math.max(1, total))
      bar?.update(done, { differing })
    })
    for await (const stretch of stretches) {
      const found = differingRows(stretch, defined.get(stretch.stretch.table) ?? table())
      const joined = flags.repair && ledger !== undefined ? await joinStretch(ledger, stretch, true) : []
      const mended = new Set(joined.filter(({ isRepaired }) => isRepaired).map(({ id }) => id))
      differing += found.length
      repaired += mended.size
      for (const row of found.slice(0, flags.limit - shown.length))
        shown.push({ ...row, isRepaired: mended.has(row.id) })
    }
  } finally {
    bar?.stop()
  }
  return { tables: names, rows, questions, differing, repaired, shown }
}

/** On a terminal only. */
function startBar(): SingleBar | undefined {
  if (process.stderr.isTTY !== true) return undefined
  const bar = new SingleBar({
    format: 'comparing [{bar}] {value} of {total} rows | {differing} differ',
    stream: process.stderr,
    hideCursor: true,
    clearOnComplete: true,
  })
  bar.start(1, 0, { differing: 0 })
  return bar
}

/** Why rows may differ although nothing is wrong. */
async function notesOf(ledger: Ledger, { welcome }: Inquiry): Promise<string[]> {
  const notes: string[] = []
  if (ledger.pending > 0) notes.push(`${ledger.pending} changes of the store wait for the server's answer.`)
  const cursor = await readCursor(ledger)
  const isItsLog = cursor?.logId === welcome.logId && cursor.epoch === welcome.epoch
  if (cursor !== undefined && !isItsLog)
    notes.push('The store was last synced with another log than the server has now.')
  const behind = isItsLog ? welcome.position - cursor.position : 0
  if (behind > 0) notes.push(`The store has not read the last ${behind} entries of the server's log.`)
  return notes
}

// ── Printing ────────────────────────────────────────────────────────────────────────────────────────────────────────

interface ReportOptions {
  readonly json: boolean
  readonly repair: boolean
  readonly here: string
  readonly there: string
  readonly notes: readonly string[]
}

function report(outcome: Outcome, { json, repair, here, there, notes }: ReportOptions): number {
  const { tables, rows, questions, differing, repaired, shown } = outcome
  if (json) process.stdout.write(`${toJson({ tables, rows, questions, differing, repaired, notes, shown })}\n`)
  else {
    const parts = shown.map((row) => describe(row, here, there))
    if (differing > shown.length) parts.push(`… and ${differing - shown.length} more (--limit)`)
    if (differing > 0) parts.push(...notes)
    parts.push(summary(outcome, repair))
    process.stdout.write(`${parts.join('\n\n')}\n`)
  }
  return differing > repaired ? 1 : 0
}

function summary({ tables, rows, questions, differing, repaired }: Outcome, repair: boolean): string {
  const compared = `${plural(rows, 'row')} of ${oneLine(tables.join(', '))}, ${plural(questions, 'question')} to the server`
  if (differing === 0) return `All rows are the same: ${compared}.`
  const mended = repair ? `, ${repaired} ${repaired === 1 ? 'is' : 'are'} repaired` : ''
  const rest =
    repair && repaired < differing ? ' What is not repaired, the server lacks, or the two contradict each other.' : ''
  return `${plural(differing, 'row')} ${differing === 1 ? 'differs' : 'differ'}${mended}: ${compared}.${rest}`
}

function plural(count: number, what: string): string {
  return `${count.toLocaleString('en')} ${what}${count === 1 ? '' : 's'}`
}

function describe({ table: name, id, ours, theirs, isRepaired }: ShownRow, here: string, there: string): string {
  const fields = [...new Set([...Object.keys(ours?.values ?? {}), ...Object.keys(theirs?.values ?? {})])].sort()
  const rows = [
    ['', stateOf(ours), stateOf(theirs)],
    ['heads', headsOf(ours), headsOf(theirs)],
    ...fields.map((field) => [field, shownValue(ours, field), shownValue(theirs, field)]),
  ]
  const title = oneLine(`${name}/${id}${isRepaired ? ' (repaired)' : ''}`)
  return `${title}\n${formatColumns(['', here, there], rows)}`
}

function stateOf(row: ComparedRow | undefined): string {
  if (row === undefined) return 'unknown'
  return row.isAlive ? 'exists' : 'deleted'
}

function headsOf(row: ComparedRow | undefined): string {
  return (row?.heads ?? []).map(({ dot, op }) => `${op} ${nameOf(dot)}`).join(', ')
}

function shownValue(row: ComparedRow | undefined, field: string): string {
  return row !== undefined && Object.hasOwn(row.values, field) ? toJson(row.values[field], 0) : ''
}
