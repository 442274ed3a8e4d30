/**
 * `tidemark conflicts`: the conflicts of a replica, read and decided in its LMDB store, beside the program that has it open.
 *
 * Knows: files, flags, and how a report looks to people. Must never know: what a conflict is; it asks the replica.
 * Invariant W2: a command that cannot do what it was asked for changes nothing and exits with 1.
 */
import { Command, InvalidArgumentError, Option } from 'commander'
import {
  type Conflict,
  type ConflictSide,
  type Decision,
  type Dot,
  isTidemarkError,
  quote,
  type Replica,
  type RowShape,
  TidemarkError,
} from '../../core/index.ts'
import { toJson } from '../json.ts'
import { formatColumns, nameOf, oneLine, parseCount } from './printing.ts'
import { isObject, type StoredReplica, withReplica } from './stored-replica.ts'

interface StoreFlags extends StoredReplica {
  readonly json: boolean
}

interface ListFlags extends StoreFlags {
  readonly table?: string
  readonly settled: boolean
  readonly limit: number
}

interface ResolveFlags extends StoreFlags {
  readonly keep?: string
  readonly value?: ParsedValue
  readonly accept: boolean
  /** The side to bring back; true: the one that lost. */
  readonly restore?: string | true
}

const HELP = `
The store is the directory that the replica was opened with; the program that has it open may go on running.

--tables names a file that says how the app defines its tables; a server's store has that from its clients:
  { "notes": {}, "items": { "granularity": "row", "policy": "causal" }, "polls": { "fields": { "votes": "counter" } } }
Policies: lastWriteWins (where none is given), causal, firstWriteWins, deleteWins, updateWins; of fields also max, min,
union, longestText, counter. A policy of the app's own code is not known here. What the app says of a table's journal
("journal": { "isKept": false, "isRedacted": true, "keptDays": 30 }) counts here as well.

Values are JSON, with { "$date": "2026-01-31T00:00:00.000Z" } and { "$bytes": "base64" } for what JSON has not.

Examples:
  $ tidemark conflicts list --store ./app-data --tenant acme --tables tables.json
  $ tidemark conflicts show ID …                      both sides beside each other
  $ tidemark conflicts resolve ID --keep 1 …          the first side as show has it, or REPLICA:SEQ
  $ tidemark conflicts resolve ID --value '{"title":"both"}' …
  $ tidemark conflicts resolve ID --accept …          what is shown now stands
  $ tidemark conflicts resolve ID --restore …         brings back what lost, also after it was settled

Instead of an ID, TABLE/ROW will do where the row has one open conflict.`

export function conflictsCommand(): Command {
  return new Command('conflicts')
    .description('List, show and resolve the conflicts of a replica, in its store.')
    .addHelpText('after', HELP)
    .addCommand(
      withStore(new Command('list').description('List open conflicts, or with --settled all that are remembered.'))
        .option('--table <name>', 'of one table only')
        .option('--settled', 'also those that are settled, oldest first', false)
        .addOption(new Option('--limit <count>', 'list at most so many').default(100).argParser(parseCount))
        .action((flags: ListFlags) => run(flags, (replica) => list(replica, flags))),
    )
    .addCommand(
      withStore(new Command('show').description('Show both sides of a conflict.'))
        .argument('<id>')
        .action((id: string, flags: StoreFlags) => run(flags, (replica) => show(replica, id, flags))),
    )
    .addCommand(
      withStore(new Command('resolve').description('Decide a conflict, on all replicas.'))
        .argument('<id>')
        .option('--keep <side>', 'keep one side: 1, 2, or its dot as REPLICA:SEQ')
        .addOption(new Option('--value <json>', 'write these fields; null deletes the row').argParser(parseValue))
        .option('--accept', 'keep what is shown now', false)
        .option('--restore [side]', 'bring back the side that lost, or this one')
        .action((id: string, flags: ResolveFlags) => run(flags, (replica) => resolve(replica, id, flags))),
    )
}

function withStore(command: Command): Command {
  return command
    .addOption(
      new Option('--store <dir>', 'directory of the replica’s store').env('TIDEMARK_STORE').makeOptionMandatory(),
    )
    .addOption(new Option('--tenant <name>', 'tenant of the store').env('TIDEMARK_TENANT').makeOptionMandatory())
    .addOption(new Option('--tables <file>', 'table definitions; a server’s store knows them').env('TIDEMARK_TABLES'))
    .option('--json', 'print JSON', false)
}

/** Prints what the work answers. */
async function run(flags: StoreFlags, work: (replica: Replica) => Promise<string>): Promise<void> {
  try {
    process.stdout.write(`${await withReplica(flags, work)}\n`)
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    process.stderr.write(`tidemark: ${error.message}\n`)
    process.exitCode = 1
  }
}

// ── Commands ────────────────────────────────────────────────────────────────────────────────────────────────────────

interface Listed {
  readonly conflict: Conflict
  readonly isOpen: boolean
}

async function list(replica: Replica, { table: name, settled, limit, json }: ListFlags): Promise<string> {
  if (name !== undefined) expectTable(replica, name)
  const filter = name === undefined ? {} : { table: name }
  const listed: Listed[] = []
  if (settled) listed.push(...(await replica.conflicts.journal({ ...filter, limit })))
  else {
    for await (const conflict of replica.conflicts.open(filter)) {
      if (listed.push({ conflict, isOpen: true }) >= limit) break
    }
  }
  if (json) return toJson(listed.map(({ conflict, isOpen }) => ({ ...conflict, isOpen })))
  if (listed.length === 0) return settled ? 'No conflicts are remembered.' : 'No conflicts are open.'
  const rows = listed.map(({ conflict, isOpen }) => [
    `${conflict.table}/${conflict.row}`,
    conflict.type,
    conflict.fields.map((field) => field.name).join(', '),
    conflict.winner === undefined ? 'both' : nameOf(conflict.winner),
    isOpen ? (conflict.isProvisional ? 'to decide' : 'open') : 'settled',
    conflict.id,
  ])
  return formatColumns(['ROW', 'TYPE', 'FIELDS', 'SHOWN', 'STATE', 'ID'], rows)
}

async function show(replica: Replica, id: string, { json }: StoreFlags): Promise<string> {
  const conflict = await find(replica, id)
  if (json) return toJson(conflict)
  const [left, right] = conflict.sides
  const names = [...new Set(conflict.sides.flatMap(({ values }) => Object.keys(values)))].sort()
  const rows = [
    ['replica', '', left.dot.replica, right.dot.replica],
    ['change', '', String(left.dot.seq), String(right.dot.seq)],
    ['did', '', left.op, right.op],
    ['at', '', new Date(left.time).toISOString(), new Date(right.time).toISOString()],
    ['prevails', '', ...conflict.sides.map((side) => (isSameDot(side.dot, conflict.winner) ? 'yes' : ''))],
    ...names.map((name) => [name, baseOf(conflict, name), ...conflict.sides.map((side) => sideValue(side, name))]),
  ]
  const shown = await shownRow(replica, conflict)
  return [
    oneLine(`${conflict.type} in ${conflict.table}/${conflict.row}`),
    oneLine(conflict.id),
    '',
    formatColumns(['', 'BEFORE', 'SIDE 1', 'SIDE 2'], rows),
    '',
    `${conflict.reason} (${conflict.policy})`,
    ...(conflict.fallback === undefined ? [] : [oneLine(conflict.fallback)]),
    ...(conflict.isPartial === undefined
      ? []
      : ['This store does not hold all that the two did; another may tell more.']),
    `Shown now: ${shown === undefined ? 'no row' : toJson(shown, 0)}`,
  ].join('\n')
}

async function resolve(replica: Replica, id: string, flags: ResolveFlags): Promise<string> {
  const ways = [flags.keep, flags.value, flags.accept || undefined, flags.restore].filter((way) => way !== undefined)
  if (ways.length !== 1) {
    throw new TidemarkError('bad-option', 'say in one way how to resolve it', {
      remedy: 'Give one of --keep SIDE, --value JSON, --accept and --restore',
    })
  }
  const conflict = await find(replica, id)
  const { conflicts } = replica
  if (flags.accept) await conflicts.accept(conflict.id)
  else if (flags.restore !== undefined) {
    await conflicts.restore(conflict.id, ...(flags.restore === true ? [] : [dotOf(conflict, flags.restore)]))
  } else {
    const value = flags.value?.fields ?? null
    const decision: Decision = flags.keep === undefined ? { value } : { keep: dotOf(conflict, flags.keep) }
    await conflicts.resolve(conflict.id, decision)
  }
  const row = await shownRow(replica, conflict)
  if (flags.json) return toJson({ id: conflict.id, row: row ?? null })
  const place = oneLine(`${conflict.table}/${conflict.row}`)
  return `Resolved. ${place} is ${row === undefined ? 'deleted' : toJson(row, 0)}`
}

/** By id, or by the row where that is in one open conflict. */
async function find(replica: Replica, id: string): Promise<Conflict> {
  const found = await replica.conflicts.get(id)
  if (found !== undefined) return found
  const [name = '', ...rest] = id.split('/')
  const row = rest.join('/')
  const inRow: Conflict[] = []
  if (replica.tables.has(name)) {
    for await (const conflict of replica.conflicts.open({ table: name })) if (conflict.row === row) inRow.push(conflict)
  }
  const [only, ...others] = inRow
  if (only !== undefined && others.length === 0) return only
  if (only !== undefined) {
    throw new TidemarkError('conflict-unknown', `${quote(id)} has ${inRow.length} open conflicts`, {
      remedy: 'Give the id of one of them, as `tidemark conflicts list` has it',
    })
  }
  throw new TidemarkError('conflict-unknown', `there is no conflict ${quote(id)}`, {
    remedy: 'See `tidemark conflicts list`, and with --settled those that are over',
  })
}

async function shownRow(replica: Replica, { table: name, row }: Conflict): Promise<RowShape | undefined> {
  return replica.table(name).get(row)
}

function expectTable(replica: Replica, name: string): void {
  if (replica.tables.has(name)) return
  throw new TidemarkError('unknown-table', `the file of tables does not define ${quote(name)}`, {
    remedy: `It defines ${[...replica.tables.keys()].join(', ') || 'none'}`,
  })
}

/** A side by its number, or by its dot, whose replica may be shortened. */
function dotOf({ sides }: Conflict, text: string): Dot {
  const numbered = { 1: sides[0], 2: sides[1] }[text]
  if (numbered !== undefined) return numbered.dot
  const [replica = '', seq] = text.split(':')
  const matching = sides.filter(
    ({ dot }) => replica !== '' && dot.replica.startsWith(replica) && String(dot.seq) === seq,
  )
  const [side] = matching
  if (side !== undefined && matching.length === 1) return side.dot
  throw new TidemarkError('bad-option', `${quote(text)} is no side of this conflict`, {
    remedy: `Its sides are 1, which is ${nameOf(sides[0].dot)}, and 2, which is ${nameOf(sides[1].dot)}`,
  })
}

// ── Values ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** In an object of its own: a flag that is null counts as not given. */
interface ParsedValue {
  readonly fields: Readonly<Record<string, unknown>> | null
}

function parseValue(text: string): ParsedValue {
  try {
    const fields: unknown = JSON.parse(text, (_key, each: unknown) => untag(each))
    if (fields === null || isObject(fields)) return { fields }
  } catch {
    // Told below.
  }
  throw new InvalidArgumentError('It must be a JSON object of fields, or null.')
}

function untag(value: unknown): unknown {
  if (!isObject(value) || Object.keys(value).length !== 1) return value
  if (typeof value.$date === 'string') return new Date(value.$date)
  if (typeof value.$bytes === 'string') return new Uint8Array(Buffer.from(value.$bytes, 'base64'))
  return value
}

function isSameDot(left: Dot, right: Dot | undefined): boolean {
  return left.replica === right?.replica && left.seq === right.seq
}

function baseOf({ fields }: Conflict, name: string): string {
  const base = fields.find((field) => field.name === name)?.base
  return base === undefined ? '' : toJson(base, 0)
}

function sideValue({ values }: ConflictSide, name: string): string {
  return Object.hasOwn(values, name) ? toJson(values[name], 0) : ''
}
