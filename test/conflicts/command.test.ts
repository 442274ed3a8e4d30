/**
 * `tidemark conflicts` on stores in directories: what it prints, what it decides, and what it refuses.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { counter, type Hub, openReplica, type Replica } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { conflictsCommand } from '../../sync-server/commands/conflicts.ts'
import { HandClock, meetServer, onlyConflict, openClients, openConflicts, openHub, sideOf, sync } from './group.ts'
import { notesBy } from './note.ts'
import { type Outcome, runCommand } from './shell.ts'

const TABLES = notesBy({ fields: { votes: counter() } })
type Notes = typeof TABLES

let directory: string
let tablesFile: string
let clock: HandClock

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'tidemark-conflicts-'))
  tablesFile = join(directory, 'tables.json')
  writeFileSync(tablesFile, '{ "notes": { "fields": { "votes": "counter" } } }')
  clock = new HandClock()
})

afterEach(() => rmSync(directory, { recursive: true, force: true }))

/** In place of --tables: what the store itself says. */
const RECALL = 'recall'

/** Runs `tidemark conflicts` as from a shell, on Ann's store unless said otherwise. */
function command(...args: readonly string[]): Promise<Outcome> {
  const store = args.includes('--store') ? [] : ['--store', join(directory, 'ann')]
  const tables = args.includes('--tables') || args.includes(RECALL) ? [] : ['--tables', tablesFile]
  const given = args.filter((arg) => arg !== RECALL)
  return runCommand(conflictsCommand(), [...given, '--tenant', 'acme', ...store, ...tables])
}

async function open(name: string): Promise<Replica<Notes>> {
  const store = await openLmdbStore(join(directory, name))
  return openReplica({ tenant: 'acme', store, tables: TABLES, authority: 'self', now: clock.now })
}

async function close({ ledger }: Replica<Notes>): Promise<void> {
  await ledger.close()
  await ledger.store.close()
}

/** Ann and Bob edited a note and know of it; their stores are closed. Answers with the conflict's id and sides. */
async function prepare(): Promise<{ readonly id: string; readonly ann: string; readonly bob: string }> {
  const [ann, bob] = [await open('ann'), await open('bob')]
  await ann.table('notes').insert({ id: 'n', title: 'Pump', body: 'new', votes: 1 })
  await sync(ann, bob)
  clock.tick()
  await ann.table('notes').update('n', { title: 'Pump 4' })
  clock.tick()
  await bob.table('notes').update('n', { title: 'Pump 5', body: 'old' })
  await sync(ann, bob)
  const report = await onlyConflict(ann)
  const dots = [ann, bob].map((replica) => sideOf(report, replica).dot)
  await Promise.all([close(ann), close(bob)])
  const [annDot, bobDot] = dots.map(({ replica, seq }) => `${replica}:${seq}`)
  return { id: report.id, ann: annDot ?? '', bob: bobDot ?? '' }
}

/** What the note is in Bob's store, once that has synced with Ann's. */
async function noteAtBob(): Promise<unknown> {
  const [ann, bob] = [await open('ann'), await open('bob')]
  await sync(ann, bob)
  const note = await bob.table('notes').get('n')
  expect(await openConflicts(bob)).toEqual([])
  await Promise.all([close(ann), close(bob)])
  return note && { ...note }
}

describe('list', () => {
  test('prints a line for each open conflict, and JSON when asked', async () => {
    const { id, bob } = await prepare()
    const { out, code } = await command('list')
    expect(code).toBe(0)
    const [titles, line] = out.split('\n')
    expect(titles?.split(/ {2,}/)).toEqual(['ROW', 'TYPE', 'FIELDS', 'SHOWN', 'STATE', 'ID'])
    const shown = `${bob.slice(0, 8)}:${bob.split(':')[1]}`
    expect(line?.split(/ {2,}/)).toEqual(['notes/n', 'update-update', 'title', shown, 'open', id])
    const json: unknown = JSON.parse((await command('list', '--json')).out)
    expect(json).toMatchObject([
      { id, type: 'update-update', isOpen: true, sides: [{ values: { title: 'Pump 4' } }, {}] },
    ])
  })

  test('lists settled ones as well, and says when there are none', async () => {
    const { id } = await prepare()
    await command('resolve', id, '--accept')
    expect((await command('list')).out).toBe('No conflicts are open.\n')
    expect((await command('list', '--settled')).out).toContain(`settled  ${id}`)
    expect((await command('list', '--settled', '--table', 'notes', '--json')).out).toContain('"isOpen": false')
    expect(await command('list', '--table', 'drafts')).toMatchObject({
      code: 1,
      out: '',
      problem: expect.stringContaining('"drafts"'),
    })
  })
})

describe('show', () => {
  test('prints both sides beside each other, what was before, who prevails and why', async () => {
    const { id, ann, bob } = await prepare()
    for (const name of [id, 'notes/n']) {
      const { out } = await command('show', name)
      const lines = out.split('\n').map((line) => line.trim().split(/ {2,}/))
      expect(lines).toContainEqual(['replica', ann.split(':')[0], bob.split(':')[0]])
      expect(lines).toContainEqual(['did', 'update', 'update'])
      expect(lines).toContainEqual(['title', '"Pump"', '"Pump 4"', '"Pump 5"'])
      expect(lines).toContainEqual(['body', '"old"'])
      expect(lines).toContainEqual(['prevails', 'yes'])
      expect(out).toContain('wins: ')
      expect(out).toContain('Shown now: {"id":"n","body":"old","title":"Pump 5","votes":1}')
    }
  })

  test('lets nothing that is in a row move the cursor', async () => {
    const [ann, bob] = [await open('ann'), await open('bob')]
    await ann.table('notes').insert({ id: 'n\u001b[2J', title: '\u001b[31mA\nB' })
    await bob.table('notes').insert({ id: 'n\u001b[2J', title: '\u009b31mB' })
    await sync(ann, bob)
    const { id } = await onlyConflict(ann)
    await Promise.all([close(ann), close(bob)])
    for (const { out, problem } of [
      await command('list'),
      await command('show', id),
      await command('show', `${id}\u001b[2J`),
    ]) {
      expect(`${out}${problem}`).not.toMatch(/[^\P{Cc}\n]/u)
    }
  })
})

describe('resolve', () => {
  test.each<[string, (made: Awaited<ReturnType<typeof prepare>>) => readonly string[], unknown]>([
    ['--keep by number', ({ id }) => [id, '--keep', '1'], { id: 'n', title: 'Pump 4', body: 'old', votes: 1 }],
    ['--keep by dot', ({ id, ann }) => [id, '--keep', ann], { id: 'n', title: 'Pump 4', body: 'old', votes: 1 }],
    [
      '--keep by a short dot',
      ({ id, bob }) => [id, '--keep', `${bob.slice(0, 8)}:${bob.split(':')[1]}`],
      { id: 'n', title: 'Pump 5', body: 'old', votes: 1 },
    ],
    [
      '--value',
      ({ id }) => [id, '--value', '{"title":"both","body":{"$date":"2026-01-31T00:00:00.000Z"}}'],
      { id: 'n', title: 'both', body: new Date('2026-01-31'), votes: 1 },
    ],
    ['--value null', ({ id }) => [id, '--value', 'null'], undefined],
    ['--accept', ({ id }) => [id, '--accept'], { id: 'n', title: 'Pump 5', body: 'old', votes: 1 }],
    ['--restore', ({ id }) => [id, '--restore'], { id: 'n', title: 'Pump 4', body: 'old', votes: 1 }],
    ['the row instead of an id', () => ['notes/n', '--keep', '1'], { id: 'n', title: 'Pump 4', body: 'old', votes: 1 }],
  ])('%s decides it on all replicas', async (_name, args, expected) => {
    const made = await prepare()
    const { code, out, problem } = await command('resolve', ...args(made))
    expect({ code, problem }).toEqual({ code: 0, problem: '' })
    expect(out).toContain('Resolved. notes/n is ')
    expect(await noteAtBob()).toEqual(expected)
  })

  test('brings back a side long after, and prints JSON when asked', async () => {
    const { id, ann } = await prepare()
    await command('resolve', id, '--accept')
    const { out } = await command('resolve', id, '--restore', ann, '--json')
    expect(JSON.parse(out)).toEqual({ id, row: { id: 'n', title: 'Pump 4', body: 'old', votes: 1 } })
    expect(await command('resolve', id, '--accept')).toMatchObject({
      code: 1,
      problem: expect.stringContaining('settled already'),
    })
  })

  test('works beside the program that has the store open', async () => {
    const { id } = await prepare()
    const ann = await open('ann')
    expect((await command('resolve', id, '--keep', '1')).code).toBe(0)
    expect(await ann.table('notes').get('n')).toMatchObject({ title: 'Pump 4' })
    await ann.table('notes').update('n', { body: 'after' })
    await close(ann)
    expect(await noteAtBob()).toMatchObject({ title: 'Pump 4', body: 'after' })
  })

  test.each<[string, readonly string[], string]>([
    ['no way', [], 'say in one way'],
    ['two ways', ['--accept', '--keep', '1'], 'say in one way'],
    ['a side that is none', ['--keep', '3'], '"3" is no side of this conflict'],
    ['a dot of another change', ['--keep', 'ffffffff:1'], 'Its sides are 1, which is '],
    ['a field that cannot be stored', ['--value', '{"no name":1}'], 'not a field name'],
  ])('refuses %s, and changes nothing', async (_name, args, problem) => {
    const { id } = await prepare()
    expect(await command('resolve', id, ...args)).toMatchObject({
      code: 1,
      out: '',
      problem: expect.stringContaining(problem),
    })
    expect((await command('list')).out).toContain(id)
  })

  test('refuses JSON that is no row', async () => {
    const { id } = await prepare()
    for (const text of ['{', '5', '[]', '"x"'])
      expect(await command('resolve', id, '--value', text)).toMatchObject({ code: 1 })
  })
})

test('decides in the store of a server as well: clients learn of it when they meet it next', async () => {
  const path = join(directory, 'server')
  const openServer = async (): Promise<Hub> => openHub(await openLmdbStore(path))
  const closeServer = async ({ ledger }: Hub): Promise<void> => {
    await ledger.close()
    await ledger.store.close()
  }
  const before = await openServer()
  const { ann, bob } = await openClients(TABLES, clock)
  await ann.table('notes').insert({ id: 'n', title: 'A' })
  await bob.table('notes').insert({ id: 'n', title: 'B' })
  for (const client of [ann, bob, ann]) await meetServer(before, client, clock.now)
  const { id } = await onlyConflict(ann)
  await closeServer(before)
  expect((await command('list', '--store', path)).out).toContain(id)
  expect((await command('list', RECALL, '--store', path)).out).toContain(id)
  expect((await command('resolve', id, '--value', '{"title":"by the server"}', '--store', path)).code).toBe(0)
  const after = await openServer()
  for (const client of [ann, bob]) {
    await meetServer(after, client, clock.now)
    expect(await client.table('notes').get('n')).toEqual({ id: 'n', title: 'by the server' })
    expect(await openConflicts(client)).toEqual([])
  }
  await closeServer(after)
})

describe('any command', () => {
  test('refuses a store that is not there, and leaves nothing behind', async () => {
    const store = join(directory, 'nowhere')
    expect(await command('list', '--store', store)).toMatchObject({
      code: 1,
      problem: expect.stringContaining('there is no replica in'),
    })
    expect(await readdir(directory)).not.toContain('nowhere')
  })

  test('refuses a store that does not know its tables when it is told nothing of them', async () => {
    await prepare()
    expect(await command('list', RECALL)).toMatchObject({ code: 1, problem: expect.stringContaining('--tables') })
  })

  test('tells of nothing that the table has the journal redact, or forget', async () => {
    const { id } = await prepare()
    writeFileSync(tablesFile, '{ "notes": { "journal": { "isRedacted": true } } }')
    const { out } = await command('show', id, '--json')
    expect(JSON.parse(out)).toMatchObject({ sides: [{ values: {} }, { values: {} }] })
    writeFileSync(tablesFile, '{ "notes": { "journal": { "isKept": false } } }')
    expect((await command('resolve', id, '--accept')).code).toBe(0)
    expect(await command('show', id)).toMatchObject({ code: 1, problem: expect.stringContaining('no conflict') })
  })

  test('refuses the store of another tenant, and an id that nobody knows', async () => {
    const { id } = await prepare()
    expect(await command('show', 'notes/m')).toMatchObject({
      code: 1,
      problem: expect.stringContaining('there is no conflict "notes/m"'),
    })
    expect(await command('show', id.replace('/n', '/m'))).toMatchObject({ code: 1 })
    const other = await openReplica({
      tenant: 'other',
      store: await openLmdbStore(join(directory, 'other')),
      tables: {},
    })
    await other.close()
    await other.ledger.store.close()
    expect(await command('list', '--store', join(directory, 'other'))).toMatchObject({
      code: 1,
      problem: expect.stringContaining('"other"'),
    })
  })

  test.each<[string, string, string]>([
    ['no file', '', 'cannot be read'],
    ['no JSON', '{', 'cannot be read'],
    ['an array', '[]', 'not an object of tables'],
    ['a table that is no object', '{ "notes": 1 }', '"notes" is not an object'],
    ['an unknown property', '{ "notes": { "colour": 1 } }', '"colour"'],
    ['an unknown granularity', '{ "notes": { "granularity": "cell" } }', 'must be "fields" or "row"'],
    ['an unknown policy', '{ "notes": { "policy": "max" } }', 'must be one of lastWriteWins, '],
    ['an unknown journal', '{ "notes": { "journal": { "days": 3 } } }', 'the journal of "notes"'],
    ['days that are none', '{ "notes": { "journal": { "keptDays": "3" } } }', 'keptDays must be a positive number'],
    ['an unknown field policy', '{ "notes": { "fields": { "votes": "constructor" } } }', '"notes.votes"'],
  ])('refuses tables given as %s', async (_name, content, problem) => {
    await prepare()
    const file = join(directory, 'bad.json')
    if (content !== '') writeFileSync(file, content)
    expect(await command('list', '--tables', file)).toMatchObject({
      code: 1,
      out: '',
      problem: expect.stringContaining(problem),
    })
  })
})
