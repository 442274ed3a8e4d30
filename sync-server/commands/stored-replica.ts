/**
 * A replica in its LMDB store, opened by a command beside the program that has it open.
 *
 * Knows: directories, and what a store or a file says about tables. Must never know: what the command is about.
 */

import { readFile, stat } from 'node:fs/promises'
import { join } from 'node:path'
import {
  FIELD_POLICIES,
  type FieldPolicy,
  type JournalOptions,
  Ledger,
  POLICIES,
  type Policy,
  parseLimits,
  parseTenantName,
  quote,
  Replica,
  type TableDefinition,
  TidemarkError,
  table,
} from '../../core/index.ts'
import { parseTableFingerprint, rememberedTables } from '../../core/server-door.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'

export type Tables = ReadonlyMap<string, TableDefinition>

export interface StoredReplica {
  readonly store: string
  readonly tenant: string
  /** A file of definitions; without one, what the store remembers. */
  readonly tables?: string
}

/** Opens the replica, does the work, and closes everything. */
export function withReplica<Result>(
  stored: StoredReplica,
  work: (replica: Replica) => Promise<Result>,
): Promise<Result> {
  return withLedger(stored, async (ledger) => {
    const tables = stored.tables === undefined ? await recallTables(ledger) : await readTables(stored.tables)
    if (tables.size > 0) return work(new Replica(ledger, tables, Date.now))
    throw new TidemarkError('bad-option', 'the store does not say how its tables are defined', {
      remedy: 'Give a file of definitions with --tables; see --help',
    })
  })
}

/** What is beneath a replica: for work that is not about what its rows show. */
export async function withLedger<Result>(
  { store: directory, tenant }: StoredReplica,
  work: (ledger: Ledger) => Promise<Result>,
): Promise<Result> {
  await expectStore(directory)
  const store = await openLmdbStore(directory)
  try {
    if ((await store.head()) === 0) throw noReplica(directory)
    // Whatever replica the store holds: who admits its changes is written there.
    const limits = parseLimits()
    const ledger = await Ledger.open({ tenant: parseTenantName(tenant), store, limits, authority: 0 })
    try {
      return await work(ledger)
    } finally {
      await ledger.close()
    }
  } finally {
    await store.close()
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

// ── Table definitions ───────────────────────────────────────────────────────────────────────────────────────────────

/** As the server's clients have told it. Tables of policies that are code are left out, and that is said. */
export async function recallTables(ledger: Ledger): Promise<Tables> {
  const tables = new Map<string, TableDefinition>()
  for (const [name, fingerprint] of await rememberedTables(ledger)) {
    const definition = parseTableFingerprint(fingerprint)
    if (definition !== undefined) tables.set(name, definition)
    else process.stderr.write(`tidemark: left out ${name}: it is settled by code of the app (${fingerprint})\n`)
  }
  return tables
}

/** The definitions in a file. */
export async function readTables(path: string): Promise<Tables> {
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
  const { granularity = 'fields', policy = 'lastWriteWins', fields = {}, journal, ...others } = definition
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
    journal: parseJournal(name, journal),
  })
}

function parseJournal(name: string, journal: unknown = {}): JournalOptions {
  const known = ['isKept', 'isRedacted', 'keptDays']
  if (isObject(journal) && Object.keys(journal).every((key) => known.includes(key))) return journal
  throw badTables(`the journal of ${quote(name)} is not an object of ${known.join(', ')}`)
}

function pick<Found>(policies: ReadonlyMap<string, Found>, name: unknown, where: string): Found {
  const found = typeof name === 'string' ? policies.get(name) : undefined
  if (found !== undefined) return found
  throw badTables(`the policy of ${quote(where)} must be one of ${[...policies.keys()].join(', ')}, not ${quote(name)}`)
}

function badTables(why: string): TidemarkError {
  return new TidemarkError('bad-option', `the file of tables is not right: ${why}`)
}

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
