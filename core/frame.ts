/**
 * Frames: the messages of a session as bytes. One frame is one MessagePack array: [type, …].
 *
 * Knows: the form of every message of every protocol version. Must never know: what a session does with them.
 *
 * Invariants:
 * H1  Bytes from outside are scanned before MessagePack sees them (frame-scan.ts).
 * H2  The order of fields and the type numbers are the protocol: tests hold golden bytes of each.
 */
import { ByteReader, ByteWriter, badFrame, readUuid, writeUuid } from './bytes.ts'
import { scanFrame } from './frame-scan.ts'
import type { Shortage } from './gate.ts'
import type { Limits } from './limits.ts'
import type {
  Ack,
  ClockEntry,
  Compared,
  Frame,
  Hello,
  RefusalRecord,
  RelayLog,
  Resume,
  SnapshotRow,
  SnapshotRows,
  TableRecord,
  Welcome,
} from './message.ts'
import type { ReplicaId } from './names.ts'
import { asArray, asBytes, asCount, asText, type Packed, packAroundParts, packRecord, unpackRecord } from './packing.ts'

/** Blocks of a frame, and rows of a snapshot's piece: what costs per piece and not per byte is bounded as well. */
export const PARTS_MAX = 1_024
export const ROWS_MAX = 2_048

const TYPES = {
  hello: 1,
  welcome: 2,
  changes: 3,
  push: 4,
  ack: 5,
  credit: 6,
  'snapshot-begin': 7,
  'snapshot-rows': 8,
  'snapshot-end': 9,
  mark: 10,
  marked: 11,
  refuse: 12,
  compare: 13,
  compared: 14,
} as const satisfies Record<Frame['type'], number>

// ── Encoding ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Messages of errors may come from anywhere; they must not keep an error from being told. */
const LONE_SURROGATE = /\p{Surrogate}/gu

export function encodeFrame(frame: Frame): Uint8Array {
  const fields = [TYPES[frame.type], ...toFields(frame)]
  return frame.type === 'changes' || frame.type === 'push' ? packAroundParts(fields, frame.blocks) : packRecord(fields)
}

/** All fields but blocks, which are the last where there are any. */
function toFields(frame: Frame): Packed[] {
  switch (frame.type) {
    case 'hello':
      return [
        frame.versions,
        frame.tenant,
        packUuid(frame.replica),
        frame.isMesh,
        frame.ownSeq,
        frame.ackedSeq,
        frame.fingerprint,
        packResume(frame.resume),
        frame.tables,
        ...packRelay(frame.relay),
      ]
    case 'welcome':
      return [
        frame.version,
        packUuid(frame.replica),
        packUuid(frame.logId),
        frame.epoch,
        frame.position,
        frame.yourSeq,
        frame.fingerprint,
        frame.refusals,
        frame.from.type === 'log' ? frame.from.position : null,
        frame.time,
        frame.resume === undefined ? null : packResume(frame.resume),
        ...packFamily(frame),
      ]
    case 'changes':
      return [frame.from, frame.to - frame.from]
    case 'push':
      return []
    case 'ack':
      return packAck(frame)
    case 'credit':
      return [frame.bytes]
    case 'snapshot-begin':
      return [frame.position, packClock(frame.clock)]
    case 'snapshot-rows':
      return [
        frame.table,
        frame.after ?? null,
        frame.through ?? null,
        frame.replicas.map(([index, id]) => [index, packUuid(id)]),
        frame.names,
        packRows(frame.rows),
      ]
    case 'snapshot-end':
      return []
    case 'mark':
      return [frame.token]
    case 'marked':
      return [frame.token, frame.position]
    case 'refuse':
      return [frame.code, frame.message.replace(LONE_SURROGATE, '\ufffd'), frame.retryable]
    case 'compare':
      return [frame.token, frame.table, frame.after ?? null, frame.through ?? null, frame.hash]
    case 'compared':
      return [
        frame.token,
        frame.isSame,
        frame.parts.map(({ through, hash, rows }) => [through ?? null, hash, rows]),
        frame.chunk ?? null,
      ]
  }
}

function packRelay(relay: RelayLog | undefined): Packed[] {
  if (relay === undefined) return []
  const { logId, epoch, position, post } = relay
  return [[packUuid(logId), epoch, position, ...(post === undefined ? [] : [packUuid(post)])]]
}

function packFamily({ family, tables = [], post }: Welcome): Packed[] {
  if (family === undefined) return []
  return [packUuid(family), tables, ...(post === undefined ? [] : [packUuid(post)])]
}

export function packUuid(id: string): Uint8Array {
  const writer = new ByteWriter(16)
  writeUuid(writer, id)
  return writer.bytes
}

function packResume(resume: Resume): Packed {
  switch (resume.type) {
    case 'cursor':
      return [1, packUuid(resume.logId), resume.epoch, resume.position]
    case 'clock':
      return [2, packClock(resume.clock)]
    case 'snapshot':
      return [3, packUuid(resume.logId), resume.epoch, resume.position, resume.table, resume.id]
  }
}

/** 16 bytes and a varint for each entry. */
export function packClock(clock: readonly ClockEntry[]): Uint8Array {
  const writer = new ByteWriter(clock.length * 20 + 8)
  for (const [replica, seq] of clock) {
    writeUuid(writer, replica)
    writer.varint(seq)
  }
  return writer.toBytes()
}

function packRows(rows: readonly SnapshotRow[]): Uint8Array {
  const writer = new ByteWriter(4096)
  const id = new ByteWriter(64)
  for (const row of rows) {
    id.reset()
    writer.varint(id.text(row.id))
    writer.raw(id.bytes, 0, id.length)
    writer.varint(row.row.length)
    writer.raw(row.row)
  }
  return writer.bytes.subarray(0, writer.length)
}

// ── Decoding ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** The message in bytes from outside. Throws `bad-frame`. */
export function decodeFrame(bytes: Uint8Array, limits: Limits): Frame {
  if (bytes.length > limits.frameBytesMax) {
    throw badFrame(`a frame has ${bytes.length} bytes; the limit is ${limits.frameBytesMax}`)
  }
  scanFrame(bytes)
  const [type, ...fields] = asArray(unpackRecord(bytes))
  switch (type) {
    case TYPES.hello:
      return readHello(fields)
    case TYPES.welcome:
      return readWelcome(fields)
    case TYPES.changes: {
      const from = asCount(fields[0])
      return { type: 'changes', from, to: asCount(from + asCount(fields[1])), blocks: readParts(asBytes(fields[2])) }
    }
    case TYPES.push:
      return { type: 'push', blocks: readParts(asBytes(fields[0])) }
    case TYPES.ack:
      return {
        type: 'ack',
        throughSeq: asCount(fields[0]),
        refusals: readRefusals(fields[1]),
        pause: fields[2] === undefined || fields[2] === null ? undefined : readPause(fields[2]),
        time: fields[3] === undefined ? undefined : asCount(fields[3]),
      }
    case TYPES.credit:
      return { type: 'credit', bytes: asCount(fields[0]) }
    case TYPES['snapshot-begin']:
      return { type: 'snapshot-begin', position: asCount(fields[0]), clock: readClock(asBytes(fields[1])) }
    case TYPES['snapshot-rows']:
      return readSnapshotRows(fields)
    case TYPES['snapshot-end']:
      return { type: 'snapshot-end' }
    case TYPES.mark:
      return { type: 'mark', token: asCount(fields[0]) }
    case TYPES.marked:
      return { type: 'marked', token: asCount(fields[0]), position: asCount(fields[1]) }
    case TYPES.refuse:
      return { type: 'refuse', code: asText(fields[0]), message: asText(fields[1]), retryable: fields[2] === true }
    case TYPES.compare:
      return {
        type: 'compare',
        token: asCount(fields[0]),
        table: asText(fields[1]),
        after: asOptionalText(fields[2]),
        through: asOptionalText(fields[3]),
        hash: asText(fields[4]),
      }
    case TYPES.compared:
      return readCompared(fields)
    default:
      throw badFrame('its type is unknown')
  }
}

function readHello(fields: readonly Packed[]): Hello {
  const [min, max] = asArray(fields[0])
  return {
    type: 'hello',
    versions: [asCount(min), asCount(max)],
    tenant: asText(fields[1]),
    replica: unpackUuid(fields[2]),
    isMesh: fields[3] === true,
    ownSeq: asCount(fields[4]),
    ackedSeq: asCount(fields[5]),
    fingerprint: asBytes(fields[6]),
    resume: readResume(fields[7]),
    tables: readTables(fields[8]),
    relay: fields[9] === undefined ? undefined : readRelay(fields[9]),
  }
}

function readTables(value: Packed | undefined): TableRecord[] {
  return asArray(value).map((pair) => {
    const [name, fingerprint] = asArray(pair)
    return [asText(name), asText(fingerprint)] as const
  })
}

function readRelay(value: Packed): RelayLog {
  const [logId, epoch, position, post] = asArray(value)
  const log = { logId: unpackUuid(logId), epoch: asCount(epoch), position: asCount(position) }
  return post === undefined ? log : { ...log, post: unpackUuid(post) }
}

function readWelcome(fields: readonly Packed[]): Welcome {
  const from = fields[8]
  return {
    type: 'welcome',
    version: asCount(fields[0]),
    replica: unpackUuid(fields[1]),
    logId: unpackUuid(fields[2]),
    epoch: asCount(fields[3]),
    position: asCount(fields[4]),
    yourSeq: asCount(fields[5]),
    fingerprint: asBytes(fields[6]),
    refusals: readRefusals(fields[7]),
    from: from === null ? { type: 'snapshot' } : { type: 'log', position: asCount(from) },
    time: asCount(fields[9]),
    resume: fields[10] === null ? undefined : readResume(fields[10]),
    family: fields[11] === undefined ? undefined : unpackUuid(fields[11]),
    tables: fields[12] === undefined ? undefined : readTables(fields[12]),
    post: fields[13] === undefined ? undefined : unpackUuid(fields[13]),
  }
}

function asOptionalText(value: Packed | undefined): string | undefined {
  return value === null ? undefined : asText(value)
}

function readCompared(fields: readonly Packed[]): Compared {
  const [token, isSame, parts, chunk] = fields
  return {
    type: 'compared',
    token: asCount(token),
    isSame: isSame === true,
    parts: asArray(parts).map((part) => {
      const [through, hash, rows] = asArray(part)
      return { through: asOptionalText(through), hash: asText(hash), rows: asCount(rows) }
    }),
    chunk: chunk === null ? undefined : asBytes(chunk),
  }
}

function readSnapshotRows(fields: readonly Packed[]): SnapshotRows {
  const [table, after, through, replicas, names, rows] = fields
  return {
    type: 'snapshot-rows',
    table: asText(table),
    after: asOptionalText(after),
    through: asOptionalText(through),
    replicas: asArray(replicas).map((pair) => {
      const [index, id] = asArray(pair)
      return [asCount(index), unpackUuid(id)] as const
    }),
    names: asArray(names).map((pair) => {
      const [index, name] = asArray(pair)
      return [asCount(index), asText(name)] as const
    }),
    rows: readRows(asBytes(rows)),
  }
}

function unpackUuid(value: Packed | undefined): ReplicaId {
  const bytes = asBytes(value)
  if (bytes.length !== 16) throw badFrame('an id does not have 16 bytes')
  return readUuid(bytes, 0) as ReplicaId
}

function readResume(value: Packed | undefined): Resume {
  const [type, first, epoch, position, table, id] = asArray(value)
  switch (type) {
    case 1:
      return { type: 'cursor', logId: unpackUuid(first), epoch: asCount(epoch), position: asCount(position) }
    case 2:
      return { type: 'clock', clock: readClock(asBytes(first)) }
    case 3:
      return {
        type: 'snapshot',
        logId: unpackUuid(first),
        epoch: asCount(epoch),
        position: asCount(position),
        table: asText(table),
        id: asText(id),
      }
    default:
      throw badFrame('a place to resume from has an unknown type')
  }
}

export function readClock(bytes: Uint8Array): ClockEntry[] {
  const reader = new ByteReader(bytes)
  const clock: ClockEntry[] = []
  while (reader.at < reader.end) {
    const id = readUuid(reader.bytes, reader.at) as ReplicaId
    reader.skip(16)
    clock.push([id, reader.varint()])
  }
  return clock
}

function readParts(bytes: Uint8Array): Uint8Array[] {
  const reader = new ByteReader(bytes)
  const parts: Uint8Array[] = []
  while (reader.at < reader.end) {
    if (parts.length === PARTS_MAX) throw badFrame(`it has more than ${PARTS_MAX} blocks`)
    parts.push(reader.raw(reader.varint()))
  }
  return parts
}

function readRows(bytes: Uint8Array): SnapshotRow[] {
  const reader = new ByteReader(bytes)
  const rows: SnapshotRow[] = []
  while (reader.at < reader.end) {
    if (rows.length === ROWS_MAX) throw badFrame(`it has more than ${ROWS_MAX} rows`)
    const id = reader.text(reader.varint())
    rows.push({ id, row: reader.raw(reader.varint()) })
  }
  return rows
}

/** What is not there at the end is left out. */
function packAck({ throughSeq, refusals, pause, time }: Ack): Packed[] {
  const packed = pause === undefined ? null : packPause(pause)
  if (time !== undefined) return [throughSeq, refusals, packed, time]
  return packed === null ? [throughSeq, refusals] : [throughSeq, refusals, packed]
}

function packPause({ resource, limit, used, retryAfterMs }: Shortage): Packed {
  return [resource, limit, used, retryAfterMs]
}

function readPause(value: Packed): Shortage {
  const [resource, limit, used, retryAfterMs] = asArray(value)
  return {
    resource: asText(resource),
    limit: asCount(limit),
    used: asCount(used),
    retryAfterMs: asCount(retryAfterMs),
  }
}

function readRefusals(value: Packed | undefined): RefusalRecord[] {
  return asArray(value).map((pair) => {
    const [seq, code] = asArray(pair)
    return [asCount(seq), asText(code)] as const
  })
}
