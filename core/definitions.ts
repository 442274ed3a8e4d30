/**
 * Definitions: what the replicas of a tenant have agreed on about each table, as a server remembers it.
 *
 * The first one that is told counts, for all who come later. What is stored does not depend on it: rows merge the same under
 * any definition, and only what a row in conflict amounts to differs. So a definition can be replaced; whoever comes with
 * the old one is refused, and keeps what it has written until its app was updated.
 *
 * Knows: definitions as texts, who brought them. Must never know: policies, sessions, who may define.
 *
 * Invariants:
 * DF1  A table has one definition at a time, also where two come in one commit.
 * DF2  A tenant has at most `TABLES_MAX` of them, and they are not long: no quota counts them, and all of them have to fit
 *      the hello of a relay.
 */
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { kindRange, tableKey, tableKeyName } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import type { TableRecord } from './message.ts'
import { isName, quote, type ReplicaId } from './names.ts'
import { asArray, asCount, asText, packRecord, unpackRecord } from './packing.ts'
import type { StoreEntry } from './store.ts'

/** Of a replica, and of a tenant. */
const TABLES_MAX = 256
/** Of one: each of 256 fields has a policy of its own. Of all of a tenant: half a frame. */
const DEFINITION_CHARACTERS_MAX = 16_384
const DEFINITIONS_CHARACTERS_MAX = 524_288

export interface Definition {
  readonly table: string
  /** Granularity, policy and version; then those of fields that have their own. */
  readonly text: string
  /** Who told it; undefined when it came from an upstream or an operator. */
  readonly replica: string | undefined
  /** Unix milliseconds; undefined when nobody noted it. */
  readonly sinceMs: number | undefined
}

/** What is said of a table in a hello. Throws what whoever said it has to be told. */
export function expectDefinitions(tables: readonly TableRecord[]): void {
  if (tables.length > TABLES_MAX) throw tooMany()
  for (const [name, text] of tables) {
    if (!isName(name)) throw new TidemarkError('bad-name', `${quote(name)} is not a table name`)
    if (text.length <= DEFINITION_CHARACTERS_MAX) continue
    throw new TidemarkError('too-large', `the definition of table ${name} has ${text.length} characters`, {
      remedy: `Use at most ${DEFINITION_CHARACTERS_MAX}: give fewer fields a policy of their own`,
    })
  }
}

/** In the order of names. A replica's own store has none. */
export async function listDefinitions({ store }: Ledger): Promise<Definition[]> {
  const definitions: Definition[] = []
  for await (const entry of scanRange(store, kindRange('t'))) definitions.push(decode(entry))
  return definitions
}

/** The tables that replicas brought with their hellos, by name, as texts. */
export async function rememberedTables(ledger: Ledger): Promise<ReadonlyMap<string, string>> {
  return new Map((await listDefinitions(ledger)).map(({ table, text }) => [table, text]))
}

/** Those of some tables, in the order in which they are asked for. */
export async function readDefinitions(
  { store }: Ledger,
  tables: readonly string[],
): Promise<readonly (string | undefined)[]> {
  const found = await store.getMany(tables.map(tableKey))
  return found.map((value, at) => value && decode({ key: tableKey(tables[at] as string), value }).text)
}

/** For a job that applies: remembers what is new. `stored`: what there was when it prepared. */
export function remember(
  draft: Draft,
  tables: readonly TableRecord[],
  {
    stored,
    replica,
    nowMs,
  }: { readonly stored: readonly Definition[]; readonly replica: ReplicaId; readonly nowMs: number },
): void {
  const drafted = draft.putsIn(kindRange('t')).map(decode)
  let count = stored.length + drafted.length
  let characters = [...stored, ...drafted].reduce((sum, { text }) => sum + text.length, 0)
  for (const [name, text] of tables) {
    const other = drafted.find(({ table }) => table === name)
    if (other !== undefined && other.text !== text) throw mismatch(name, other.text, text)
    if (other !== undefined) continue
    characters += text.length
    if (++count > TABLES_MAX || characters > DEFINITIONS_CHARACTERS_MAX) throw tooMany()
    draft.put(tableKey(name), packRecord([text, replica, Math.floor(nowMs)]))
  }
}

/** Takes over what an upstream says. */
export function takeOver(draft: Draft, tables: readonly TableRecord[]): void {
  for (const [name, text] of tables) draft.put(tableKey(name), packRecord(text))
}

export function mismatch(name: string, expected: string, actual: string): TidemarkError {
  return new TidemarkError(
    'schema-mismatch',
    `table ${name} is defined as "${expected}" here and as "${actual}" by the replica`,
    {
      remedy: 'All replicas of a tenant must agree on granularity, policy and its version',
      details: { table: name, expected, actual },
    },
  )
}

function decode({ key, value }: StoreEntry): Definition {
  const table = tableKeyName(key)
  const record = unpackRecord(value)
  // Stores of earlier versions hold the text alone.
  if (typeof record === 'string') return { table, text: record, replica: undefined, sinceMs: undefined }
  const [text, replica, sinceMs] = asArray(record)
  const teller = asText(replica)
  return { table, text: asText(text), replica: teller === '' ? undefined : teller, sinceMs: asCount(sinceMs) }
}

function tooMany(): TidemarkError {
  return new TidemarkError(
    'too-large',
    `a tenant has at most ${TABLES_MAX} tables, of ${DEFINITIONS_CHARACTERS_MAX} characters`,
  )
}
