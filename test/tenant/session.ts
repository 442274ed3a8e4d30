/**
 * A client and a tenant of a server, connected in one process: real sessions, frames as bytes, no sockets.
 */
import {
  clientRole,
  type Gate,
  type Hub,
  isTidemarkError,
  Link,
  openReplica,
  type Replica,
  type Transport,
  table,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'

export interface Note {
  readonly id: string
  readonly text: string
}

/** The wall time of every test, in Unix milliseconds. */
export const NOW_MS = 1_700_000_000_000

const TABLES = { notes: table<Note>() }

export type Client = Replica<typeof TABLES>

export function openClient(tenant: string, store = openMemoryStore()): Promise<Client> {
  return openReplica({ tenant, store, tables: TABLES, now: () => NOW_MS })
}

export interface Session {
  readonly client: Link
  readonly server: Link
  /** Resolves when both sides have everything; rejects with what ended the session. */
  settled(): Promise<void>
  close(): void
}

export function connect(client: Client, hub: Hub, gate?: Gate): Session {
  const ends: { deliver?: (frame: Uint8Array) => void; isClosed?: boolean }[] = [{}, {}]
  const transportTo = (other: number): Transport => ({
    send: (frame) => queueMicrotask(() => ends[other]?.deliver?.(frame)),
    close: () => queueMicrotask(() => (other === 0 ? link : serverLink).end()),
  })
  const common = { now: () => NOW_MS, tables: client.tables }
  const link = new Link({ hub: client.hub, role: clientRole, transport: transportTo(1), ...common })
  const serverLink = new Link({
    ...common,
    hub,
    role: serverRole(gate === undefined ? {} : { gate }),
    transport: transportTo(0),
  })
  ends[0] = { deliver: (frame) => link.receive(frame) }
  ends[1] = { deliver: (frame) => serverLink.receive(frame) }
  link.start()
  return { client: link, server: serverLink, settled: () => link.settled(), close: () => link.end() }
}

/** Brings client and server up to date, then disconnects. */
export async function sync(client: Client, hub: Hub): Promise<void> {
  const session = connect(client, hub)
  await session.settled()
  session.close()
}

/** Every note of a tenant, as a client that was never here before gets them. */
export async function readNotes(tenant: string, hub: Hub): Promise<readonly Note[]> {
  const client = await openClient(tenant)
  await sync(client, hub)
  const notes: Note[] = []
  for await (const note of client.table('notes').scan()) notes.push({ ...note })
  await client.close()
  return notes
}

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work
    return 'no error'
  } catch (error) {
    return isTidemarkError(error) ? error.code : String(error)
  }
}
