/**
 * Moving a tenant to another kind of place while it is in use: snapshot, stream, cut, verify, and the way back.
 *
 *   copying    The target is made equal to the source, in key order and again until little differs. Sessions go on.
 *   cutting    Sessions are ended, a fence stops every other writer, the last differences are copied, and both sides are
 *              compared, byte by byte and by their digests. Then one commit of the registry says where the tenant lives.
 *   kept       The tenant is in use in its new place. The old one stays until `finish`.
 *   returning  As cutting, to the old place, with what was written since; what is left is the copy of a move that has just
 *              begun, and it goes.
 *
 * Each step may be run again after a crash: where it stands is in the registry, and copying only writes what differs.
 * Whoever wants to use a tenant whose mover died in a cut undoes the cut: cutting is copying again, returning is kept.
 * The log keeps its id and its positions, so no cursor of any replica is lost.
 *
 * Knows: stores as ordered bytes, records of tenants. Must never know: what an entry means.
 *
 * Invariants:
 * TW1  The registry names a new place only after both were found equal with every writer stopped.
 * TW2  Nothing is removed before the tenant lives elsewhere, or before its move was given up.
 * TW3  A fence goes up only after the registry says that the tenant is being cut, and down only after it says otherwise: from
 *      then on whoever cut it cannot say that it moved (mover.ts, MV1).
 */
import {
  digestRows,
  Ledger,
  type Limits,
  type Store,
  type StoreCommit,
  type StoreEntry,
  type TenantName,
  TidemarkError,
} from '../core/index.ts'
import { commitAnyhow, lowerFence, RESERVED_END, raiseFence, takeStore } from './fence.ts'
import type { Mover, Movers } from './mover.ts'
import {
  AT_REST,
  isBeingCut,
  livesIn,
  type TenantMove,
  type TenantRecord,
  type TenantRegistry,
  withoutCut,
} from './registry.ts'
import type { IsolationMode, StoreFactory } from './store-factory.ts'

export interface MoveOptions {
  readonly registry: TenantRegistry
  readonly movers: Movers
  readonly factoryOf: (mode: IsolationMode) => StoreFactory
  /** Stops whoever has the store of a place open, and removes it, unless the last look before that throws. */
  readonly remove: (name: TenantName, mode: IsolationMode, lastLook: () => Promise<unknown>) => Promise<void>
  /** Ends the tenant's sessions in this process and closes it. */
  readonly evict: (name: TenantName) => Promise<void>
  readonly limits: Limits
}

type Moving = TenantRecord & { readonly move: TenantMove }

const PAGE_ENTRIES = 4_096
const PAGE_BYTES = 1 << 20
/** Behind every key of core. */
const END = new Uint8Array([255])
/** Passes over a tenant that is in use; what still differs then is copied while nobody writes. */
const PASSES_MAX = 4
/** So few differences are copied faster than looked for. */
const FEW = 1_000
const PROGRESS_PAGES = 16

/** Moves a tenant, or goes on with a move that was interrupted. */
export async function moveTenant(options: MoveOptions, name: TenantName, to: IsolationMode): Promise<TenantRecord> {
  const before = await options.registry.get(name)
  if (before?.move?.phase === 'kept' && before.move.to === to) return before
  return options.movers.engage(
    name,
    (record) => beginMove(expectRecord(name, record), to),
    async (mover) => {
      const { move } = expectMoving(name, mover.record)
      if (move.phase === 'kept') return mover.record
      if (move.phase === 'copying') await copyInUse(options, mover)
      return orBack(
        mover,
        () => cutOver(options, mover, 'cutting'),
        () => undoCut(options, mover).then(() => removeCopy(options, mover)),
      )
    },
  )
}

/** Removes the old place. */
export async function finishMove(options: MoveOptions, name: TenantName): Promise<void> {
  const begin = (record: TenantRecord | undefined): TenantRecord => {
    const moving = expectMoving(name, record)
    if (moving.move.phase === 'kept') return moving
    throw wrongPhase(name, moving.move)
  }
  return options.movers.engage(name, begin, async (mover) => {
    await options.remove(name, expectMoving(name, mover.record).move.from, () => mover.update((record) => record))
    await mover.update((record) => ({ ...record, ...AT_REST }))
  })
}

/** Gives a move up: before the cut the target goes, after it the tenant moves back. */
export async function rollBackMove(options: MoveOptions, name: TenantName): Promise<void> {
  const begin = (record: TenantRecord | undefined): TenantRecord => expectMoving(name, record)
  return options.movers.engage(name, begin, async (mover) => {
    const { phase } = expectMoving(name, mover.record).move
    const undo = (): Promise<void> => undoCut(options, mover)
    if (phase === 'kept' || phase === 'returning') {
      await orBack(mover, () => cutOver(options, mover, 'returning'), undo)
    } else await undo()
    await removeCopy(options, mover)
  })
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function beginMove(record: TenantRecord, to: IsolationMode): TenantRecord {
  const { name, move, mode, state, departure } = record
  if (departure !== undefined) throw refused(name, `it is on its way to ${departure.server}`)
  if (move !== undefined && move.to === to && move.phase !== 'returning') return record
  if (move !== undefined) throw wrongPhase(name, move)
  if (state !== 'active' && state !== 'suspended') throw refused(name, `it is ${state}`)
  if (mode === to) throw refused(name, `it is ${to} already`)
  return { ...record, move: { from: mode, to, phase: 'copying', copiedTo: '' } }
}

async function copyInUse(options: MoveOptions, mover: Mover): Promise<void> {
  const { move } = expectMoving(mover.record.name, mover.record)
  await withBoth(options, mover, move.from, move.to, async (source, target) => {
    const saveProgress = async (from: Uint8Array): Promise<void> => {
      await mover.update((record) => withMove(record, { copiedTo: toHex(from) }))
    }
    await copyUntilFew(source, target, move.copiedTo === '' ? RESERVED_END : fromHex(move.copiedTo), saveProgress)
  })
}

/** From here to the end nobody writes. */
async function cutOver(options: MoveOptions, mover: Mover, phase: 'cutting' | 'returning'): Promise<TenantRecord> {
  const { name } = mover.record
  const { move } = expectMoving(name, await mover.update((record) => withMove(record, { phase })))
  const [from, to] = phase === 'cutting' ? [move.from, move.to] : [move.to, move.from]
  await options.evict(name)
  await withBoth(options, mover, from, to, async (source, target) => {
    await raiseFence(source)
    await copyDifferences(source, target)
    await verifyCopy(source, target, name, options.limits)
  })
  return mover.update((record) => {
    const moved = { ...record, mode: to }
    if (phase === 'cutting') return { ...withMove(moved, { phase: 'kept', copiedTo: '' }), mover: undefined }
    return withMove(moved, { phase: 'copying', copiedTo: '' })
  })
}

/** Nobody can use the tenant while it is being cut: when that fails, better where it was than nowhere. */
export async function orBack<Result>(
  mover: Mover,
  cut: () => Promise<Result>,
  undo: () => Promise<void>,
): Promise<Result> {
  try {
    return await cut()
  } catch (error) {
    await undo().catch((failure: unknown) => {
      throw mover.isTakenOver ? failure : stuck(mover.record.name, [error, failure])
    })
    throw error
  }
}

/** The tenant is used again where it lives (TW3). */
export async function undoCut({ registry, factoryOf }: MoveOptions, mover: Mover): Promise<void> {
  const { name, mode } = await mover.update((record) => (isBeingCut(record) ? withoutCut(record) : record))
  const source = await factoryOf(mode).open(name)
  const isNeeded = async (): Promise<boolean> => !livesIn(await registry.get(name), mode)
  await lowerFence(source, isNeeded).finally(() => source.close())
}

/** The end of a move that was given up. */
async function removeCopy(options: MoveOptions, mover: Mover): Promise<void> {
  const { name, move } = expectMoving(mover.record.name, mover.record)
  await options.remove(name, move.to, () => mover.update((record) => record))
  await mover.update((record) => ({ ...record, ...AT_REST }))
}

/**
 * The target is the mover's alone: whoever filled it before is stopped, and whoever takes over stops this one. What was taken
 * over before that may be somebody's home by now, so nothing is written before that was looked at.
 */
async function withBoth(
  { factoryOf }: MoveOptions,
  mover: Mover,
  from: IsolationMode,
  to: IsolationMode,
  work: (source: Store, target: Store) => Promise<void>,
): Promise<void> {
  const { name } = mover.record
  const source = await factoryOf(from).open(name)
  try {
    const opened = await factoryOf(to).open(name)
    try {
      const target = await takeStore(opened)
      await mover.update((record) => record)
      await work(source, target)
    } finally {
      await opened.close()
    }
  } finally {
    await source.close()
  }
}

async function verifyCopy(source: Store, target: Store, tenant: TenantName, limits: Limits): Promise<void> {
  const differing = await copyDifferences(source, target)
  const [left, right] = [await summarizeStore(source, tenant, limits), await summarizeStore(target, tenant, limits)]
  if (differing === 0 && left === right) return
  throw new TidemarkError('store-failed', `the copy of tenant ${tenant} is not equal to what it was made from`, {
    remedy: 'Roll the move back, and check both disks',
    details: { differing, left, right },
  })
}

/** A fingerprint of everything that a tenant's store holds. */
export async function summarizeStore(store: Store, tenant: TenantName, limits: Limits): Promise<string> {
  const ledger = await Ledger.open({ tenant, store, limits, authority: 2 })
  const { logId, epoch, nextPosition } = ledger.state.meta
  const { rows, hash } = await digestRows(ledger)
  await ledger.close()
  return `${logId} ${epoch} ${nextPosition} ${rows} ${hash}`
}

// ── Stores as bytes ─────────────────────────────────────────────────────────────────────────────────────────────────

/** What is written to: a store, near or far. */
export interface CopyTarget extends Pick<Store, 'head' | 'range' | 'commit'> {
  /** For one that is far: whether it holds exactly these entries from one key to before another. */
  readonly holds?: (from: Uint8Array, to: Uint8Array, entries: readonly StoreEntry[]) => Promise<boolean>
}

/** Copies a source that is in use, until what differs is soon copied. `onProgress`: all before this key was copied once. */
export async function copyUntilFew(
  source: Store,
  target: CopyTarget,
  start: Uint8Array,
  onProgress: (next: Uint8Array) => Promise<void>,
): Promise<void> {
  let pages = 0
  await copyDifferences(source, target, start, async (next) => {
    if (++pages % PROGRESS_PAGES === 0) await onProgress(next)
  })
  for (let pass = 1; pass < PASSES_MAX; pass++) if ((await copyDifferences(source, target)) < FEW) return
}

/** Makes the target hold what the source does, from a key on. Answers with how many entries were not equal. */
export async function copyDifferences(
  source: Store,
  target: CopyTarget,
  start: Uint8Array = RESERVED_END,
  onPage?: (next: Uint8Array) => Promise<void>,
): Promise<number> {
  let from = start
  let count = 0
  for (;;) {
    const page = await source.range({ from, to: END, limit: PAGE_ENTRIES, bytesMax: PAGE_BYTES })
    const last = page[page.length - 1]
    const to = last === undefined ? END : new Uint8Array([...last.key, 0])
    if (!((await target.holds?.(from, to, page)) ?? false)) {
      const { puts, deletes } = differenceOf(page, await readWhole(target, from, to))
      if (puts.length + deletes.length > 0) await commitAnyhow(target, { puts, deletes })
      count += puts.length + deletes.length
    }
    if (last === undefined) return count
    from = to
    await onPage?.(from)
  }
}

async function readWhole(store: CopyTarget, start: Uint8Array, to: Uint8Array): Promise<readonly StoreEntry[]> {
  const entries: StoreEntry[] = []
  for (let from = start; ; ) {
    const page = await store.range({ from, to, limit: PAGE_ENTRIES, bytesMax: PAGE_BYTES })
    const last = page[page.length - 1]
    if (last === undefined) return entries
    entries.push(...page)
    from = new Uint8Array([...last.key, 0])
  }
}

/** Both are sorted by key. */
function differenceOf(
  wanted: readonly StoreEntry[],
  held: readonly StoreEntry[],
): Pick<StoreCommit, 'puts' | 'deletes'> {
  const puts: StoreEntry[] = []
  const deletes: Uint8Array[] = []
  let next = 0
  for (const entry of wanted) {
    let other = held[next]
    while (other !== undefined && compareBytes(other.key, entry.key) < 0) {
      deletes.push(other.key)
      other = held[++next]
    }
    const isSame = other !== undefined && compareBytes(other.key, entry.key) === 0
    if (isSame) next++
    if (!isSame || compareBytes((other as StoreEntry).value, entry.value) !== 0) puts.push(entry)
  }
  for (const { key } of held.slice(next)) deletes.push(key)
  return { puts, deletes }
}

function compareBytes(left: Uint8Array, right: Uint8Array): number {
  const shorter = Math.min(left.length, right.length)
  for (let at = 0; at < shorter; at++) {
    const difference = (left[at] as number) - (right[at] as number)
    if (difference !== 0) return difference
  }
  return left.length - right.length
}

export function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

export function fromHex(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length / 2)
  for (let at = 0; at < bytes.length; at++) bytes[at] = Number.parseInt(text.slice(at * 2, at * 2 + 2), 16)
  return bytes
}

// ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function withMove(record: TenantRecord, change: Partial<TenantMove>): TenantRecord {
  return { ...record, move: { ...expectMoving(record.name, record).move, ...change } }
}

function expectRecord(name: TenantName, record: TenantRecord | undefined): TenantRecord {
  if (record !== undefined) return record
  throw refused(name, 'there is no such tenant')
}

function expectMoving(name: TenantName, record: TenantRecord | undefined): Moving {
  const { move } = expectRecord(name, record)
  if (move !== undefined) return { ...expectRecord(name, record), move }
  throw refused(name, 'it is not being moved')
}

function stuck(name: TenantName, cause: unknown): TidemarkError {
  return new TidemarkError('unavailable', `the move of tenant ${name} failed, and so did the way back`, {
    remedy:
      'See to the stores and the registry: nothing was lost, and it is used again where it was as soon as they work',
    cause,
  })
}

function wrongPhase(name: TenantName, { from, to, phase }: TenantMove): TidemarkError {
  return refused(name, `its move from ${from} to ${to} is ${phase}`)
}

function refused(name: TenantName, why: string): TidemarkError {
  return new TidemarkError('bad-option', `tenant ${name} cannot be moved: ${why}`, {
    remedy: 'See where it stands with `tidemark tenants show`; finish a move that is kept, or roll it back',
  })
}
