/**
 * Valid frames of every type, to be mutated: what writers, readers and servers really say.
 *
 * Knows: core's encoders. Must never know: what will be done to the bytes.
 */
import fc from 'fast-check'
import { decodeBlock } from '../../core/block.ts'
import { Dictionary } from '../../core/dictionary.ts'
import { encodeFrame, packUuid } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import type { Frame, Resume, SnapshotRows } from '../../core/message.ts'
import type { ReplicaId } from '../../core/names.ts'
import { applyChange, EMPTY_ROW, type RowState } from '../../core/row.ts'
import { encodeRow } from '../../core/row-codec.ts'
import { createDictionaries, encodeBlock, entriesArbitrary } from '../core/block-entry.ts'
import type { Random } from '../simulation/random.ts'
import { bytesOf, contextOf, craftBlock, craftEntry, fieldsOf, NEXT_SEQ, SAME_TABLE, sized, text } from './craft.ts'
import type { Target } from './killers.ts'

const BLOCKS = 64
const ROWS = 24

/** Blocks of all kinds of changes, the same for the same seed. */
export function sampleBlocks(seed: number): Uint8Array[] {
  return fc
    .sample(entriesArbitrary, { seed, numRuns: BLOCKS })
    .map((entries) => encodeBlock(entries, createDictionaries()))
}

/** One frame of each type, around the given blocks. */
export function sampleFrames(target: Target, blocks: readonly Uint8Array[], random: Random): Uint8Array[] {
  const someBlocks = Array.from({ length: random.between(1, 3) }, () => random.pick(blocks))
  const chunk = sampleChunk(someBlocks, random)
  const frames: Frame[] = [
    sampleHello(target, random),
    sampleWelcome(target, random),
    { type: 'changes', from: random.below(300), to: 300 + random.below(300), blocks: someBlocks },
    { type: 'push', blocks: someBlocks },
    {
      type: 'ack',
      throughSeq: random.below(300),
      refusals: [[random.below(300), 'forbidden']],
      pause: undefined,
      time: random.pick([undefined, 1_700_000_000_000]),
    },
    { type: 'credit', bytes: random.below(1 << 20) },
    { type: 'snapshot-begin', position: random.below(300), clock: [[target.replica as ReplicaId, random.below(300)]] },
    chunk,
    { type: 'snapshot-end' },
    { type: 'mark', token: random.below(300) },
    { type: 'marked', token: random.below(300), position: random.below(300) },
    { type: 'refuse', code: 'unavailable', message: 'the server is shutting down', retryable: true },
    { type: 'compare', token: 1, table: 'notes', after: undefined, through: 'zz', hash: '00ff00ff00ff00ff' },
    {
      type: 'compared',
      token: 1,
      isSame: false,
      parts: [{ through: 'm', hash: '0123456789abcdef', rows: 3 }],
      chunk: random.chance(0.5) ? encodeFrame(chunk) : undefined,
    },
  ]
  return frames.map(encodeFrame)
}

function sampleResume(target: Target, random: Random): Resume {
  const log = { logId: target.logId, epoch: target.epoch, position: Math.max(1, target.position - random.below(4)) }
  if (random.chance(0.4)) return { type: 'cursor', ...log }
  if (random.chance(0.4)) return { type: 'snapshot', ...log, table: 'notes', id: 'm' }
  return { type: 'clock', clock: [[target.server as ReplicaId, random.below(300)]] }
}

function sampleHello(target: Target, random: Random): Frame {
  return {
    type: 'hello',
    versions: [1, random.between(1, 2)],
    tenant: target.tenant,
    replica: target.replica as ReplicaId,
    isMesh: false,
    ownSeq: target.nextSeq - 1,
    ackedSeq: target.nextSeq - 1,
    fingerprint: new Uint8Array(0),
    resume: sampleResume(target, random),
    tables: [['notes', 'fields lastWriteWins@1']],
    ...(random.chance(0.3) ? { relay: { logId: target.replica, epoch: 1, position: random.below(300) } } : {}),
  }
}

function sampleWelcome(target: Target, random: Random): Frame {
  return {
    type: 'welcome',
    version: 1,
    replica: target.server as ReplicaId,
    logId: target.logId,
    epoch: target.epoch,
    position: target.position,
    yourSeq: random.below(300),
    fingerprint: new Uint8Array(8),
    refusals: [[1, 'clock-skew']],
    from: random.chance(0.5) ? { type: 'snapshot' } : { type: 'log', position: 1 },
    time: 1_700_000_000_000,
    resume: random.chance(0.5) ? undefined : sampleResume(target, random),
    ...(random.chance(0.5) ? { family: target.logId, tables: [['notes', 'fields lastWriteWins@1']] } : {}),
  }
}

/** A block that the server would take as it is: mutated a little, it gets far. */
export function sampleOwnBlock(target: Target, random: Random): Uint8Array {
  const seq = target.nextSeq
  const own = seq > 1 && random.chance(0.5) ? contextOf([0, random.between(1, seq - 1)]) : [0]
  const entries = [
    craftEntry({
      op: random.below(4),
      dot: [0, seq],
      id: sampleId(random),
      context: own,
      fields: sampleFields(random),
    }),
  ]
  for (let more = random.below(4); more > 0; more--) {
    const flags = NEXT_SEQ | SAME_TABLE
    entries.push(
      craftEntry({ op: random.below(4), flags, dot: null, id: sampleId(random), fields: sampleFields(random) }),
    )
  }
  if (random.chance(0.1)) entries.push(bytesOf([4 | NEXT_SEQ], [random.below(3)]))
  return craftBlock({ replicas: [packUuid(target.replica)], names: ['notes', 'text', 'n'], entries })
}

function sampleId(random: Random): Uint8Array {
  return sized(`r${random.below(20)}`)
}

function sampleFields(random: Random): Uint8Array {
  const value = random.chance(0.7) ? text('hello') : bytesOf([0x82], text('a'), [1], text('b'), [0x91, 0xc3])
  return random.chance(0.5) ? fieldsOf([1, value]) : fieldsOf([1, value], [2, [random.below(0x80)]])
}

/** Rows as the entries of the blocks leave them. */
function sampleChunk(blocks: readonly Uint8Array[], random: Random): SnapshotRows {
  const replicas = new Dictionary()
  const names = new Dictionary()
  const rows = new Map<string, RowState>()
  const resolver = { replica: (id: string) => replicas.intern(id), name: (name: string) => names.intern(name) }
  for (const block of blocks) {
    for (const [at, entry] of decodeBlock(block, resolver, DEFAULT_LIMITS).entries()) {
      if (entry.op === 'void') continue
      const id = `${at % 5}`
      rows.set(id, applyChange(rows.get(id) ?? EMPTY_ROW, entry, at + 1, replicas))
    }
  }
  return {
    type: 'snapshot-rows',
    table: 'notes',
    after: undefined,
    through: random.chance(0.5) ? undefined : '4',
    replicas: Array.from(
      { length: replicas.size },
      (_, index) => [index, replicas.textOf(index) as ReplicaId] as const,
    ),
    names: Array.from({ length: names.size }, (_, index) => [index, names.textOf(index)] as const),
    rows: [...rows].slice(0, ROWS).map(([id, state]) => ({ id, row: Uint8Array.from(encodeRow(state)) })),
  }
}
