/**
 * Digests: one short text for everything a replica holds. Equal digests, equal rows, whatever the stores look like inside.
 */
import type { Dictionaries } from './block.ts'
import { ByteWriter } from './bytes.ts'
import { addHashes, type Hash64, hashBytes, hashToText, ZERO_HASH } from './hash.ts'
import { allRows, keyIndex, rowKeyId } from './keys.ts'
import type { Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { OPS, type RowState } from './row.ts'
import { decodeRow } from './row-codec.ts'

export interface Digest {
  /** Rows with any state, deleted ones included. */
  readonly rows: number
  /** 16 hexadecimal digits over all heads and versions, in canonical form. */
  readonly hash: string
}

/** Reads every row; for tests, demos and `verify`. */
export async function digestRows(ledger: Ledger): Promise<Digest> {
  let sum = ZERO_HASH
  let rows = 0
  const writer = new ByteWriter(1024)
  for await (const { key, value } of scanRange(ledger.store, allRows(), () => ledger.turn())) {
    const table = ledger.state.names.textOf(keyIndex(key))
    sum = addHashes(sum, hashRow(writer, table, rowKeyId(key), decodeRow(value), ledger.state))
    rows++
  }
  return { rows, hash: hashToText(sum) }
}

/** The hash of one row's canonical form: names and ids spelled out, fields sorted by name. Contexts do not count. */
export function hashRow(
  writer: ByteWriter,
  table: string,
  id: string,
  row: RowState,
  dictionaries: Dictionaries,
): Hash64 {
  const { names, replicas } = dictionaries
  writer.reset()
  writer.text(`${table}\n${id}\n`)
  for (const head of row.heads) {
    writer.byte(OPS.indexOf(head.op))
    writer.text(replicas.textOf(head.replica))
    writer.varint(head.seq)
    for (const name of head.fields.map((field) => names.textOf(field)).sort()) writer.text(`${name},`)
  }
  const byName = row.versions.map((version) => ({ version, name: names.textOf(version.name) }))
  byName.sort((a, b) => (a.name === b.name ? 0 : a.name < b.name ? -1 : 1))
  for (const { version, name } of byName) {
    writer.text(`${name}=${replicas.textOf(version.stamp.replica)}:`)
    writer.varint(version.stamp.seq)
    writer.raw(version.bytes, version.start, version.end)
  }
  return hashBytes(writer.bytes, 0, writer.length)
}

/** The same, as text, for many rows of one table. */
export function rowHasher(table: string, dictionaries: Dictionaries): (id: string, row: RowState) => string {
  const writer = new ByteWriter(1024)
  return (id, row) => hashToText(hashRow(writer, table, id, row, dictionaries))
}
