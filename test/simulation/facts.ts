/**
 * What a commit says, read from its bytes: the one place where the simulator looks into stores.
 *
 * Knows: the key layout and the records of core. Must never know: whether what they say is right.
 */
import { decodeBlock } from '../../core/block.ts'
import { decodeField } from '../../core/counter.ts'
import { keyIndex, logKeyPosition, rejectedKeySeq, rowKeyId } from '../../core/keys.ts'
import { createMeta, LedgerState } from '../../core/ledger-state.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { blockOfRecord } from '../../core/log-record.ts'
import { parseTenantName } from '../../core/names.ts'
import { unpackRecord } from '../../core/packing.ts'
import type { RowState } from '../../core/row.ts'
import { decodeRow } from '../../core/row-codec.ts'
import type { StoreCommit } from '../../core/store.ts'
import { toText } from '../testing/as-code.ts'
import { BrokenPromise } from './broken-promise.ts'
import { type ChangeOp, clockText, formatHead, formatVersion, type History } from './history.ts'

/** One entry of a log, in the terms of the history. */
export type LogEntry =
  | { readonly type: 'void'; readonly replica: number; readonly seq: number; readonly code: string }
  | {
      readonly type: 'change'
      readonly replica: number
      readonly seq: number
      readonly op: ChangeOp
      readonly timestamp: number
      readonly table: string
      readonly id: string
      readonly values: ReadonlyMap<string, string>
      readonly context: ReadonlyMap<number, number>
      /** True when the next entry belongs to the same transaction. */
      readonly more: boolean
      readonly content: string
    }

export interface LogRecord {
  readonly position: number
  readonly entries: readonly LogEntry[]
}

export interface MetaFacts {
  readonly logId: string
  readonly epoch: number
  readonly replicaId: string
  readonly ownSeq: number
  readonly ackedSeq: number
  readonly nextPosition: number
  readonly changes: number
  readonly voids: number
  readonly rows: number
  readonly conflicts: number
  readonly rejected: number
  readonly authority: number
}

export interface RowFacts {
  readonly table: string
  readonly id: string
  /** Undefined: the row is removed. */
  readonly row: { readonly heads: string; readonly versions: string; readonly clock: string } | undefined
  readonly clock: ReadonlyMap<number, number>
}

export interface CommitFacts {
  readonly meta: MetaFacts | undefined
  readonly clock: readonly (readonly [replica: number, seq: number])[]
  readonly records: readonly LogRecord[]
  readonly rows: readonly RowFacts[]
  readonly rejected: readonly number[]
  /** Of refused changes that are issued again in this commit: the seq before, by the new one. */
  readonly reissued: ReadonlyMap<number, number>
  /** `rows`: a piece of a snapshot arrived. `end`: the last of it has. */
  readonly snapshot: 'rows' | 'end' | undefined
  readonly conflictIndex: readonly { readonly name: string; readonly isListed: boolean }[]
}

/** A store's own numbers for replicas and names. */
export interface StoreDictionaries {
  /** By index: the number of the replica in the history. */
  readonly replicas: number[]
  readonly names: string[]
}

const letterOf = (key: Uint8Array): string => String.fromCharCode(key[0] ?? 0)

export function readCommit(commit: StoreCommit, history: History, dictionaries: StoreDictionaries): CommitFacts {
  const clock = readDictionaries(commit, history, dictionaries)
  const records: LogRecord[] = []
  const rows: RowFacts[] = []
  const rejected: number[] = []
  const reissued = new Map<number, number>()
  const conflictIndex: { name: string; isListed: boolean }[] = []
  let meta: MetaFacts | undefined
  let snapshot: CommitFacts['snapshot']
  for (const key of commit.deletes) {
    const letter = letterOf(key)
    if (letter === 'p') snapshot = 'end'
    if (letter === 'o') conflictIndex.push({ name: rowName(key, dictionaries), isListed: false })
    if (letter === 'r') rows.push({ ...rowOf(key, dictionaries), row: undefined, clock: new Map() })
  }
  for (const { key, value } of commit.puts) {
    const letter = letterOf(key)
    if (letter === 'm') meta = readMeta(value)
    else if (letter === 'l') records.push(readRecord(key, value, history))
    else if (letter === 'r') rows.push(readRow(key, value, dictionaries))
    else if (letter === 'x') {
      const seq = rejectedKeySeq(key)
      const again = asList(unpackRecord(value))[2]
      if (again === undefined) rejected.push(seq)
      else reissued.set(Number(again), seq)
    } else if (letter === 'o') conflictIndex.push({ name: rowName(key, dictionaries), isListed: true })
    else if (letter === 'p') snapshot = asList(unpackRecord(value))[3] === null ? snapshot : 'rows'
  }
  records.sort((a, b) => a.position - b.position)
  return { meta, clock, records, rows, rejected, reissued, snapshot, conflictIndex }
}

/** Replicas and names first: everything else uses their numbers. */
function readDictionaries(
  { puts }: StoreCommit,
  history: History,
  dictionaries: StoreDictionaries,
): [number, number][] {
  const clock: [number, number][] = []
  for (const { key, value } of puts) {
    const letter = letterOf(key)
    if (letter === 'n') dictionaries.names[keyIndex(key)] = String(unpackRecord(value))
    if (letter !== 'i') continue
    const [id, seq] = asList(unpackRecord(value))
    const replica = history.replicaNumber(String(id))
    dictionaries.replicas[keyIndex(key)] = replica
    clock.push([replica, Number(seq)])
  }
  return clock
}

/** Where the meta record has which fact: found by encoding one whose every count is another number. */
const META_PLACES: Readonly<Record<keyof MetaFacts, number>> = findMetaPlaces()

function findMetaPlaces(): Record<keyof MetaFacts, number> {
  const meta = createMeta(parseTenantName('places'), 0)
  const places: Record<string, unknown> = {}
  let mark = 1_000
  for (const [key, value] of Object.entries(meta)) {
    if (typeof value === 'number') Object.assign(meta, { [key]: mark })
    places[key] = typeof value === 'number' ? mark++ : value
  }
  const record = asList(unpackRecord(new LedgerState(meta, DEFAULT_LIMITS).metaEntry().value))
  return Object.fromEntries(Object.entries(places).map(([key, mark]) => [key, record.indexOf(mark)])) as Record<
    keyof MetaFacts,
    number
  >
}

function readMeta(value: Uint8Array): MetaFacts {
  const record = asList(unpackRecord(value))
  const count = (key: keyof MetaFacts): number => record[META_PLACES[key]] as number
  return {
    logId: record[META_PLACES.logId] as string,
    epoch: count('epoch'),
    replicaId: record[META_PLACES.replicaId] as string,
    ownSeq: count('ownSeq'),
    ackedSeq: count('ackedSeq'),
    nextPosition: count('nextPosition'),
    changes: count('changes'),
    voids: count('voids'),
    rows: count('rows'),
    conflicts: count('conflicts'),
    rejected: count('rejected'),
    authority: count('authority'),
  }
}

// ── The log ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function readRecord(key: Uint8Array, value: Uint8Array, history: History): LogRecord {
  const names: string[] = []
  const resolver = {
    replica: (id: string): number => history.replicaNumber(id),
    name: (name: string): number => names.push(name) - 1,
  }
  const entries = decodeBlock(blockOfRecord(value), resolver, DEFAULT_LIMITS).map((entry): LogEntry => {
    const { replica, seq } = entry
    if (entry.op === 'void') return { type: 'void', replica, seq, code: entry.code }
    const { op, timestamp, id, more } = entry
    const table = names[entry.table] ?? ''
    const values = new Map(entry.versions.map((version) => [names[version.name] ?? '', toText(decodeField(version))]))
    const context = new Map<number, number>()
    for (let at = 0; at < entry.context.length; at += 2) {
      context.set(entry.context[at] as number, entry.context[at + 1] as number)
    }
    const fields = [...values].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, text]) => `${name}=${text}`)
    const content = `${op} ${table}/${id} ${timestamp} ${more ? 'more' : 'last'} {${fields.join(' ')}} after ${clockText(context)}`
    return { type: 'change', replica, seq, op, timestamp, table, id, values, context, more, content }
  })
  return { position: logKeyPosition(key), entries }
}

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function rowOf(key: Uint8Array, dictionaries: StoreDictionaries): { table: string; id: string } {
  return { table: nameAt(dictionaries, keyIndex(key)), id: rowKeyId(key) }
}

/** What a store uses by number, it must also spell out. */
function nameAt({ names }: StoreDictionaries, index: number): string {
  const text = names[index]
  if (text === undefined)
    throw new BrokenPromise('exact', `A commit uses name ${index}, which its store does not spell out.`)
  return text
}

function replicaAt({ replicas }: StoreDictionaries, index: number): number {
  const number = replicas[index]
  if (number === undefined)
    throw new BrokenPromise('exact', `A commit uses replica ${index}, which its store does not spell out.`)
  return number
}

function rowName(key: Uint8Array, dictionaries: StoreDictionaries): string {
  const { table, id } = rowOf(key, dictionaries)
  return `${table}/${id}`
}

function readRow(key: Uint8Array, value: Uint8Array, dictionaries: StoreDictionaries): RowFacts {
  const state = decodeRow(value)
  const clock = new Map<number, number>()
  for (let at = 0; at < state.clock.length; at += 2) {
    clock.set(replicaAt(dictionaries, state.clock[at] as number), state.clock[at + 1] as number)
  }
  return { ...rowOf(key, dictionaries), row: rowText(state, clock, dictionaries), clock }
}

function rowText(
  { heads, versions }: RowState,
  clock: ReadonlyMap<number, number>,
  dictionaries: StoreDictionaries,
): RowFacts['row'] {
  const byName = versions.map((version) => ({ version, name: nameAt(dictionaries, version.name) }))
  byName.sort((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1))
  return {
    heads: heads
      .map(({ replica, seq, op, fields }) =>
        formatHead(
          replicaAt(dictionaries, replica),
          seq,
          op,
          fields.map((field) => nameAt(dictionaries, field)).sort(),
        ),
      )
      .join(' '),
    versions: byName
      .map(({ name, version }) => {
        const { replica, seq } = version.stamp
        return formatVersion(name, replicaAt(dictionaries, replica), seq, toText(decodeField(version)))
      })
      .join(' '),
    clock: clockText(clock),
  }
}

// ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function asList(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : []
}
