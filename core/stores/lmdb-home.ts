/**
 * The home of a directory: where it was last open, and who has it open now. So that a copy is not opened beside the store
 * that it was made from: both would write under one identity.
 *
 * Kept as hidden files in the directory: `.home` has its path and an id that a copy takes along, `.open-PID` is there while
 * that process has it open, and stays when it is killed. The data has path and id as well, for who copies `data.mdb` alone.
 *
 * Knows: files, processes of this machine, a place for a text in the data. Must never know: LMDB, what is stored.
 *
 * Invariants:
 * LH1  A directory with the id of another one that a living process has open is refused; it counts what the data says, and
 *      nothing is written to data before that was looked at. One directory by two names is no copy.
 * LH2  A mark that cannot be written keeps nobody from opening; one that was left behind by a process that is gone is none.
 */
import { randomUUID } from 'node:crypto'
import { promises as files } from 'node:fs'
import { uptime } from 'node:os'
import { join } from 'node:path'
import { TidemarkError } from '../errors.ts'

const HOME_FILE = '.home'
const OPEN_PREFIX = '.open-'
/** Clocks and the time of the last boot are not exact. */
const BOOT_MS = 10_000

interface Home {
  readonly path: string
  readonly id: string
}

/** How often each directory is open in this process. */
const counts = new Map<string, number>()

/** Where the data keeps what it says of its home. */
export interface DataHome {
  read(): string | undefined
  write(text: string): Promise<void>
}

export interface Lodging {
  /** To be called when the data is open, before anything of it is used. Throws `replica-cloned` (LH1). */
  recognize(data: DataHome): Promise<void>
  /** It is not open here any more. */
  leave(): Promise<void>
}

/** Marks the directory as open here. Throws `replica-cloned` (LH1). */
export async function moveIn(directory: string): Promise<Lodging> {
  const path = await files.realpath(directory)
  const before = await readHome(path)
  if (before !== undefined && before.path !== path) await refuseCopy(path, before)
  counts.set(path, (counts.get(path) ?? 0) + 1)
  await orNothing(async () => {
    await sweep(path)
    if (before?.path !== path) await writeHome(path, before?.id ?? randomUUID())
    await files.writeFile(markOf(path), '')
  })
  return { recognize: (data) => recognize(path, data), leave: () => moveOut(path) }
}

/** The id follows the data, wherever that is put. */
async function recognize(path: string, data: DataHome): Promise<void> {
  const told = parseHome(data.read())
  if (told !== undefined && told.path !== path) await refuseCopy(path, told)
  const current = await readHome(path)
  const id = told?.id ?? current?.id
  if (id === undefined) return
  await orNothing(async () => {
    if (current?.id !== id) await writeHome(path, id)
    if (told?.path !== path) await data.write(JSON.stringify({ path, id } satisfies Home))
  })
}

async function moveOut(path: string): Promise<void> {
  const left = (counts.get(path) ?? 1) - 1
  if (left > 0) return void counts.set(path, left)
  counts.delete(path)
  await orNothing(() => files.rm(markOf(path), { force: true }))
}

/** LH1. `home`: as the copy has it. */
async function refuseCopy(path: string, home: Home): Promise<void> {
  const original = await readHome(home.path)
  if (original?.id !== home.id || original.path !== home.path || (await isSame(path, home.path))) return
  const user = (await usersOf(home.path)).find(({ isAlive }) => isAlive)
  if (user === undefined) return
  throw new TidemarkError('replica-cloned', `${path} is a copy of ${home.path}, which process ${user.pid} has open`, {
    remedy: 'Close the original first; or begin with an empty directory, which gets its rows from the server',
    details: { path, original: home.path, pid: user.pid },
  })
}

/** As where a volume is mounted twice. */
async function isSame(left: string, right: string): Promise<boolean> {
  const [one, other] = await Promise.all([files.stat(left), files.stat(right)])
  return one.dev === other.dev && one.ino === other.ino
}

async function readHome(path: string): Promise<Home | undefined> {
  return parseHome(await files.readFile(join(path, HOME_FILE), 'utf8').catch(() => undefined))
}

function parseHome(text: string | undefined): Home | undefined {
  try {
    const home: unknown = JSON.parse(text ?? '')
    if (typeof home !== 'object' || home === null || !('path' in home) || !('id' in home)) return undefined
    return { path: String(home.path), id: String(home.id) }
  } catch {
    // There is none, or nothing that says anything.
    return undefined
  }
}

/** Whole or not at all: others may read it. */
async function writeHome(path: string, id: string): Promise<void> {
  const draft = join(path, `${HOME_FILE}-${process.pid}`)
  await files.writeFile(draft, JSON.stringify({ path, id } satisfies Home))
  await files.rename(draft, join(path, HOME_FILE))
}

interface User {
  readonly pid: number
  readonly isAlive: boolean
}

async function usersOf(path: string): Promise<User[]> {
  const bootedAtMs = Date.now() - uptime() * 1_000
  const users: User[] = []
  for (const name of await files.readdir(path).catch(() => [])) {
    const pid = name.startsWith(OPEN_PREFIX) ? Number(name.slice(OPEN_PREFIX.length)) : Number.NaN
    if (!Number.isSafeInteger(pid) || pid <= 0) continue
    const stats = await files.stat(join(path, name)).catch(() => undefined)
    const isOfThisBoot = stats !== undefined && stats.mtimeMs > bootedAtMs - BOOT_MS
    users.push({ pid, isAlive: isOfThisBoot && (pid === process.pid ? counts.has(path) : isRunning(pid)) })
  }
  return users
}

/** A process of somebody else has the number of one that is gone: it could not have written here. */
function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

/** Forgets processes that were killed. */
async function sweep(path: string): Promise<void> {
  for (const { pid, isAlive } of await usersOf(path)) {
    if (!isAlive && pid !== process.pid) await files.rm(join(path, `${OPEN_PREFIX}${pid}`), { force: true })
  }
}

function markOf(path: string): string {
  return join(path, `${OPEN_PREFIX}${process.pid}`)
}

/** LH2. */
async function orNothing(work: () => Promise<void>): Promise<void> {
  try {
    await work()
  } catch {
    // A full disk, most likely: whatever needs room says so itself.
  }
}
