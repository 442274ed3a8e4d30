/** Definitions of tables as a server remembers them: two that come at once, how much of it, and how one is replaced. */
import { describe, expect, test } from 'vitest'
import { listDefinitions } from '../../core/definitions.ts'
import { OPEN_GATE } from '../../core/gate.ts'
import { ALL_VERSIONS } from '../../core/handshake.ts'
import { meet } from '../../core/hosting.ts'
import {
  createReplicaId,
  isTidemarkError,
  Ledger,
  parseLimits,
  parseTenantName,
  type ReplicaId,
} from '../../core/index.ts'
import { tableKey } from '../../core/keys.ts'
import type { Hello, TableRecord } from '../../core/message.ts'
import { packRecord } from '../../core/packing.ts'
import { Redefine, rememberedTables } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'

const TENANT = parseTenantName('acme')
const NOW_MS = 1_700_000_000_000
const LWW = 'fields lastWriteWins@1'
const CAUSAL = 'fields causal@1'

const openServer = (): Promise<Ledger> =>
  Ledger.open({ tenant: TENANT, store: openMemoryStore(), limits: parseLimits(), authority: 2 })

/** `welcome`, or the code of the refusal. */
async function greet(ledger: Ledger, tables: readonly TableRecord[], replica: ReplicaId = createReplicaId()) {
  const hello: Hello = {
    ...{ type: 'hello', versions: [1, 1], tenant: TENANT, replica, isMesh: false, ownSeq: 0, ackedSeq: 0, tables },
    fingerprint: new Uint8Array(0),
    resume: { type: 'clock', clock: [] },
  }
  const options = {
    versions: ALL_VERSIONS,
    tables: new Map(),
    gate: OPEN_GATE,
    nowMs: NOW_MS,
    isManned: () => false,
    onLoss: undefined,
  } as const
  try {
    await meet(ledger, hello, options)
    return 'welcome'
  } catch (error) {
    return isTidemarkError(error) ? error.code : String(error)
  }
}

const manyTables = (count: number, from = 0): TableRecord[] =>
  Array.from({ length: count }, (_, at) => [`t${from + at}`, LWW] as const)

describe('DF1: a table has one definition', () => {
  test('also when two that differ come in the same commit: one of them is told', async () => {
    const server = await openServer()
    const answers = await Promise.all([LWW, CAUSAL, LWW].map((text) => greet(server, [['notes', text]])))
    expect(answers).toEqual(['welcome', 'schema-mismatch', 'welcome'])
    expect([...(await rememberedTables(server))]).toEqual([['notes', LWW]])
  })

  test('which says who told it, and since when', async () => {
    const server = await openServer()
    const replica = createReplicaId()
    await greet(server, [['notes', LWW]], replica)
    await greet(server, [['notes', LWW]])
    expect(await listDefinitions(server)).toEqual([{ table: 'notes', text: LWW, replica, sinceMs: NOW_MS }])
  })

  test('as a store of an earlier version holds it, too', async () => {
    const server = await openServer()
    await server.submit({
      weight: 1,
      prepare: () => {},
      apply: (draft) => draft.put(tableKey('notes'), packRecord(LWW)),
    })
    expect(await greet(server, [['notes', CAUSAL]])).toBe('schema-mismatch')
    expect(await greet(server, [['notes', LWW]])).toBe('welcome')
    expect(await listDefinitions(server)).toEqual([
      { table: 'notes', text: LWW, replica: undefined, sinceMs: undefined },
    ])
  })
})

describe('DF2: a tenant has no more than so many definitions', () => {
  test('whether they come one after the other', async () => {
    const server = await openServer()
    expect(await greet(server, manyTables(200))).toBe('welcome')
    expect(await greet(server, manyTables(57, 200))).toBe('too-large')
    expect(await greet(server, manyTables(56, 200))).toBe('welcome')
    expect(await greet(server, manyTables(256))).toBe('welcome')
    expect(await greet(server, manyTables(1, 256))).toBe('too-large')
  })

  test('or at once', async () => {
    const server = await openServer()
    const answers = await Promise.all([0, 100, 200, 300].map((from) => greet(server, manyTables(100, from))))
    expect(answers.filter((answer) => answer === 'welcome')).toHaveLength(2)
    expect((await listDefinitions(server)).length).toBe(200)
  })

  test('nor are they long, each or all of them', async () => {
    const server = await openServer()
    expect(await greet(server, [['notes', 'x'.repeat(16_385)]])).toBe('too-large')
    const long = manyTables(32).map(([name]) => [name, 'x'.repeat(16_384)] as const)
    expect(await greet(server, long)).toBe('welcome')
    expect(await greet(server, [['notes', LWW]])).toBe('too-large')
  })
})

describe('DF3: a definition is replaced', () => {
  const redefine = async (server: Ledger, ...[table, from, to]: readonly [string, string, string]) => {
    try {
      await server.submit(new Redefine(table, from, to, NOW_MS + 1))
      return 'done'
    } catch (error) {
      return isTidemarkError(error) ? error.code : String(error)
    }
  }

  test('by who names the one in force; from then on the new one counts and the old one is refused', async () => {
    const server = await openServer()
    await greet(server, [['notes', LWW]])
    expect(await redefine(server, 'notes', 'row lastWriteWins@1', CAUSAL)).toBe('bad-option')
    expect(await redefine(server, 'nothing', LWW, CAUSAL)).toBe('bad-option')
    expect(await greet(server, [['notes', CAUSAL]])).toBe('schema-mismatch')
    expect(await redefine(server, 'notes', LWW, CAUSAL)).toBe('done')
    expect(await redefine(server, 'notes', LWW, CAUSAL)).toBe('done')
    expect(await greet(server, [['notes', LWW]])).toBe('schema-mismatch')
    expect(await greet(server, [['notes', CAUSAL]])).toBe('welcome')
    expect(await listDefinitions(server)).toEqual([
      { table: 'notes', text: CAUSAL, replica: undefined, sinceMs: NOW_MS + 1 },
    ])
  })

  test.each([
    '',
    'fields',
    'lastWriteWins@1',
    'fields lastWriteWins',
    'fields lastWriteWins@1 ',
    'columns a@1',
    'row a@1\n',
  ])('by a definition, and %j is none', async (text) => {
    const server = await openServer()
    await greet(server, [['notes', LWW]])
    expect(await redefine(server, 'notes', LWW, text)).toBe('bad-option')
  })

  test('by one with policies of fields', async () => {
    const server = await openServer()
    await greet(server, [['notes', LWW]])
    expect(await redefine(server, 'notes', LWW, 'fields own@12 votes:counter@1 body:max@1')).toBe('done')
  })
})
