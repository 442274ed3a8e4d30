/**
 * The registry: what is known of each tenant while its own store is closed, and what was revoked.
 *
 * Kept in a store of its own, as JSON that an operator can read. Several processes may share it.
 *
 * Layout of keys: `t` name: a tenant; `v` type/tenant/name: a revocation, with ^ before it when it is inherited;
 * `w`: how often an operator had the configuration read anew.
 *
 * Invariants:
 * TN1  What cannot be read is an error. It is never taken for absent, and never written over.
 * TN2  A change is made to the record as it is at the commit, whoever else wrote meanwhile.
 */
import { isTidemarkError, parseTenantName, quote, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { laterOf, REVOCATION_TYPES, type Revocation, type RevocationName, revocationKey } from './revocation.ts'
import { ISOLATION_MODES, type IsolationMode } from './store-factory.ts'

/**
 * `founding`: its store is being made. `erasing`: its store is being removed; nothing but the end of that is possible.
 * `arriving`: its store is being filled by another server.
 */
export const TENANT_STATES = ['founding', 'active', 'suspended', 'erasing', 'arriving'] as const
export type TenantState = (typeof TENANT_STATES)[number]

/**
 * `copying`: sessions go on while the target is filled. `cutting`: nobody writes while the rest is copied and verified.
 * `kept`: the tenant lives in its new place, and the old one is still there. `returning`: as `cutting`, on the way back.
 */
export const MOVE_PHASES = ['copying', 'cutting', 'kept', 'returning'] as const
export type MovePhase = (typeof MOVE_PHASES)[number]

export interface TenantMove {
  readonly from: IsolationMode
  readonly to: IsolationMode
  readonly phase: MovePhase
  /** Everything up to this key was copied once: hexadecimal digits. */
  readonly copiedTo: string
}

/** `left`: it lives elsewhere, and its copy here is kept. `gone`: the copy was removed. The others as of a move. */
export const DEPARTURE_PHASES = ['copying', 'cutting', 'left', 'gone'] as const
export type DeparturePhase = (typeof DEPARTURE_PHASES)[number]

/** The way of a tenant to another server. */
export interface TenantDeparture {
  /** Its admin port. */
  readonly server: string
  /** Where clients find it. */
  readonly address: string
  readonly phase: DeparturePhase
  /** Everything up to this key was copied once: hexadecimal digits. */
  readonly copiedTo: string
}

export interface TenantRecord {
  readonly name: TenantName
  readonly plan: string
  readonly mode: IsolationMode
  readonly state: TenantState
  /** Why it is suspended, for the people who ask. */
  readonly reason: string
  readonly createdAtMs: number
  /** The log its store has to hold; empty until it was founded. */
  readonly logId: string
  readonly move: TenantMove | undefined
  readonly departure: TenantDeparture | undefined
  /** How often an operator replaced a definition of one of its tables. */
  readonly redefinitions: number
  /** Who moves it, or was the last to: see mover.ts. */
  readonly mover: { readonly id: string; readonly beat: number } | undefined
}

/** What a record says of a tenant that stays where it is. */
export const AT_REST = { move: undefined, departure: undefined, mover: undefined } as const

/** What a record says of a tenant that is new here. */
export const NEW_HERE: Pick<TenantRecord, 'reason' | 'redefinitions' | keyof typeof AT_REST> = {
  reason: '',
  redefinitions: 0,
  ...AT_REST,
}

export interface ListOptions {
  /** Only names behind this one. */
  readonly after?: string
  /** Default 100. */
  readonly limit?: number
}

const FORMAT = 1
const ATTEMPTS_MAX = 64
const PAGE_ENTRIES = 1_000
const encoder = new TextEncoder()
const decoder = new TextDecoder('utf-8', { fatal: true })

export class TenantRegistry {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  async get(name: TenantName): Promise<TenantRecord | undefined> {
    const [bytes] = await this.#store.getMany([keyOf('t', name)])
    return bytes === undefined ? undefined : decodeRecord(bytes)
  }

  /** In the order of names. */
  async list({ after, limit = 100 }: ListOptions = {}): Promise<TenantRecord[]> {
    const from = after === undefined ? keyOf('t', '') : keyOf('t', `${after}\0`)
    const page = await this.#store.range({ from, to: keyOf('u', ''), limit })
    return page.map(({ value }) => decodeRecord(value))
  }

  /**
   * Changes one record. `change` sees it as it is, `undefined` when there is none, and answers what to keep: `undefined`
   * removes it. It may run more than once, and throw to leave everything as it is.
   */
  async update(
    name: TenantName,
    change: (record: TenantRecord | undefined) => TenantRecord | undefined,
  ): Promise<TenantRecord | undefined> {
    const key = keyOf('t', name)
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const expectedHead = await this.#store.head()
      const before = await this.get(name)
      const after = change(before)
      if (after === before) return after
      const puts = after === undefined ? [] : [{ key, value: encode(after) }]
      const deletes = after === undefined ? [key] : []
      const result = await this.#store.commit({ expectedHead, puts, deletes })
      if (result.type === 'committed') return after
    }
    throw busy()
  }

  // ── Revocations ───────────────────────────────────────────────────────────────────────────────────────────────────

  revocations(): Promise<Revocation[]> {
    return this.#revocationsIn(keyOf('v', ''), keyOf('w', ''))
  }

  /** Keeps a revocation, and drops those of its tenant that count no more. */
  async revoke(entry: Revocation, nowMs: number): Promise<void> {
    const key = keyOf('v', revocationKey(entry))
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const expectedHead = await this.#store.head()
      const [bytes] = await this.#store.getMany([key])
      const kept = bytes === undefined ? entry : laterOf(decodeRevocation(bytes), entry)
      const spent = (await this.#revocationsOf(entry)).filter(({ untilMs }) => untilMs <= nowMs)
      const deletes = spent.map((each) => keyOf('v', revocationKey(each))).filter((each) => !isSameKey(each, key))
      const result = await this.#store.commit({ expectedHead, puts: [{ key, value: encode(kept) }], deletes })
      if (result.type === 'committed') return
    }
    throw busy()
  }

  async #revocationsOf({ tenant, isInherited = false }: RevocationName): Promise<Revocation[]> {
    const ranges = REVOCATION_TYPES.map((type) => {
      const from = keyOf('v', revocationKey({ type, tenant, name: '', isInherited }))
      // The character behind the slash that it ends with.
      const to = from.slice()
      to[to.length - 1] = (to.at(-1) as number) + 1
      return this.#revocationsIn(from, to)
    })
    return (await Promise.all(ranges)).flat()
  }

  async #revocationsIn(start: Uint8Array, to: Uint8Array): Promise<Revocation[]> {
    const entries: Revocation[] = []
    for (let from = start; ; ) {
      const page = await this.#store.range({ from, to, limit: PAGE_ENTRIES })
      for (const { value } of page) entries.push(decodeRevocation(value))
      const last = page[page.length - 1]
      if (last === undefined) return entries
      from = new Uint8Array([...last.key, 0])
    }
  }

  /** Takes a revocation back. Answers whether it was there. */
  async lift(revocation: RevocationName): Promise<boolean> {
    const key = keyOf('v', revocationKey(revocation))
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const expectedHead = await this.#store.head()
      const [bytes] = await this.#store.getMany([key])
      if (bytes === undefined) return false
      const result = await this.#store.commit({ expectedHead, puts: [], deletes: [key] })
      if (result.type === 'committed') return true
    }
    throw busy()
  }

  // ── For all processes ─────────────────────────────────────────────────────────────────────────────────────────────

  /** How often an operator had the configuration read anew, in any process. */
  async reloads(): Promise<number> {
    const [bytes] = await this.#store.getMany([keyOf('w', '')])
    return bytes === undefined ? 0 : asNumber(decode(bytes), 'reloads')
  }

  async countReload(): Promise<number> {
    for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
      const expectedHead = await this.#store.head()
      const reloads = (await this.reloads()) + 1
      const put = { key: keyOf('w', ''), value: encode({ reloads }) }
      if ((await this.#store.commit({ expectedHead, puts: [put], deletes: [] })).type === 'committed') return reloads
    }
    throw busy()
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}

function busy(): TidemarkError {
  return new TidemarkError('store-busy', 'other processes kept writing to the registry', { retryable: true })
}

// ── Where a tenant stands ───────────────────────────────────────────────────────────────────────────────────────────

/** Nobody may use it for a moment: both places are made equal. */
export function isBeingCut({ move, departure }: TenantRecord): boolean {
  return move?.phase === 'cutting' || move?.phase === 'returning' || departure?.phase === 'cutting'
}

/** As it was before the cut: the tenant is used where it lives, and its move can go on or back. */
export function withoutCut(record: TenantRecord): TenantRecord {
  const { move, departure } = record
  const phase = move?.phase === 'returning' ? 'kept' : 'copying'
  return {
    ...record,
    move: move && { ...move, phase },
    departure: departure && { ...departure, phase: 'copying' },
  }
}

/** It lives on another server. */
export function hasLeft({ departure }: TenantRecord): boolean {
  return departure?.phase === 'left' || departure?.phase === 'gone'
}

/** Whether its store in the place of this mode is the one that it lives in, and nobody is at work there. */
export function livesIn(record: TenantRecord | undefined, mode: IsolationMode): boolean {
  if (record === undefined || record.mode !== mode || isBeingCut(record) || hasLeft(record)) return false
  return record.state === 'active' || record.state === 'suspended'
}

// ── Bytes ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function keyOf(kind: 't' | 'u' | 'v' | 'w', name: string): Uint8Array {
  return encoder.encode(kind + name)
}

function encode(record: TenantRecord | Revocation | { readonly reloads: number }): Uint8Array {
  return encoder.encode(JSON.stringify({ format: FORMAT, ...record }))
}

function decodeRecord(bytes: Uint8Array): TenantRecord {
  const record = decode(bytes)
  try {
    return {
      name: parseTenantName(record.name),
      plan: asText(record, 'plan'),
      mode: asOneOf(record, 'mode', ISOLATION_MODES),
      state: asOneOf(record, 'state', TENANT_STATES),
      reason: asText(record, 'reason'),
      createdAtMs: asNumber(record, 'createdAtMs'),
      logId: asText(record, 'logId'),
      move: record.move === undefined ? undefined : decodeMove(record.move),
      departure: record.departure === undefined ? undefined : decodeDeparture(record.departure),
      redefinitions: record.redefinitions === undefined ? 0 : asNumber(record, 'redefinitions'),
      mover: record.mover === undefined ? undefined : decodeMover(record.mover),
    }
  } catch (error) {
    throw isTidemarkError(error) && error.code === 'store-failed' ? error : damaged('a name')
  }
}

function decodeMove(input: unknown): TenantMove {
  if (typeof input !== 'object' || input === null) throw damaged('a move')
  const record = input as Readonly<Record<string, unknown>>
  return {
    from: asOneOf(record, 'from', ISOLATION_MODES),
    to: asOneOf(record, 'to', ISOLATION_MODES),
    phase: asOneOf(record, 'phase', MOVE_PHASES),
    copiedTo: asText(record, 'copiedTo'),
  }
}

function decodeDeparture(input: unknown): TenantDeparture {
  if (typeof input !== 'object' || input === null) throw damaged('a departure')
  const record = input as Readonly<Record<string, unknown>>
  return {
    server: asText(record, 'server'),
    address: asText(record, 'address'),
    phase: asOneOf(record, 'phase', DEPARTURE_PHASES),
    copiedTo: asText(record, 'copiedTo'),
  }
}

function decodeMover(input: unknown): TenantRecord['mover'] {
  if (typeof input !== 'object' || input === null) throw damaged('a mover')
  const record = input as Readonly<Record<string, unknown>>
  return { id: asText(record, 'id'), beat: asNumber(record, 'beat') }
}

function decodeRevocation(bytes: Uint8Array): Revocation {
  const record = decode(bytes)
  return {
    type: asOneOf(record, 'type', REVOCATION_TYPES),
    tenant: asText(record, 'tenant'),
    name: asText(record, 'name'),
    issuedThroughMs: asNumber(record, 'issuedThroughMs'),
    untilMs: asNumber(record, 'untilMs'),
    ...(record.isInherited === true ? { isInherited: true } : {}),
  }
}

function isSameKey(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === right.length && left.every((byte, at) => byte === right[at])
}

function decode(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  let record: unknown
  try {
    record = JSON.parse(decoder.decode(bytes))
  } catch {
    throw damaged('a record')
  }
  if (typeof record !== 'object' || record === null) throw damaged('a record')
  const { format } = record as { readonly format?: unknown }
  if (format === FORMAT) return record as Readonly<Record<string, unknown>>
  throw new TidemarkError('store-foreign', `the registry has format ${quote(format)}; this version reads ${FORMAT}`, {
    remedy: 'Open it with the version of Tidemark that wrote it',
  })
}

function asText(record: Readonly<Record<string, unknown>>, key: string): string {
  const value = record[key]
  if (typeof value === 'string') return value
  throw damaged(key)
}

function asNumber(record: Readonly<Record<string, unknown>>, key: string): number {
  const value = record[key]
  if (typeof value === 'number') return value
  throw damaged(key)
}

function asOneOf<Name extends string>(
  record: Readonly<Record<string, unknown>>,
  key: string,
  names: readonly Name[],
): Name {
  const found = names.find((name) => name === record[key])
  if (found !== undefined) return found
  throw damaged(key)
}

function damaged(what: string): TidemarkError {
  return new TidemarkError('store-failed', `the registry of tenants is damaged: ${what} cannot be read`, {
    remedy: 'Restore it from a backup; the stores of the tenants are not affected',
  })
}
