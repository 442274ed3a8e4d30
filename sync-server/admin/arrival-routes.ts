/**
 * The routes by which another server hands a tenant over: the other end of remote-server.ts.
 *
 * Knows: how entries of a store travel. Must never know: what they mean, the steps of a move.
 */
import { createHash } from 'node:crypto'
import { type Store, type StoreEntry, TidemarkError } from '../../core/index.ts'
import { REVOCATION_TYPES, type Revocation } from '../../tenant/index.ts'
import { type AdminRequest, json, type Reply, type Route, textOf } from './route.ts'

/** Keys and values as Base64. */
export interface WireEntry {
  readonly key: string
  readonly value: string
}

/** A page has about a MiB, and whatever the last row of it has. */
const STORE_BODY_BYTES_MAX = 64 << 20
const ALL_ENTRIES = 10_000

export const ARRIVAL_ROUTES: readonly Route[] = [
  { method: 'POST', path: ['arrivals'], answer: begin },
  {
    method: 'POST',
    path: ['arrivals', ':tenant', 'store'],
    bodyBytesMax: STORE_BODY_BYTES_MAX,
    isQuiet: true,
    answer: useStore,
  },
  { method: 'POST', path: ['arrivals', ':tenant', 'summary'], answer: summarize },
  { method: 'POST', path: ['arrivals', ':tenant', 'welcome'], bodyBytesMax: STORE_BODY_BYTES_MAX, answer: welcome },
  { method: 'POST', path: ['arrivals', ':tenant', 'cancel'], answer: cancel },
]

async function begin(request: AdminRequest): Promise<Reply> {
  const { manager, isolation } = request.target
  const arrival = { name: textOf(request, 'name'), plan: textOf(request, 'plan'), logId: textOf(request, 'logId') }
  return json(await manager.arrivals.begin(arrival, isolation))
}

async function summarize({ target, parameters }: AdminRequest): Promise<Reply> {
  return json({ summary: await target.manager.arrivals.summarize(parameters.tenant ?? '') })
}

async function welcome(request: AdminRequest): Promise<Reply> {
  const { target, parameters, body } = request
  const { revocations } = body as { readonly revocations?: unknown }
  const tenant = parameters.tenant ?? ''
  const entries = Array.isArray(revocations) ? revocations.map((entry) => parseRevocation(tenant, entry)) : undefined
  if (entries === undefined) throw new TidemarkError('bad-option', 'the body needs a list "revocations"')
  await target.manager.arrivals.welcome(tenant, textOf(request, 'logId'), entries)
  return json({ welcome: tenant })
}

async function cancel({ target, parameters }: AdminRequest): Promise<Reply> {
  await target.manager.arrivals.cancel(parameters.tenant ?? '')
  return json({ cancelled: parameters.tenant })
}

function parseRevocation(tenant: string, input: unknown): Revocation {
  const { type, name, issuedThroughMs, untilMs } = (input ?? {}) as Readonly<Record<string, unknown>>
  const known = REVOCATION_TYPES.find((each) => each === type)
  if (known === undefined || typeof name !== 'string') throw malformed()
  if (typeof issuedThroughMs !== 'number' || typeof untilMs !== 'number') throw malformed()
  return { type: known, tenant, name, issuedThroughMs, untilMs }
}

// ── The store that is being filled ──────────────────────────────────────────────────────────────────────────────────

async function useStore({ target, parameters, body }: AdminRequest): Promise<Reply> {
  const question = body as Readonly<Record<string, unknown>>
  return json(await target.manager.arrivals.withStore(parameters.tenant ?? '', (store) => answerFrom(store, question)))
}

async function answerFrom(store: Store, question: Readonly<Record<string, unknown>>): Promise<object> {
  switch (question.op) {
    case 'head':
      return { head: await store.head() }
    case 'range': {
      const { limit, bytesMax } = question
      if (typeof limit !== 'number' || typeof bytesMax !== 'number') throw malformed()
      const range = { from: bytesOf(question.from), to: bytesOf(question.to), limit, bytesMax }
      return { entries: (await store.range(range)).map(toWire) }
    }
    case 'commit': {
      const { expectedHead, puts, deletes } = question
      if (typeof expectedHead !== 'number' || !Array.isArray(puts) || !Array.isArray(deletes)) throw malformed()
      const entries = puts.map((entry: WireEntry) => ({ key: bytesOf(entry?.key), value: bytesOf(entry?.value) }))
      return store.commit({ expectedHead, puts: entries, deletes: deletes.map(bytesOf) })
    }
    case 'holds': {
      const range = { from: bytesOf(question.from), to: bytesOf(question.to), limit: ALL_ENTRIES }
      return { holds: hashOfEntries(await store.range(range)) === question.hash }
    }
    default:
      throw malformed()
  }
}

export function toWire({ key, value }: StoreEntry): WireEntry {
  return { key: Buffer.from(key).toString('base64'), value: Buffer.from(value).toString('base64') }
}

/** With all lengths, so that no two lists of entries read the same. */
export function hashOfEntries(entries: readonly StoreEntry[]): string {
  const hash = createHash('sha256')
  for (const { key, value } of entries) hash.update(`${key.length} ${value.length} `).update(key).update(value)
  return hash.digest('base64')
}

function bytesOf(text: unknown): Uint8Array {
  if (typeof text !== 'string') throw malformed()
  return new Uint8Array(Buffer.from(text, 'base64'))
}

function malformed(): TidemarkError {
  return new TidemarkError('bad-option', 'that is not how a server hands a tenant over')
}
