/**
 * Golden bytes of every message of every version of the protocol: what was sent once is read, and sent, for ever.
 *
 * A change to these bytes is a new version. Add its messages; never change those that are there.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { describe, expect, it, test } from 'vitest'
import { decodeFrame, encodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { type Frame, PROTOCOL_MAX, PROTOCOL_MIN } from '../../core/message.ts'
import type { ReplicaId } from '../../core/names.ts'

const A = '5a000000-0000-4000-8000-000000000005' as ReplicaId
const B = '2a000000-0000-4000-8000-000000000002' as ReplicaId
const LOG = '9a000000-0000-4000-8000-000000000009' as ReplicaId
const ROOT = '1a000000-0000-4000-8000-000000000001' as ReplicaId
const bytes = (...values: readonly number[]): Uint8Array => new Uint8Array(values)

const HELLO: Extract<Frame, { readonly type: 'hello' }> = {
  type: 'hello',
  versions: [1, 1],
  tenant: 'acme',
  replica: A,
  isMesh: false,
  ownSeq: 40,
  ackedSeq: 38,
  fingerprint: bytes(1, 2, 3, 4, 5, 6, 7, 8),
  resume: { type: 'cursor', logId: LOG, epoch: 1, position: 900 },
  tables: [['notes', 'fields lastWriteWins@1']],
}

const WELCOME: Extract<Frame, { readonly type: 'welcome' }> = {
  type: 'welcome',
  version: 1,
  replica: B,
  logId: LOG,
  epoch: 1,
  position: 917,
  yourSeq: 39,
  fingerprint: bytes(8, 7, 6, 5, 4, 3, 2, 1),
  refusals: [[39, 'forbidden']],
  from: { type: 'log', position: 900 },
  time: 1_800_000_000_000,
  resume: undefined,
}

const CLOCK = [
  [A, 40],
  [B, 300],
] as const

/** One of each kind, by a name; what a version brought stands under that version. */
const SAMPLES: Readonly<Record<number, Readonly<Record<string, Frame>>>> = {
  1: {
    hello: HELLO,
    'hello of a mesh peer, by clock': { ...HELLO, isMesh: true, resume: { type: 'clock', clock: CLOCK } },
    'hello in the middle of a snapshot': {
      ...HELLO,
      resume: { type: 'snapshot', logId: LOG, epoch: 1, position: 900, table: 'notes', id: 'n7' },
    },
    welcome: WELCOME,
    'welcome to a snapshot': { ...WELCOME, from: { type: 'snapshot' }, refusals: [] },
    'welcome of a mesh peer': { ...WELCOME, resume: { type: 'clock', clock: CLOCK } },
    changes: { type: 'changes', from: 900, to: 917, blocks: [bytes(1, 2, 3), bytes(4)] },
    push: { type: 'push', blocks: [bytes(1, 2, 3)] },
    ack: { type: 'ack', throughSeq: 40, refusals: [], pause: undefined, time: undefined },
    'ack with a refusal': {
      type: 'ack',
      throughSeq: 40,
      refusals: [[40, 'clock-skew']],
      pause: undefined,
      time: 1_800_000_000_000,
    },
    'ack with a pause': {
      type: 'ack',
      throughSeq: 40,
      refusals: [],
      pause: { resource: 'rows', limit: 10, used: 10, retryAfterMs: 60_000 },
      time: undefined,
    },
    credit: { type: 'credit', bytes: 262_144 },
    'snapshot-begin': { type: 'snapshot-begin', position: 917, clock: CLOCK },
    'snapshot-rows': {
      type: 'snapshot-rows',
      table: 'notes',
      after: 'n1',
      through: undefined,
      replicas: [[0, A]],
      names: [[3, 'text']],
      rows: [{ id: 'n2', row: bytes(9, 9) }],
    },
    'snapshot-end': { type: 'snapshot-end' },
    mark: { type: 'mark', token: 7 },
    marked: { type: 'marked', token: 7, position: 917 },
    refuse: { type: 'refuse', code: 'forbidden', message: 'this session may not write', retryable: false },
    compare: { type: 'compare', token: 8, table: 'notes', after: undefined, through: 'n9', hash: '0123456789abcdef' },
    compared: {
      type: 'compared',
      token: 8,
      isSame: false,
      parts: [{ through: undefined, hash: '0123456789abcdef', rows: 3 }],
      chunk: bytes(1, 2),
    },
  },
  2: {
    'hello that speaks both': { ...HELLO, versions: [1, 2] },
    'hello of a relay': {
      ...HELLO,
      versions: [2, 2],
      relay: { logId: LOG, epoch: 1_800_000_000_000, position: 70_000 },
    },
    welcome: { ...WELCOME, version: 2, family: ROOT, tables: [] },
    'welcome to a relay that is known': {
      ...WELCOME,
      version: 2,
      resume: { type: 'cursor', logId: LOG, epoch: 1_800_000_000_000, position: 69_000 },
      family: ROOT,
      tables: [['notes', 'fields lastWriteWins@1']],
    },
    'welcome to a relay, by clock': {
      ...WELCOME,
      version: 2,
      resume: { type: 'clock', clock: CLOCK },
      family: ROOT,
      tables: [],
    },
    'hello of a relay that has a post': {
      ...HELLO,
      versions: [2, 2],
      relay: { logId: LOG, epoch: 1_800_000_000_000, position: 70_000, post: B },
    },
    'welcome of a relay that has the post of another': { ...WELCOME, version: 2, family: ROOT, tables: [], post: A },
  },
}

const folder = new URL('golden-frames/', import.meta.url)
const hex = (frame: Uint8Array): string => [...frame].map((byte) => byte.toString(16).padStart(2, '0')).join('')
const fromHex = (text: string): Uint8Array =>
  Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16))
const goldenOf = (version: number): Record<string, string> =>
  JSON.parse(readFileSync(new URL(`version-${version}.json`, folder), 'utf8')) as Record<string, string>

describe.each(Object.keys(SAMPLES).map(Number))('version %s of the protocol', (version) => {
  const golden = goldenOf(version)
  const samples = SAMPLES[version] ?? {}

  it.each(Object.entries(samples))('has the bytes of %s', (name, frame) => {
    expect(hex(encodeFrame(frame))).toBe(golden[name])
    const read = decodeFrame(fromHex(golden[name] ?? ''), DEFAULT_LIMITS)
    expect(read).toEqual(frame)
    // Read and written again it is the same, whatever its reader does not know of.
    expect(hex(encodeFrame(read))).toBe(golden[name])
  })

  test('has a sample of each message that it has bytes of', () => {
    expect(Object.keys(golden).sort()).toEqual(Object.keys(samples).sort())
  })
})

test('every version that is spoken has golden bytes, and every message is among those of the first', () => {
  const versions = Array.from({ length: PROTOCOL_MAX - PROTOCOL_MIN + 1 }, (_, index) => PROTOCOL_MIN + index)
  expect(Object.keys(SAMPLES).map(Number)).toEqual(versions)
  expect(readdirSync(folder).sort()).toEqual(versions.map((version) => `version-${version}.json`))
  expect(new Set(Object.values(SAMPLES[1] ?? {}).map(({ type }) => type)).size).toBe(14)
})

test('what a side of version 1 does not know of a hello, it leaves aside', () => {
  const { relay, ...known } = decodeFrame(
    fromHex(goldenOf(2)['hello of a relay'] ?? ''),
    DEFAULT_LIMITS,
  ) as typeof HELLO
  expect(relay).toBeDefined()
  expect(known).toEqual({ ...HELLO, versions: [2, 2] })
})
