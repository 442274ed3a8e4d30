/**
 * Another server, as the destination of a tenant: its admin port, asked from here.
 *
 * Knows: HTTP, the other server's admin token. Must never know: the steps of a move.
 *
 * Invariant RS1: the token is kept in memory for as long as the move runs here, and nowhere else.
 */
import { isTidemarkError, type StoreCommit, type StoreEntry, type StoreRange, TidemarkError } from '../core/index.ts'
import type { Destination } from '../tenant/index.ts'
import { hashOfEntries, toWire, type WireEntry } from './admin/arrival-routes.ts'

export interface RemoteServer {
  /** Of its admin port. */
  readonly server: string
  readonly token: string
}

/** A page of a store, over a slow line. */
const REQUEST_MS = 120_000

/** Throws `bad-option` for an address that is none. */
export function destinationAt({ server, token }: RemoteServer, tenant: string): Destination {
  const base = parseServer(server)
  const ask = (path: string, body: object): Promise<Readonly<Record<string, unknown>>> =>
    post(`${base}/arrivals${path}`, token, body)
  const inStore = (body: object): Promise<Readonly<Record<string, unknown>>> => ask(`/${tenant}/store`, body)
  return {
    server: base,
    begin: async ({ name, plan, logId }) => void (await ask('', { name, plan, logId })),
    store: {
      head: async () => (await inStore({ op: 'head' })).head as number,
      range: async ({ from, to, limit, bytesMax }: StoreRange) => {
        const answer = await inStore({ op: 'range', from: toBase64(from), to: toBase64(to), limit, bytesMax })
        return (answer.entries as readonly WireEntry[]).map(({ key, value }) => ({
          key: fromBase64(key),
          value: fromBase64(value),
        }))
      },
      commit: async ({ expectedHead, puts, deletes }: StoreCommit) => {
        const entries = puts.map(toWire)
        const answer = await inStore({ op: 'commit', expectedHead, puts: entries, deletes: deletes.map(toBase64) })
        return { type: answer.type === 'committed' ? 'committed' : 'head-moved', head: answer.head as number }
      },
      holds: async (from: Uint8Array, to: Uint8Array, entries: readonly StoreEntry[]) => {
        const question = { op: 'holds', from: toBase64(from), to: toBase64(to), hash: hashOfEntries(entries) }
        return (await inStore(question)).holds === true
      },
    },
    summarize: async () => String((await ask(`/${tenant}/summary`, {})).summary),
    welcome: async (logId, revocations) => void (await ask(`/${tenant}/welcome`, { logId, revocations })),
    cancel: async () => void (await ask(`/${tenant}/cancel`, {})),
  }
}

function parseServer(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && /^https?:$/.test(url.protocol)) return url.href.replace(/\/+$/, '')
  throw new TidemarkError('bad-option', 'the other server needs the http(s) address of its admin port')
}

async function post(url: string, token: string, body: object): Promise<Readonly<Record<string, unknown>>> {
  let response: Response
  let answer: Readonly<Record<string, unknown>>
  try {
    response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify(body),
      signal: AbortSignal.timeout(REQUEST_MS),
    })
    answer = (await response.json()) as Readonly<Record<string, unknown>>
  } catch (cause) {
    if (isTidemarkError(cause)) throw cause
    throw new TidemarkError('unavailable', 'the other server does not answer', {
      retryable: true,
      remedy: 'Give the same command again when it does: it goes on where it stopped',
      cause,
    })
  }
  if (response.ok) return answer
  const { code, message } = (answer.error ?? {}) as { readonly code?: string; readonly message?: string }
  const isWrong = code === 'bad-option' || code === 'unauthenticated' || code === 'forbidden'
  throw new TidemarkError(isWrong ? 'bad-option' : 'unavailable', `the other server refuses: ${message ?? code}`, {
    retryable: !isWrong,
  })
}

function toBase64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')
}

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64'))
}
