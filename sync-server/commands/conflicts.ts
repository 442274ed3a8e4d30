/**
 * `tidemark conflicts`: the conflicts of a replica, read and decided in its LMDB store, beside the program that has it open.
 *
 * Knows: files, flags, and how a report looks to people. Must never know: what a conflict is; it asks the replica.
 * Invariant W2: a command that cannot do what it was asked for changes nothing and exits with 1.
 */
import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import {
  type Conflict,
  type ConflictSide,
  type Decision,
  type Dot,
  FIELD_POLICIES,
  type FieldPolicy,
  isTidemarkError,
  Ledger,
  POLICIES,
  type Policy,
  parseLimits,
  parseTableFingerprint,
  parseTenantName,
  quote,
  Replica,
  type RowShape,
  rememberedTables,
  type TableDefinition,
  TidemarkError,
  table,
} from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'

interface StoreFlags {
  readonly store: string
  readonly tenant: string
  readonly tables?: string
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
union, longestText, counter. A policy of the app's own code is not known here.

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

/** Opens the replica, does the work, prints what it answers and closes everything. */
async function run(flags: StoreFlags, work: (replica: Replica) => Promise<string>): Promise<void> {
  try {
    await expectStore(flags.store)
    const store = await openLmdbStore(flags.store)
    try {
      if ((await store.head()) === 0) throw noReplica(flags.store)
      // Whatever replica the store holds: who admits its changes is written there.
      const tenant = parseTenantName(flags.tenant)
      const ledger = await Ledger.open({ tenant, store, limits: parseLimits(), authority: 0 })
      const tables = flags.tables === undefined ? await recallTables(ledger) : await readTables(flags.tables)
      const replica = new Replica(ledger, tables, Date.now)
      try {
        process.stdout.write(`${await work(replica)}\n`)
      } finally {
        await replica.close()
      }
    } finally {
      await store.close()
    }
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    process.stderr.write(`tidemark: ${error.message}\n`)
    process.exitCode = 1
  }
}

/** Opening a store creates it: a name mistyped would leave an empty one behind. */
async function expectStore(directory: string): Promise<void> {
  const isThere = await stat(join(directory, 'data.mdb')).catch(() => undefined)
  if (isThere === undefined) throw noReplica(directory)
}

function noReplica(directory: string): TidemarkError {
  return new TidemarkError('bad-option', `there is no replica in ${directory}`, {
    remedy: 'Give the directory that the app opens its LMDB store in',
  })
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

// ── Table definitions ───────────────────────────────────────────────────────────────────────────────────────────────

/** As the server's clients have told it. Tables of policies that are code are left out, and that is said. */
async function recallTables(ledger: Ledger): Promise<ReadonlyMap<string, TableDefinition>> {
  const tables = new Map<string, TableDefinition>()
  for (const [name, fingerprint] of await rememberedTables(ledger)) {
    const definition = parseTableFingerprint(fingerprint)
    if (definition !== undefined) tables.set(name, definition)
    else process.stderr.write(`tidemark: left out ${name}: it is settled by code of the app (${fingerprint})\n`)
  }
  if (tables.size > 0) return tables
  throw new TidemarkError('bad-option', 'the store does not say how its tables are defined', {
    remedy: 'Give a file of definitions with --tables; see --help',
  })
}

async function readTables(path: string): Promise<ReadonlyMap<string, TableDefinition>> {
  let content: unknown
  try {
    content = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `the file of tables cannot be read: ${why}`, { cause })
  }
  if (!isObject(content)) throw badTables('it is not an object of tables')
  return new Map(Object.entries(content).map(([name, definition]) => [name, parseTable(name, definition)]))
}

function parseTable(name: string, definition: unknown): TableDefinition {
  if (!isObject(definition)) throw badTables(`the definition of ${quote(name)} is not an object`)
  const { granularity = 'fields', policy = 'lastWriteWins', fields = {}, ...others } = definition
  const [unknown] = Object.keys(others)
  if (unknown !== undefined) throw badTables(`${quote(name)} has ${quote(unknown)}, which nobody knows here`)
  if (granularity !== 'fields' && granularity !== 'row') {
    throw badTables(`granularity of ${quote(name)} must be "fields" or "row"`)
  }
  if (!isObject(fields)) throw badTables(`the fields of ${quote(name)} are not an object`)
  const known = new Map<string, FieldPolicy | Policy>([...POLICIES, ...FIELD_POLICIES])
  const byField = Object.entries(fields).map(([field, own]) => [field, pick(known, own, `${name}.${field}`)])
  return table({
    granularity,
    policy: pick(POLICIES, policy, name),
    fields: Object.fromEntries(byField) as Readonly<Record<string, never>>,
  })
}

function pick<Found>(policies: ReadonlyMap<string, Found>, name: unknown, where: string): Found {
  const found = typeof name === 'string' ? policies.get(name) : undefined
  if (found !== undefined) return found
  throw badTables(`the policy of ${quote(where)} must be one of ${[...policies.keys()].join(', ')}, not ${quote(name)}`)
}

function badTables(why: string): TidemarkError {
  return new TidemarkError('bad-option', `the file of tables is not right: ${why}`)
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

// ── Values and columns ──────────────────────────────────────────────────────────────────────────────────────────────

/** What JSON leaves as it is and a terminal might obey is escaped as well. */
function toJson(value: unknown, indent = 2): string {
  const text = JSON.stringify(tag(value), undefined, indent)
  return text.replace(UNSEEN, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Control characters, and those that turn the direction of writing. */
const UNSEEN = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu

/** With dates and bytes as objects of one key, and clocks as they write themselves. */
function tag(value: unknown): unknown {
  if (value instanceof Date) return { $date: value.toISOString() }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(tag)
  if (typeof value !== 'object' || value === null) return value
  if ('toJSON' in value && typeof value.toJSON === 'function') return (value.toJSON as () => unknown)()
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tag(each)]))
}

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

function parseCount(text: string): number {
  const count = Number(text)
  if (/^\d+$/.test(text) && count > 0) return count
  throw new InvalidArgumentError('It must be a whole number from 1.')
}

function nameOf({ replica, seq }: Dot): string {
  return `${replica.slice(0, 8)}:${seq}`
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

const CELL_MAX = 48

/** Columns as wide as they need to be; long cells are cut, the last column never. */
function formatColumns(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows].map((row) =>
    row.map((cell, index) => (index < titles.length - 1 ? cut(oneLine(cell)) : oneLine(cell))),
  )
  const widths = titles.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)))
  return cells
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function cut(text: string): string {
  return text.length > CELL_MAX ? `${text.slice(0, CELL_MAX - 1)}…` : text
}

/** Row ids and texts come from anywhere: nothing in them may move the terminal's cursor. */
function oneLine(text: string): string {
  return text.replace(UNSEEN, '\ufffd')
}
