/**
 * The server of the demo: one that runs already, or one that is started for it.
 */
import { destination, pino } from 'pino'
import { Ledger, parseLimits, parseTenantName } from 'tidemark/core'
import { openLmdbStore } from 'tidemark/stores/lmdb'
import { createSyncServer, type SyncServer } from 'tidemark/sync-server'
import { DemoError } from './failure.ts'

export const DEFAULT_URL = 'http://127.0.0.1:7300'

const PROBE_MS = 2_000

/** True when a sync server that takes connections answers there. */
export async function isServerReady(url: string): Promise<boolean> {
  try {
    const response = await fetch(new URL('readyz', url.endsWith('/') ? url : `${url}/`), {
      signal: AbortSignal.timeout(PROBE_MS),
    })
    return ((await response.json()) as { readonly status?: unknown }).status === 'ready'
  } catch {
    return false
  }
}

export async function expectServer(url: string): Promise<void> {
  if (await isServerReady(url)) return
  throw new DemoError(`no sync server answers at ${url}. Start one with npm start, or leave --url out`)
}

/** A development server on a free port, with its LMDB store in `path`. */
export function startServer(path: string): Promise<SyncServer> {
  return createSyncServer({
    dev: true,
    port: 0,
    // One tenant: the folder is named after it.
    openStore: () => openLmdbStore(path),
    logger: pino({ level: 'warn' }, destination(2)),
  })
}

/** Runs `work` on what a server that has been closed left in its store. */
export async function withServerLedger<Result>(
  path: string,
  tenant: string,
  work: (ledger: Ledger) => Promise<Result>,
): Promise<Result> {
  const store = await openLmdbStore(path)
  try {
    const ledger = await Ledger.open({ tenant: parseTenantName(tenant), store, limits: parseLimits(), authority: 2 })
    const result = await work(ledger)
    await ledger.close()
    return result
  } finally {
    await store.close()
  }
}
