/**
 * One frame through the decoders, as a receiver would use them, without a receiver.
 *
 * A decoder may answer with a value or with a typed refusal. Anything else is a failure: another error, a wait, or a value
 * that is not the same any more when it was encoded and decoded again.
 *
 * Knows: every decoder of core. Must never know: where the bytes come from.
 */
import { isDeepStrictEqual } from 'node:util'
import { type BlockResolver, decodeBlock, type Entry } from '../../core/block.ts'
import { BlockWriter } from '../../core/block-writer.ts'
import { compareBytes } from '../../core/bytes.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { isTidemarkError } from '../../core/errors.ts'
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import type { Frame, SnapshotRows } from '../../core/message.ts'
import type { RowState, Version } from '../../core/row.ts'
import { decodeRow, encodeRow, type IndexMap } from '../../core/row-codec.ts'

/** How long the decoders may take; what a frame costs alone on a quiet machine, costs.ts looks at. */
const DECODE_MS_MAX = 100
/** A single slow run says little: other processes want the processor too. */
const RUNS_MAX = 4

export interface Verdict {
  /** With which code it was refused; undefined when everything was accepted. */
  readonly code: string | undefined
  readonly ms: number
  /** What must not happen; undefined when it did not. */
  readonly failure: string | undefined
}

/** Decodes a frame and what it carries. */
export function judge(frame: Uint8Array): Verdict {
  let decoded = decodeTimed(frame)
  for (let run = 1; run < RUNS_MAX && decoded.ms > DECODE_MS_MAX; run++) {
    const again = decodeTimed(frame)
    if (again.ms < decoded.ms) decoded = again
  }
  const { code, ms, content } = decoded
  if (decoded.failure !== undefined) return { code, ms, failure: decoded.failure }
  if (ms > DECODE_MS_MAX) return { code, ms, failure: `decoding took ${ms.toFixed(0)} ms` }
  return { code, ms, failure: content === undefined ? undefined : failureOf(() => changedOnItsWay(content)) }
}

// ── Decoding ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A frame, and what was inside its bytes. */
interface Content {
  readonly frame: Frame
  readonly blocks: readonly DecodedBlock[]
  readonly rows: readonly RowState[]
}

interface DecodedBlock {
  readonly replicas: Dictionary
  readonly names: Dictionary
  readonly entries: readonly Entry[]
}

function decodeTimed(frame: Uint8Array): Verdict & { readonly content: Content | undefined } {
  const watch = startWatch()
  let code: string | undefined
  let content: Content | undefined
  const failure = failureOf(() => {
    try {
      content = decodeAll(frame)
    } catch (error) {
      if (!isTidemarkError(error)) throw error
      code = error.code
    }
    return undefined
  })
  return { code, ms: watch(), failure, content }
}

/** Decodes a frame and does nothing else; for who measures that. */
export function decodeOnly(frame: Uint8Array): { readonly code: string | undefined; readonly content: unknown } {
  try {
    return { code: undefined, content: decodeAll(frame) }
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    return { code: error.code, content: undefined }
  }
}

/** Milliseconds since, but no more than the processor spent on us: on a busy machine the wall's clock blames the wrong one. */
export function startWatch(): () => number {
  const startedAt = performance.now()
  const spent = process.cpuUsage()
  return () => {
    const ms = performance.now() - startedAt
    const { user, system } = process.cpuUsage(spent)
    return Math.min(ms, (user + system) / 1_000)
  }
}

function failureOf(work: () => string | undefined): string | undefined {
  try {
    return work()
  } catch (error) {
    return `threw ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`
  }
}

function decodeAll(bytes: Uint8Array): Content {
  const frame = decodeFrame(bytes, DEFAULT_LIMITS)
  const blocks = frame.type === 'push' || frame.type === 'changes' ? frame.blocks.map(decodeOneBlock) : []
  return { frame, blocks, rows: rowsOf(frame) }
}

function rowsOf(frame: Frame): readonly RowState[] {
  if (frame.type === 'snapshot-rows') return decodeRows(frame)
  if (frame.type !== 'compared' || frame.chunk === undefined) return []
  const chunk = decodeFrame(frame.chunk, DEFAULT_LIMITS)
  return chunk.type === 'snapshot-rows' ? decodeRows(chunk) : []
}

function decodeOneBlock(block: Uint8Array): DecodedBlock {
  const replicas = new Dictionary()
  const names = new Dictionary()
  return { replicas, names, entries: decodeBlock(block, resolverOf(replicas, names), DEFAULT_LIMITS) }
}

function resolverOf(replicas: Dictionary, names: Dictionary): BlockResolver {
  return { replica: (id) => replicas.intern(id), name: (name) => names.intern(name) }
}

function decodeRows(chunk: SnapshotRows): RowState[] {
  const replicas = new Map<number, number>()
  for (const [index] of chunk.replicas) replicas.set(index, replicas.size)
  const names = new Map<number, number>()
  for (const [index] of chunk.names) names.set(index, names.size)
  const map: IndexMap = {
    replica: (index) => replicas.get(index) ?? index,
    name: (index) => names.get(index) ?? index,
  }
  return chunk.rows.map(({ row }) => decodeRow(row, map))
}

// ── There and back ──────────────────────────────────────────────────────────────────────────────────────────────────

function changedOnItsWay({ frame, blocks, rows }: Content): string | undefined {
  const encoded = encodeFrame(frame)
  // What the encoder adds to a frame of the largest size may take it over the limit.
  if (encoded.length > DEFAULT_LIMITS.frameBytesMax) return undefined
  if (compareBytes(encoded, encodeFrame(decodeFrame(encoded, DEFAULT_LIMITS))) !== 0) return 'the frame changes'
  if (!blocks.every(isSameBlockAgain)) return 'a block changes'
  const isSameRow = (row: RowState): boolean =>
    isDeepStrictEqual(plainRow(decodeRow(encodeRow(plainCopy(row)))), plainRow(row))
  return rows.every(isSameRow) ? undefined : 'a row changes'
}

function isSameBlockAgain({ replicas, names, entries }: DecodedBlock): boolean {
  const writer = new BlockWriter({ replicas, names }, [...new Set(entries.map(({ replica }) => replica))])
  for (const entry of entries) writer.add(entry)
  const again = decodeBlock(writer.finish(), resolverOf(replicas, names), DEFAULT_LIMITS)
  return isDeepStrictEqual(again.map(plainEntry), entries.map(plainEntry))
}

/** Values cut out of the bytes around them. */
function plainVersion({ name, stamp, bytes, start, end }: Version): unknown {
  const { replica, seq, timestamp } = stamp
  return { name, replica, seq, timestamp, value: [...bytes.subarray(start, end)] }
}

function plainEntry(entry: Entry): unknown {
  return entry.op === 'void' ? entry : { ...entry, versions: entry.versions.map(plainVersion) }
}

function plainRow(row: RowState): unknown {
  return { ...row, versions: row.versions.map(plainVersion) }
}

/** Encoding a row moves its versions onto the new bytes. */
function plainCopy(row: RowState): RowState {
  return { ...row, versions: row.versions.map((version) => ({ ...version })) }
}
