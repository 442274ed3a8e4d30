/**
 * The store port on LMDB, for Node: one directory per store, or one for many stores, shared by any number of processes.
 *
 * Knows: lmdb-js, and how it is made to keep the port's promises. Must never know: what the bytes mean.
 *
 * L1  `overlappingSync` is off: LMDB then flushes the pages of a commit before it writes the meta page that makes them
 *     visible. So what any reader of any process sees is on disk, and lmdb-js's promise of a write is S3's. With it on,
 *     readers see what a crash can still take back, and it was measured to be no faster.
 * L2  The head is the version of one entry. lmdb-js compares it inside the write transaction, on its own thread, so
 *     that S4 holds between processes and no JavaScript runs while the write lock is held.
 * L3  Each read starts from a new snapshot, so that it sees what other handles and processes have committed. Only the
 *     last commit of a process that was killed, if it got as far as the disk, may wait for the next write to be seen.
 * L4  What is handed out is a plain `Uint8Array` with bytes of its own: LMDB reuses its pages and lmdb-js its buffers,
 *     and `slice` of a Node Buffer would not copy.
 * L5  One wave of commits is under way at a time in a directory. Commits that arrive meanwhile make up the next wave and
 *     share one flush. After a failure nothing is left in the queue of lmdb-js, which would never answer it.
 * L6  Who reads on and on lets others have their turn (lmdb-turns.ts).
 * L7  Of many stores in one directory each has a database of its own, and its head by its name. A database is emptied and
 *     never dropped: its number would be given to another one, while some handle still goes by it.
 * L9  A copy is not opened beside its original (lmdb-home.ts).
 * L8  What is closed is forgotten. lmdb-js keeps every database of the process in a list, each with 64 KiB of its own: a
 *     server that opens and closes stores all day would fill up.
 */
import { promises as files } from 'node:fs'
import { constants } from 'node:os'
import { dirname, join, resolve as resolvePath } from 'node:path'
import * as lmdb from 'lmdb'
import { TidemarkError } from '../errors.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../store.ts'
import { type DataHome, moveIn } from './lmdb-home.ts'
import { turnToRead } from './lmdb-turns.ts'

type Root = lmdb.RootDatabase<Uint8Array, Uint8Array>
type Table = lmdb.Database<Uint8Array, Uint8Array>

/** Exported, and missing in the types. */
const { allDbs: allTables } = lmdb as unknown as { readonly allDbs: Map<string, unknown> }

/** What LMDB allows with its usual page of 4 KiB, less the byte that `keyToLmdb` may add. */
const KEY_BYTES_MAX = 1977
const TABLE_NAMES: readonly string[] = ['entries', 'head']
const BINARY = { encoding: 'binary', keyEncoding: 'binary' } as const
const HEAD_KEY: Uint8Array = new Uint8Array([0])
const HOME_KEY: Uint8Array = new Uint8Array([255])
const NO_BYTES: Uint8Array = new Uint8Array(0)

/**
 * Opens the store in the directory `path`, which is created when it is absent.
 *
 * Throws `store-foreign` when something else lives there, `store-full` and `store-failed` when it cannot be used.
 */
export async function openLmdbStore(path: string): Promise<Store> {
  const directory = await openDirectory(path, TABLE_NAMES.length, (name) => TABLE_NAMES.includes(name), 'head')
  return new LmdbStore(directory, directory.openTable('entries'), HEAD_KEY, () => directory.close())
}

/** Many stores in one directory, by name. */
export interface LmdbEnvironment {
  /** The store of this name, an empty one when there is none. The caller closes it. */
  open(name: string): Promise<Store>
  /** Empties it. Nobody in this process may have it open. */
  remove(name: string): Promise<void>
  /** Waits for the commits under way. */
  close(): Promise<void>
}

/** How many names may ever have been open at once: LMDB keeps a list of this length for every transaction. */
const STORES_MAX = 8_192
const STORE_PREFIX = 's:'
const HEADS_TABLE = 'heads'

/** Opens a directory of many stores, which is created when it is absent. Throws like `openLmdbStore`. */
export async function openLmdbEnvironment(path: string): Promise<LmdbEnvironment> {
  const isOurs = (name: string): boolean => name === HEADS_TABLE || name.startsWith(STORE_PREFIX)
  const directory = await openDirectory(path, STORES_MAX, isOurs, HEADS_TABLE)
  const tables = new Map<string, Table>()
  const tableOf = (name: string): Table => {
    const known = tables.get(name)
    if (known !== undefined) return known
    const table = directory.openTable(STORE_PREFIX + name)
    tables.set(name, table)
    return table
  }
  const headKeyOf = (name: string): Uint8Array => new TextEncoder().encode(name)
  return {
    open: async (name) => new LmdbStore(directory, tableOf(name), headKeyOf(name), async () => {}),
    remove: (name) => directory.empty(tableOf(name), headKeyOf(name)),
    close: () => directory.close(),
  }
}

async function openDirectory(
  path: string,
  maxDbs: number,
  isOurs: (name: string) => boolean,
  headTable: string,
): Promise<LmdbDirectory> {
  let root: Root | undefined
  let leave = async (): Promise<void> => {}
  try {
    const directory = resolvePath(path)
    const created = await files.mkdir(directory, { recursive: true })
    await refuseUnfitDirectory(directory)
    const lodging = await moveIn(directory)
    leave = lodging.leave
    root = lmdb.open<Uint8Array, Uint8Array>(directory, {
      ...BINARY,
      noSubdir: false,
      overlappingSync: false,
      eventTurnBatching: false,
      maxDbs,
    })
    refuseForeignTables(root, directory, isOurs)
    const head: Table = root.openDB(headTable, { ...BINARY, useVersions: true })
    await flushDirectories(directory, created ?? directory)
    const opened = new LmdbDirectory(directory, root, head, leave)
    await lodging.recognize(homeIn(opened))
    return opened
  } catch (error) {
    await root?.close()
    await leave()
    throw openFailure(path, error)
  }
}

/** Under a key that is no name of a store. */
function homeIn(directory: LmdbDirectory): DataHome {
  const { head } = directory
  return {
    read: () => {
      const bytes = head.get(HOME_KEY)
      return bytes === undefined ? undefined : new TextDecoder().decode(bytes)
    },
    write: async (text) => {
      const write = async (): Promise<StoreCommitResult> => {
        await head.put(HOME_KEY, new TextEncoder().encode(text), 1)
        return { type: 'committed', head: 0 }
      }
      await directory.submit(write)
    },
  }
}

interface Waiting {
  readonly write: () => Promise<StoreCommitResult>
  readonly resolve: (result: StoreCommitResult) => void
  readonly reject: (error: TidemarkError) => void
}

/** What the stores of one directory share: LMDB, and the waves of commits. */
class LmdbDirectory {
  readonly root: Root
  readonly head: Table
  readonly #path: string
  readonly #leave: () => Promise<void>
  readonly #tables: Set<unknown>
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined
  #failure: TidemarkError | undefined
  #closing: Promise<void> | undefined

  constructor(path: string, root: Root, head: Table, leave: () => Promise<void>) {
    this.#path = path
    this.#leave = leave
    this.root = root
    this.head = head
    this.#tables = new Set([root, head])
  }

  openTable(name: string): Table {
    this.refuseClosed()
    const table: Table = this.root.openDB(name, BINARY)
    this.#tables.add(table)
    return table
  }

  /** Runs `write` in the next wave. */
  submit(write: () => Promise<StoreCommitResult>): Promise<StoreCommitResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ write, resolve, reject })
      this.#writing ??= this.#writeWaves()
    })
  }

  async empty(entries: Table, headKey: Uint8Array): Promise<void> {
    const write = async (): Promise<StoreCommitResult> => {
      await Promise.all([entries.clearAsync(), this.head.remove(headKey)])
      return { type: 'committed', head: 0 }
    }
    await this.submit(write)
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  refuseClosed(): void {
    if (this.#closing !== undefined) throw new TidemarkError('store-closed', 'the store is closed')
  }

  async #close(): Promise<void> {
    await this.#writing
    await this.root.close()
    for (const [name, table] of allTables) if (this.#tables.has(table)) allTables.delete(name)
    await this.#leave()
  }

  /** Writes wave after wave until no commit waits (L5). */
  async #writeWaves(): Promise<void> {
    // The commits of the turn that began this all belong to the first wave.
    await undefined
    while (this.#waiting.length > 0) {
      const wave = this.#waiting
      this.#waiting = []
      await Promise.all(wave.map((waiting) => this.#write(waiting)))
    }
    this.#writing = undefined
  }

  async #write({ write, resolve, reject }: Waiting): Promise<void> {
    try {
      if (this.#failure !== undefined) throw this.#failure
      resolve(await write())
    } catch (error) {
      const cause = await commitCause(error)
      // When a disk takes only a part of a page, LMDB says "input/output error".
      const isFull = codeOf(cause) === EIO && (await freeBytes(this.#path)) < FREE_BYTES_MIN
      const reason = isFull ? fullError(cause) : failure('cannot write to the store', cause)
      // After any other failure LMDB may refuse to begin a transaction, and lmdb-js would wait for it for ever.
      if (reason.code !== 'store-full') this.#failure = reason
      reject(reason)
    }
  }
}

class LmdbStore implements Store {
  readonly #directory: LmdbDirectory
  readonly #entries: Table
  readonly #headKey: Uint8Array
  readonly #release: () => Promise<void>
  readonly #underWay = new Set<Promise<StoreCommitResult>>()
  #closing: Promise<void> | undefined

  constructor(directory: LmdbDirectory, entries: Table, headKey: Uint8Array, release: () => Promise<void>) {
    this.#directory = directory
    this.#entries = entries
    this.#headKey = headKey
    this.#release = release
  }

  head(): Promise<number> {
    return this.#read(() => this.#readHead())
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#read(() => keys.map((key) => this.#readValue(key)))
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#read(() => this.#readRange(range))
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    this.#refuseClosed()
    refuseUnwritable(commit)
    const committing = this.#directory.submit(() => this.#commit(commit))
    this.#underWay.add(committing)
    try {
      return await committing
    } finally {
      this.#underWay.delete(committing)
    }
  }

  close(): Promise<void> {
    this.#closing ??= Promise.allSettled(this.#underWay).then(() => this.#release())
    return this.#closing
  }

  #refuseClosed(): void {
    if (this.#closing !== undefined) throw new TidemarkError('store-closed', 'the store is closed')
    this.#directory.refuseClosed()
  }

  // ── Reads ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Runs `read` on the newest snapshot (L3), at once or in a later turn (L6). It may not wait: the snapshot ends with the turn. */
  async #read<Answer>(read: () => Answer): Promise<Answer> {
    this.#refuseClosed()
    const turn = turnToRead()
    if (turn !== undefined) {
      await turn
      this.#refuseClosed()
    }
    try {
      this.#directory.root.resetReadTxn()
      return read()
    } catch (error) {
      throw failure('cannot read from the store', error)
    }
  }

  #readHead(): number {
    return this.#directory.head.getEntry(this.#headKey)?.version ?? 0
  }

  #readValue(key: Uint8Array): Uint8Array | undefined {
    const value = this.#entries.getBinary(keyToLmdb(key))
    return value === undefined ? undefined : ownBytes(value)
  }

  #readRange({ from, to, reverse = false, limit, bytesMax = Number.POSITIVE_INFINITY }: StoreRange): StoreEntry[] {
    const found: StoreEntry[] = []
    if (limit < 1 || Buffer.compare(from, to) >= 0) return found
    const [start, end] = [keyToLmdb(from), keyToLmdb(to)]
    const bounds = reverse
      ? { start: end, exclusiveStart: true, end: start, inclusiveEnd: true, reverse }
      : { start, end }
    let bytes = 0
    for (const { key: lmdbKey, value } of this.#entries.getRange({ ...bounds, limit })) {
      const key = lmdbToKey(ownBytes(lmdbKey))
      found.push({ key, value: ownBytes(value) })
      bytes += key.length + value.length
      if (bytes > bytesMax) break
    }
    return found
  }

  // ── Commits ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #commit(commit: StoreCommit): Promise<StoreCommitResult> {
    const isCommitted = await this.#writeIfHead(commit)
    if (isCommitted) return { type: 'committed', head: commit.expectedHead + 1 }
    this.#directory.root.resetReadTxn()
    return { type: 'head-moved', head: this.#readHead() }
  }

  #writeIfHead({ expectedHead, puts, deletes }: StoreCommit): Promise<boolean> {
    const { head } = this.#directory
    const write = (): void => {
      for (const key of deletes) void this.#entries.remove(keyToLmdb(key))
      for (const { key, value } of puts) void this.#entries.put(keyToLmdb(key), value)
      void head.put(this.#headKey, NO_BYTES, expectedHead + 1)
    }
    return expectedHead === 0
      ? head.ifNoExists(this.#headKey, write)
      : head.ifVersion(this.#headKey, expectedHead, write)
  }
}

// ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

/** LMDB has no empty keys: a key that is empty or begins with 0 gets a 0 before it. That keeps the order (S1). */
function keyToLmdb(key: Uint8Array): Uint8Array {
  if (key.length > 0 && key[0] !== 0) return key
  const escaped = new Uint8Array(key.length + 1)
  escaped.set(key, 1)
  return escaped
}

function lmdbToKey(key: Uint8Array): Uint8Array {
  return key[0] === 0 ? key.subarray(1) : key
}

/** A Buffer that lmdb-js copied for us, as the plain array that L4 promises. */
function ownBytes({ buffer, byteOffset, byteLength }: Uint8Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** lmdb-js would throw in the middle of a commit and write its first half. */
function refuseUnwritable({ puts, deletes }: StoreCommit): void {
  for (const key of deletes) refuseLongKey(key)
  for (const { key, value } of puts) {
    refuseLongKey(key)
    if (!(value instanceof Uint8Array)) throw new TidemarkError('bad-value', 'a store keeps bytes and nothing else')
  }
}

function refuseLongKey(key: Uint8Array): void {
  if (key.length <= KEY_BYTES_MAX) return
  throw new TidemarkError('too-large', `a key has ${key.length} bytes; LMDB takes ${KEY_BYTES_MAX}`)
}

// ── Directories ─────────────────────────────────────────────────────────────────────────────────────────────────────

const { R_OK, W_OK, X_OK } = files.constants
const DATA_FILE = 'data.mdb'
const LOCK_FILE = 'lock.mdb'

/** Every check that can be made from here: what LMDB itself refuses to open, lmdb-js answers with a crash. */
async function refuseUnfitDirectory(directory: string): Promise<void> {
  const names = await files.readdir(directory)
  await files.access(directory, R_OK | W_OK | X_OK)
  for (const name of [DATA_FILE, LOCK_FILE].filter((name) => names.includes(name))) {
    const path = join(directory, name)
    if (!(await files.stat(path)).isFile()) throw foreignError(directory, `${name} is not a file`)
    await files.access(path, R_OK | W_OK)
  }
  if (names.includes(DATA_FILE)) return refuseForeignData(directory)
  const foreign = names.find((name) => name !== LOCK_FILE && !name.startsWith('.'))
  if (foreign !== undefined) throw foreignError(directory, `it holds ${foreign} and no store`)
  // LMDB maps its lock file before the disk has given it a place: on a full disk that ends the process.
  if ((await freeBytes(directory)) < FREE_BYTES_MIN) throw fullError()
}

const LMDB_MAGIC = 0xbeefc0de
const LMDB_DATA_VERSION = 2

/** The first page begins with its number and flags, in 24 bytes (16 on a 32-bit machine), then come magic and version. */
async function refuseForeignData(directory: string): Promise<void> {
  const file = await files.open(join(directory, DATA_FILE), 'r')
  try {
    const { size } = await file.stat()
    // Somebody else is just creating it.
    if (size === 0) return
    const words = new Uint32Array(8)
    await file.read(words)
    const version = words[words.indexOf(LMDB_MAGIC) + 1] ?? 0
    if (size >= 8192 && words.includes(LMDB_MAGIC) && (version & 0xffff) === LMDB_DATA_VERSION) return
    throw foreignError(directory, `${DATA_FILE} is of another program`)
  } finally {
    await file.close()
  }
}

async function freeBytes(directory: string): Promise<number> {
  try {
    const { bavail, bsize } = await files.statfs(directory)
    return bavail * bsize
  } catch {
    // Nobody knows; the write itself will say.
    return Number.POSITIVE_INFINITY
  }
}

function refuseForeignTables(root: Root, directory: string, isOurs: (name: string) => boolean): void {
  for (const key of root.getKeys()) {
    // The names of tables are its keys, as C strings.
    const name = new TextDecoder().decode(key.subarray(0, -1))
    if (!isOurs(name)) throw foreignError(directory, 'it holds a database of another program')
  }
}

/** A file is on disk only when the directory that names it is, up to the first one that was there before. */
async function flushDirectories(directory: string, firstCreated: string): Promise<void> {
  // Windows opens no directories, and keeps their entries in a journal.
  if (process.platform === 'win32') return
  const last = dirname(firstCreated)
  for (let path = directory; ; path = dirname(path)) {
    const handle = await files.open(path)
    await handle.sync().finally(() => handle.close())
    if (path === last || path === dirname(path)) return
  }
}

// ── Failures ────────────────────────────────────────────────────────────────────────────────────────────────────────

const { ENOSPC, EDQUOT, EFBIG, EIO } = constants.errno
const MDB_MAP_FULL = -30792
const FULL_CODES: readonly unknown[] = [MDB_MAP_FULL, ENOSPC, EDQUOT, EFBIG, 'ENOSPC', 'EDQUOT']
/** With less than this, a disk counts as full. */
const FREE_BYTES_MIN = 1 << 20

const MDB_INVALID = -30793
const MDB_VERSION_MISMATCH = -30794
const MDB_INCOMPATIBLE = -30784
const FOREIGN_CODES: readonly unknown[] = [MDB_INVALID, MDB_VERSION_MISMATCH, MDB_INCOMPATIBLE, 'ENOTDIR', 'EEXIST']

/** lmdb-js says "Commit failed" and promises the reason. */
async function commitCause(error: unknown): Promise<unknown> {
  if (!(error instanceof Error) || !('commitError' in error)) return error
  try {
    return (await error.commitError) ?? error
  } catch (cause) {
    return cause
  }
}

function fullError(cause?: unknown): TidemarkError {
  const remedy = 'Free space on it and try again; what was refused has changed nothing'
  return new TidemarkError('store-full', 'the disk of the store is full', { remedy, retryable: true, cause })
}

function failure(what: string, cause: unknown): TidemarkError {
  if (cause instanceof TidemarkError) return cause
  if (FULL_CODES.includes(codeOf(cause))) return fullError(cause)
  const remedy = 'Check the disk, close the store and open it again'
  return new TidemarkError('store-failed', `${what}: ${reasonOf(cause)}`, { remedy, cause })
}

function openFailure(path: string, cause: unknown): TidemarkError {
  if (FOREIGN_CODES.includes(codeOf(cause))) return foreignError(path, reasonOf(cause), cause)
  return failure(`cannot open the store in ${path}`, cause)
}

function foreignError(path: string, why: string, cause?: unknown): TidemarkError {
  const remedy = 'Give the store a directory of its own'
  return new TidemarkError('store-foreign', `${path} is not a store: ${why}`, { remedy, cause })
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : null
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
