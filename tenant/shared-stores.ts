/**
 * Shared stores: the stores of many tenants inside one, each under a prefix of its own.
 *
 * Every tenant has its own head, kept under its prefix and compared here. The head of the outer store only says that
 * nobody else wrote meanwhile: when it moved and the tenant's did not, the commit is simply made again. Commits of
 * different tenants that wait together share one outer commit, and so one flush.
 *
 * Layout of a key: length of the name (1 byte), name, then 0: the tenant's head (8 bytes), or 1 and the tenant's key.
 *
 * Knows: prefixes and heads. Must never know: what the bytes under a prefix mean.
 *
 * Invariants:
 * TS1  No prefix begins with another one, and every key of a tenant begins with its prefix: built here and nowhere else.
 * TS2  S1–S7 of the store port hold for each tenant by itself, whatever the others do.
 * TS3  `head-moved` is answered only for a head that was read after the commit was asked for.
 * TS4  A commit that the outer store refuses for its content disturbs no other tenant's.
 */
import {
  isTidemarkError,
  type Store,
  type StoreCommit,
  type StoreCommitResult,
  type StoreEntry,
  type StoreRange,
  TidemarkError,
} from '../core/index.ts'
import type { StoreFactory } from './store-factory.ts'

const HEAD = 0
const CONTENT = 1
const HEAD_BYTES = 8
const TWO_32 = 2 ** 32
/** How often a commit is made again because other processes wrote first. */
const ATTEMPTS_MAX = 64
/** An outer commit closes at this size: bounds its memory, and the wait of those behind it. */
const WAVE_BYTES_MAX = 8 << 20
const REMOVED_MAX = 1_000
const encoder = new TextEncoder()

/** Where one tenant lives in the outer store. */
interface Lodging {
  readonly content: Uint8Array
  readonly headKey: Uint8Array
  handles: number
}

interface Waiting {
  readonly lodging: Lodging
  readonly commit: StoreCommit
  readonly resolve: (result: StoreCommitResult) => void
  readonly reject: (error: unknown) => void
}

export class SharedStores implements StoreFactory {
  readonly #outer: Store
  readonly #lodgings = new Map<string, Lodging>()
  /** Heads of tenants, as they are while the outer head is `#outerHead`. */
  readonly #heads = new Map<Lodging, number>()
  #outerHead: number | undefined
  #waiting: Waiting[] = []
  #writing: Promise<void> | undefined

  /** The outer store belongs to these from now on: nothing else may write to it under other keys. */
  constructor(outer: Store) {
    this.#outer = outer
  }

  async open(name: string): Promise<Store> {
    const lodging = this.#lodgings.get(name) ?? createLodging(name)
    this.#lodgings.set(name, lodging)
    lodging.handles++
    return new TenantStore(
      this.#outer,
      lodging.content,
      () => this.#headOf(lodging),
      (commit) => this.#submit(lodging, commit),
      () => this.#release(name, lodging),
    )
  }

  /** Removes everything under the name's prefix, its head last. Nobody may have it open. */
  async remove(name: string): Promise<void> {
    const { content, headKey } = createLodging(name)
    const range = { from: content, to: afterPrefix(content), limit: REMOVED_MAX }
    for (;;) {
      const page = await this.#outer.range(range)
      const keys = page.length > 0 ? page.map(({ key }) => key) : [headKey]
      await this.#removeKeys(keys)
      if (page.length === 0) return
    }
  }

  /** Waits for the commits under way, then closes the outer store. */
  async close(): Promise<void> {
    await this.#writing
    await this.#outer.close()
  }

  async #removeKeys(deletes: readonly Uint8Array[]): Promise<void> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const expectedHead = await this.#outer.head()
      const result = await this.#outer.commit({ expectedHead, puts: [], deletes })
      if (result.type === 'committed') return
    }
    throw busy()
  }

  #release(name: string, lodging: Lodging): void {
    if (--lodging.handles > 0) return
    this.#heads.delete(lodging)
    if (this.#lodgings.get(name) === lodging) this.#lodgings.delete(name)
  }

  async #headOf({ headKey }: Lodging): Promise<number> {
    const [bytes] = await this.#outer.getMany([headKey])
    return bytes === undefined ? 0 : readHead(bytes)
  }

  // ── Commits ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #submit(lodging: Lodging, commit: StoreCommit): Promise<StoreCommitResult> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ lodging, commit, resolve, reject })
      this.#writing ??= this.#run()
    })
  }

  async #run(): Promise<void> {
    // The commits of the turn that began this share the first wave.
    await undefined
    while (this.#waiting.length > 0) await this.#write(this.#takeWave())
    this.#writing = undefined
  }

  /** The first commit of each tenant that waits, so that those of one tenant keep their order. */
  #takeWave(): Waiting[] {
    const wave: Waiting[] = []
    const rest: Waiting[] = []
    const met = new Set<Lodging>()
    let bytes = 0
    for (const waiting of this.#waiting) {
      const isTaken = !met.has(waiting.lodging) && (wave.length === 0 || bytes < WAVE_BYTES_MAX)
      met.add(waiting.lodging)
      if (isTaken) bytes += sizeOf(waiting.commit)
      ;(isTaken ? wave : rest).push(waiting)
    }
    this.#waiting = rest
    return wave
  }

  async #write(wave: readonly Waiting[]): Promise<void> {
    try {
      await this.#attempt(wave)
    } catch (error) {
      this.#outerHead = undefined
      if (wave.length > 1 && isAboutContent(error)) for (const waiting of wave) await this.#write([waiting])
      else for (const { reject } of wave) reject(error)
    }
  }

  /** One outer commit for all whose head is where they expect it; the others learn where it is. */
  async #attempt(wave: readonly Waiting[]): Promise<void> {
    let open = wave
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const isFresh = this.#outerHead === undefined
      const outerHead = await this.#readHeads(open)
      const isCurrent = ({ lodging, commit }: Waiting): boolean => this.#heads.get(lodging) === commit.expectedHead
      if (!isFresh && !open.every(isCurrent)) {
        this.#outerHead = undefined
        continue
      }
      const ready = open.filter(isCurrent)
      for (const { lodging, resolve } of open.filter((waiting) => !isCurrent(waiting))) {
        resolve({ type: 'head-moved', head: this.#heads.get(lodging) ?? 0 })
      }
      open = ready
      if (open.length === 0 || (await this.#commit(outerHead, open))) return
    }
    for (const { reject } of open) reject(busy())
  }

  /** The outer head, and with it the heads of the tenants, from memory where nobody else has written since. */
  async #readHeads(wave: readonly Waiting[]): Promise<number> {
    if (this.#outerHead === undefined) {
      this.#heads.clear()
      this.#outerHead = await this.#outer.head()
    }
    const unknown = wave.map(({ lodging }) => lodging).filter((lodging) => !this.#heads.has(lodging))
    const values = await this.#outer.getMany(unknown.map(({ headKey }) => headKey))
    for (const [index, lodging] of unknown.entries()) {
      const bytes = values[index]
      this.#heads.set(lodging, bytes === undefined ? 0 : readHead(bytes))
    }
    return this.#outerHead
  }

  /** False when another process wrote first. */
  async #commit(expectedHead: number, ready: readonly Waiting[]): Promise<boolean> {
    const puts: StoreEntry[] = []
    const deletes: Uint8Array[] = []
    for (const { lodging, commit } of ready) {
      for (const key of commit.deletes) deletes.push(join(lodging.content, key))
      for (const { key, value } of commit.puts) puts.push({ key: join(lodging.content, key), value })
      puts.push({ key: lodging.headKey, value: writeHead(commit.expectedHead + 1) })
    }
    const result = await this.#outer.commit({ expectedHead, puts, deletes })
    if (result.type === 'head-moved') {
      this.#outerHead = undefined
      return false
    }
    this.#outerHead = result.head
    for (const { lodging, commit, resolve } of ready) {
      const head = commit.expectedHead + 1
      if (lodging.handles > 0) this.#heads.set(lodging, head)
      resolve({ type: 'committed', head })
    }
    return true
  }
}

/** One tenant's view of the outer store. */
class TenantStore implements Store {
  readonly #outer: Store
  readonly #content: Uint8Array
  readonly #headOf: () => Promise<number>
  readonly #submit: (commit: StoreCommit) => Promise<StoreCommitResult>
  readonly #release: () => void
  readonly #underWay = new Set<Promise<StoreCommitResult>>()
  #closing: Promise<void> | undefined

  constructor(
    outer: Store,
    content: Uint8Array,
    headOf: () => Promise<number>,
    submit: (commit: StoreCommit) => Promise<StoreCommitResult>,
    release: () => void,
  ) {
    this.#outer = outer
    this.#content = content
    this.#headOf = headOf
    this.#submit = submit
    this.#release = release
  }

  async head(): Promise<number> {
    this.#expectOpen()
    return this.#headOf()
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    this.#expectOpen()
    return this.#outer.getMany(keys.map((key) => join(this.#content, key)))
  }

  /** Prefixes do not count as bytes of the answer: it is the one that a store without them would give. */
  async range(range: StoreRange): Promise<readonly StoreEntry[]> {
    this.#expectOpen()
    const { limit, bytesMax = Number.POSITIVE_INFINITY } = range
    const prefixLength = this.#content.length
    const page = await this.#outer.range({
      ...range,
      from: join(this.#content, range.from),
      to: join(this.#content, range.to),
      ...(bytesMax === Number.POSITIVE_INFINITY ? {} : { bytesMax: bytesMax + limit * prefixLength }),
    })
    const entries: StoreEntry[] = []
    let bytes = 0
    for (const { key, value } of page) {
      entries.push({ key: key.subarray(prefixLength), value })
      bytes += key.length - prefixLength + value.length
      if (bytes > bytesMax) break
    }
    return entries
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    this.#expectOpen()
    const committing = this.#submit(commit)
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

  #expectOpen(): void {
    if (this.#closing !== undefined) throw new TidemarkError('store-closed', 'the store is closed')
  }
}

// ── Keys and heads ──────────────────────────────────────────────────────────────────────────────────────────────────

/** The only place that makes a prefix (TS1). */
function createLodging(name: string): Lodging {
  const text = encoder.encode(name)
  if (text.length === 0 || text.length > 255) throw new TidemarkError('bad-tenant', 'a shared store needs a short name')
  const keyOf = (kind: number): Uint8Array => new Uint8Array([text.length, ...text, kind])
  return { content: keyOf(CONTENT), headKey: keyOf(HEAD), handles: 0 }
}

function join(prefix: Uint8Array, key: Uint8Array): Uint8Array {
  const joined = new Uint8Array(prefix.length + key.length)
  joined.set(prefix)
  joined.set(key, prefix.length)
  return joined
}

/** The first key behind all that begin with a prefix that ends in `CONTENT`. */
function afterPrefix(prefix: Uint8Array): Uint8Array {
  const end = prefix.slice()
  end[end.length - 1] = CONTENT + 1
  return end
}

function writeHead(head: number): Uint8Array {
  const bytes = new Uint8Array(HEAD_BYTES)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, Math.floor(head / TWO_32))
  view.setUint32(4, head % TWO_32)
  return bytes
}

function readHead(bytes: Uint8Array): number {
  if (bytes.length !== HEAD_BYTES) throw new TidemarkError('store-failed', 'the head of a tenant is damaged')
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEAD_BYTES)
  return view.getUint32(0) * TWO_32 + view.getUint32(4)
}

function sizeOf({ puts, deletes }: StoreCommit): number {
  let bytes = 0
  for (const { key, value } of puts) bytes += key.length + value.length
  for (const key of deletes) bytes += key.length
  return bytes
}

/** The outer store has refused what it was given, and changed nothing. */
function isAboutContent(error: unknown): boolean {
  return isTidemarkError(error) && (error.code === 'too-large' || error.code === 'bad-value')
}

function busy(): TidemarkError {
  return new TidemarkError('store-busy', 'other processes kept writing to this store', { retryable: true })
}
