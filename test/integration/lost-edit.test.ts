/**
 * Somebody’s edit has lost: they find it, see who won and why, and get it back in one action, from any replica and from the
 * shell; and whoever was away meanwhile does not undo that. A real server, two replicas here, one in a process of its own.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { type ChangeOp, type Conflict, type ConflictEvent, openReplica, type Replica } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { conflictsCommand } from '../../sync-server/commands/conflicts.ts'
import { runCommand } from '../conflicts/shell.ts'
import { lookAt, MEMOS, type Memo, type Memos, type Question, TENANT } from './lost-edit.ts'
import { ended, launch, launchServer } from './shell.ts'
import { createFolder, settleAll } from './stage.ts'

/** Who brings the edit back: who lost it, who won, the replica in the other process, somebody at a shell. */
type Restorer = 'author' | 'winner' | 'other process' | 'shell'

interface Story {
  readonly type: Conflict['type']
  /** What the author did, which loses, and the winner afterwards. */
  readonly lost: ChangeOp
  readonly won: ChangeOp
  readonly restorer: Restorer
}

const STORIES: readonly Story[] = [
  { type: 'update-update', lost: 'update', won: 'update', restorer: 'author' },
  { type: 'update-delete', lost: 'update', won: 'delete', restorer: 'winner' },
  { type: 'delete-update', lost: 'delete', won: 'update', restorer: 'other process' },
  { type: 'insert-insert', lost: 'insert', won: 'insert', restorer: 'shell' },
]
const BODY = 'by the east wall'
/** How far the author's clock is behind, so that the edit loses. */
const BEHIND_MS = 10_000
/** Most of it is to start three processes. */
const LIMIT_MS = 120_000

test(
  'who lost an edit finds it, sees who won and why, and gets it back for everybody, from anywhere',
  async () => {
    const stage = await openStage()
    for (const [number, story] of STORIES.entries()) await tell(stage, story, `m${number}`)
  },
  LIMIT_MS,
)

async function tell({ author, winner, other, url, folder }: Stage, story: Story, id: string): Promise<void> {
  const look = async (conflicts: readonly string[] = []): Promise<string> => {
    const [first, ...others] = [
      await lookAt(author.replica, id, conflicts),
      await lookAt(winner.replica, id, conflicts),
      await other.ask({ type: 'look', id, conflicts }),
    ] as [string, ...string[]]
    for (const each of others) expect(JSON.parse(each)).toEqual(JSON.parse(first))
    return first
  }
  const everybodySettles = async (): Promise<void> => {
    for (let round = 0; round < 2; round++) {
      await settleAll(author.link, winner.link)
      await other.ask({ type: 'settle' })
    }
  }

  if (story.lost !== 'insert') await author.replica.table('memos').insert({ id, title: 'Pump', body: BODY })
  await everybodySettles()
  const events: ConflictEvent[] = []
  const stop = author.replica.conflicts.subscribe((event) => events.push(event))
  await Promise.all([author.link.close(), winner.link.close()])
  await act(author.replica, story.lost, { id, title: 'Pump 4, as its author has it' })
  await act(winner.replica, story.won, { id, title: 'Pump 5' })

  // They meet again, and the author learns of it: by an event, from the list, from the journal.
  author.link = goOnline(author.replica, url)
  winner.link = goOnline(winner.replica, url)
  await everybodySettles()
  const opened = events.filter(({ type }) => type === 'opened').map(({ conflict }) => conflict)
  const [conflict, ...more] = opened as [Conflict, ...Conflict[]]
  expect(more).toEqual([])
  const lost = conflict.sides.find(({ dot }) => dot.replica === author.replica.id)
  expect(conflict).toMatchObject({ type: story.type, row: id, winner: { replica: winner.replica.id } })
  expect(lost?.op).toBe(story.lost)
  if (story.lost !== 'delete') expect(lost?.values).toMatchObject({ title: 'Pump 4, as its author has it' })
  const [entry] = await author.replica.conflicts.journal({ type: story.type })
  expect(entry).toMatchObject({ isOpen: true, conflict: { id: conflict.id } })

  // Who won, and why, is said alike everywhere.
  const before = JSON.parse(await look([conflict.id]))
  expect(before.open.map((each: Conflict) => each.id)).toEqual([conflict.id])
  expect(before.reports[0].reason).toBe(
    `The ${story.won} of replica ${winner.replica.id} (change ${conflict.winner?.seq}) wins: it was made later.`,
  )
  expect(before.explanation.reason).toContain(`chose the ${story.won} of replica ${winner.replica.id}`)
  expect(before.row).toEqual(story.won === 'delete' ? null : expect.objectContaining({ title: 'Pump 5' }))

  // The winner is away while the edit is brought back, in one action, and is busy with something else.
  const shell = (...args: string[]) => runShell(folder, args)
  await expectShown(shell, conflict, story)
  if (story.restorer !== 'winner') await winner.link.close()
  await winner.replica.table('memos').insert({ id: `${id}-other`, title: 'something else' })
  if (story.restorer === 'author') await author.replica.conflicts.restore(conflict.id)
  if (story.restorer === 'winner') await winner.replica.conflicts.restore(conflict.id)
  if (story.restorer === 'other process') await other.ask({ type: 'restore', conflict: conflict.id })
  if (story.restorer === 'shell') {
    expect(await shell('resolve', conflict.id, '--restore')).toContain('Resolved.')
  }
  await settleAll(author.link)
  await other.ask({ type: 'settle' })
  if (story.restorer !== 'winner') winner.link = goOnline(winner.replica, url)
  await everybodySettles()

  // Everybody has it, nothing is open, and what happened can still be told.
  const after = JSON.parse(await look([conflict.id]))
  const kept = story.lost === 'insert' ? { id } : { id, body: BODY }
  expect(after.row).toEqual(story.lost === 'delete' ? null : { ...kept, title: 'Pump 4, as its author has it' })
  expect(after.open).toEqual([])
  expect(after.reports[0]).toEqual(before.reports[0])
  const remembered = (await author.replica.conflicts.journal()).at(-1)
  expect(remembered).toMatchObject({ isOpen: false, conflict: { id: conflict.id } })
  expect(events.map(({ type }) => type)).toEqual(['opened', 'closed'])
  stop()
  expect(await shell('list', '--settled')).toContain(conflict.id)
  // Long afterwards the winner can have it back just the same.
  await winner.replica.conflicts.restore(conflict.id, conflict.winner)
  await everybodySettles()
  expect(JSON.parse(await look([conflict.id])).row).toEqual(before.row)
}

/** Both sides beside each other, what was there before, and the reason. */
async function expectShown(shell: Shell, conflict: Conflict, story: Story): Promise<void> {
  expect(await shell('list')).toMatch(
    new RegExp(`memos/${conflict.row} +${story.type} .*open +${escaped(conflict.id)}`),
  )
  const shown = await shell('show', conflict.id)
  expect(shown).toMatch(new RegExp(`did +${story.lost} +${story.won}\\n`))
  expect(shown).toContain(conflict.reason)
  if (story.lost !== 'delete' && story.won !== 'delete') {
    expect(shown).toMatch(/title .*"Pump 4, as its author has it" +"Pump 5"\n/)
  }
}

// ── The stage ───────────────────────────────────────────────────────────────────────────────────────────────────────

interface Here {
  readonly replica: Replica<Memos>
  link: SyncLink
}

interface Elsewhere {
  ask(question: Question): Promise<string>
}

interface Stage {
  readonly author: Here
  readonly winner: Here
  readonly other: Elsewhere
  readonly url: string
  readonly folder: string
}

async function openStage(): Promise<Stage> {
  const folder = createFolder()
  const { url } = await launchServer(['--dev', '--data', join(folder, 'server'), '--port', '0'])
  writeFileSync(join(folder, 'tables.json'), '{ "memos": {} }')
  return {
    author: await openHere(url, () => Date.now() - BEHIND_MS),
    winner: await openHere(url, Date.now),
    other: await openElsewhere(join(folder, 'replica'), url),
    url,
    folder,
  }
}

async function openHere(url: string, now: () => number): Promise<Here> {
  const replica = await openReplica({ tenant: TENANT, store: openMemoryStore(), tables: MEMOS, now })
  onTestFinished(() => replica.close())
  return { replica, link: goOnline(replica, url) }
}

function goOnline(replica: Replica<Memos>, url: string): SyncLink {
  const link = connect(replica, { url, backoff: { baseMs: 20, capMs: 200 } })
  onTestFinished(() => link.close())
  return link
}

async function openElsewhere(directory: string, url: string): Promise<Elsewhere> {
  const path = fileURLToPath(new URL('replica-child.ts', import.meta.url))
  const child = fork(path, [directory, url], { execArgv: ['--import', 'tsx'] })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  await nextMessage(child)
  return {
    ask: (question) => {
      child.send(question)
      return nextMessage(child)
    },
  }
}

function nextMessage(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`it ended with ${code}`))
    child.once('exit', onExit)
    child.once('message', (text) => {
      child.off('exit', onExit)
      resolve(String(text))
    })
  })
}

type Shell = (...args: string[]) => Promise<string>

/** `tidemark conflicts`, on the disk of the replica that the other process has open. */
async function runShell(folder: string, [command = '', ...args]: readonly string[]): Promise<string> {
  const place = ['--store', join(folder, 'replica'), '--tenant', TENANT, '--tables', join(folder, 'tables.json')]
  // Starting a process takes seconds on a busy machine: only what decides has one of its own.
  if (command !== 'resolve') {
    const { code, out, problem } = await runCommand(conflictsCommand(), [command, ...args, ...place])
    expect([code, problem]).toEqual([0, ''])
    return out
  }
  const { code, stdout, stderr } = await ended(launch(['conflicts', command, ...args, ...place]))
  expect([code, stderr]).toEqual([0, ''])
  return stdout
}

async function act(replica: Replica<Memos>, op: ChangeOp, memo: Memo): Promise<void> {
  const memos = replica.table('memos')
  if (op === 'insert') await memos.insert(memo)
  else if (op === 'update') await memos.update(memo.id, { title: memo.title })
  else await memos.delete(memo.id)
}

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
}
