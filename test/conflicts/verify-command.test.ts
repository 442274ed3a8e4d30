/**
 * `tidemark verify` against real servers: a store in a directory, or another server, compared and repaired.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { openReplica, type Replica } from '../../core/index.ts'
import { EMPTY_ROW } from '../../core/row.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'
import { verifyCommand } from '../../sync-server/commands/verify.ts'
import type { SyncServer } from '../../sync-server/index.ts'
import { openServer } from '../integration/stage.ts'
import { damage } from './damage.ts'
import { type Note, notesBy } from './note.ts'
import { type Outcome, runCommand } from './shell.ts'

const TABLES = notesBy({})
type Notes = Replica<typeof TABLES>

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'tidemark-verify-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** Opens a replica in a directory, does something, and closes it again. */
async function inStore<Result>(directory: string, work: (replica: Notes) => Promise<Result>): Promise<Result> {
  const store = await openLmdbStore(directory)
  const replica = await openReplica({ tenant: 'acme', store, tables: TABLES })
  try {
    return await work(replica)
  } finally {
    await replica.close()
    await store.close()
  }
}

async function syncWith(server: SyncServer, replica: Notes): Promise<void> {
  const link = connect(replica as unknown as Replica, { url: server.url })
  await link.settled()
  await link.close()
}

const NOTES: readonly Note[] = Array.from({ length: 100 }, (_, n) => ({ id: `n${n}`, title: `note ${n}` }))

interface Place {
  readonly server: SyncServer
  readonly directory: string
}

/** A store in a directory that has synced a hundred notes with a server. */
async function openPlace(): Promise<Place> {
  const [server, directory] = [await openServer(), createFolder()]
  await inStore(directory, async (replica) => {
    await replica.transact((transaction) => {
      for (const note of NOTES) transaction.table('notes').insert(note)
    })
    await syncWith(server, replica)
  })
  return { server, directory }
}

const verify = (...args: readonly string[]): Promise<Outcome> =>
  runCommand(verifyCommand(), [...args, '--tenant', 'acme'])

describe('a store that holds what the server holds', () => {
  test('is the same, and exits with 0', async () => {
    const { server, directory } = await openPlace()
    const { out, problem, code } = await verify(server.url, '--store', directory)
    expect([code, problem]).toEqual([0, ''])
    expect(out).toBe('All rows are the same: 100 rows of notes, 1 question to the server.\n')
  })

  test('stays as it is, and so does the server: nothing is synced', async () => {
    const { server, directory } = await openPlace()
    await inStore(directory, (replica) => replica.table('notes').insert({ id: 'fresh', title: 'offline' }))
    const { out, code } = await verify(server.url, '--store', directory)
    expect(code).toBe(1)
    expect(out).toContain('notes/fresh')
    expect(out).toContain("1 changes of the store wait for the server's answer.")
    expect(await inStore(directory, async (replica) => replica.pending)).toBe(1)
  })

  test('is compared again and again, and the server learns of one replica only', async () => {
    const { server, directory } = await openPlace()
    const replicas = async (): Promise<number> => {
      const other = await openReplica({ tenant: 'acme', store: openMemoryStore(), tables: TABLES })
      await syncWith(server, other)
      return other.ledger.state.replicas.size
    }
    for (let turn = 0; turn < 3; turn++) expect((await verify(server.url, '--store', directory)).code).toBe(0)
    expect(await replicas()).toBeLessThan(4)
  })
})

describe('a store that was damaged', () => {
  test('shows what differs with both sides, and exits with 1', async () => {
    const { server, directory } = await openPlace()
    await inStore(directory, (replica) => damage(replica, 'notes', 'n7', () => EMPTY_ROW))
    const { out, code } = await verify(server.url, '--store', directory)
    expect(code).toBe(1)
    expect(out.split('\n').map((line) => line.split(/ {2,}/))).toEqual([
      ['notes/n7'],
      ['', 'STORE', 'SERVER'],
      ['', 'unknown', 'exists'],
      ['heads', expect.stringMatching(/^insert [0-9a-f]{8}:8$/)],
      ['title', '"note 7"'],
      [''],
      [expect.stringMatching(/^1 row differs: 99 rows of notes, \d questions to the server\.$/)],
      [''],
    ])
  })

  test('is repaired with --repair, and is the same afterwards', async () => {
    const { server, directory } = await openPlace()
    await inStore(directory, (replica) => damage(replica, 'notes', 'n7', () => EMPTY_ROW))
    const repaired = await verify(server.url, '--store', directory, '--repair')
    expect(repaired.code).toBe(0)
    expect(repaired.out).toContain('notes/n7 (repaired)')
    expect(repaired.out).toContain('1 row differs, 1 is repaired')
    expect((await verify(server.url, '--store', directory)).code).toBe(0)
    expect(await inStore(directory, (replica) => replica.table('notes').get('n7'))).toMatchObject({ title: 'note 7' })
  })

  test('says everything as JSON, and shows no more rows than it is asked to', async () => {
    const { server, directory } = await openPlace()
    await inStore(directory, async (replica) => {
      for (const { id } of NOTES.slice(10, 60)) await damage(replica, 'notes', id, () => EMPTY_ROW)
    })
    const { out, code } = await verify(server.url, '--store', directory, '--json', '--limit', '3')
    expect(code).toBe(1)
    const json = JSON.parse(out) as { readonly shown: readonly unknown[] }
    expect(json).toMatchObject({ tables: ['notes'], differing: 50, repaired: 0 })
    expect(json.shown).toHaveLength(3)
  })

  test('shows rows in conflict as the table settles them, and what a terminal might obey as what it is', async () => {
    const { server, directory } = await openPlace()
    const file = join(createFolder(), 'tables.json')
    writeFileSync(file, '{ "notes": { "policy": "firstWriteWins" } }')
    await inStore(directory, (replica) => replica.table('notes').insert({ id: 'a\u001b[2Jb', title: 'x\u202ey' }))
    const { out } = await verify(server.url, '--store', directory, '--tables', file)
    expect(out).toContain('notes/a\ufffd[2Jb')
    expect(out).toContain('"x\\u202ey"')
  })
})

describe('two servers', () => {
  test('are compared without a store, also with rows on one side only', async () => {
    const { server, directory } = await openPlace()
    const other = await openServer()
    await inStore(directory, (replica) => syncWith(other, replica).catch(() => undefined))
    const own = await openReplica({ tenant: 'acme', store: openMemoryStore(), tables: TABLES })
    await own.table('notes').insert({ id: 'only there', title: 'x' })
    await syncWith(other, own)
    const { out, code } = await verify(server.url, '--with', other.url, '--table', 'notes')
    expect(code).toBe(1)
    expect(out).toContain('notes/only there')
    expect(out).toMatch(/--with +SERVER/)
  })

  test('may be two tenants of one server', async () => {
    const { server } = await openPlace()
    const { out, code } = await verify(
      server.url,
      '--with',
      server.url,
      '--with-tenant',
      'empty',
      '--table',
      'notes',
      '--limit',
      '1',
    )
    expect(code).toBe(1)
    expect(out).toContain('… and 99 more (--limit)')
  })
})

describe('what cannot be compared exits with 2', () => {
  test.each<[string, readonly string[], RegExp]>([
    ['no server', ['http://127.0.0.1:9', '--with', 'http://127.0.0.1:9/x', '--table', 'notes'], /cannot be reached/],
    ['no address', ['nonsense', '--with', 'http://127.0.0.1:9', '--table', 'notes'], /not the http\(s\) address/],
    ['nothing to compare with', ['http://127.0.0.1:9'], /say in one way what to compare/],
    ['no store', ['http://127.0.0.1:9', '--store', '/nowhere/at/all'], /there is no replica in/],
    [
      'a server to repair',
      ['http://127.0.0.1:9', '--with', 'http://127.0.0.1:8', '--repair'],
      /only a store can be repaired/,
    ],
    ['the same twice', ['http://127.0.0.1:9', '--with', 'http://127.0.0.1:9'], /the same tenant of the same server/],
  ])('%s', async (_what, args, problem) => {
    const outcome = await verify(...args)
    expect([outcome.code, outcome.out]).toEqual([2, ''])
    expect(outcome.problem).toMatch(problem)
  })

  test('a server that does not let us in says why', async () => {
    const { server, directory } = await openPlace()
    const outcome = await verify(server.url, '--store', directory, '--token', 'x')
    expect(outcome.code).toBe(2)
    expect(outcome.problem).toMatch(/the server refused: this is a development server: it takes no tokens/)
  })

  test('two servers without tables', async () => {
    const [server, other] = [await openServer(), await openServer()]
    const outcome = await verify(server.url, '--with', other.url)
    expect([outcome.code, outcome.out]).toEqual([2, ''])
    expect(outcome.problem).toMatch(/nobody says which tables there are/)
  })
})
