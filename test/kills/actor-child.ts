/**
 * A process that will be killed: `server <directory> <port>` or `replica <directory> <url> <name> <pause>`.
 *
 * What it was promised it says at once, one line each, written out before anything else happens: a replica `kept <row>`,
 * `counted` and `answered <replica> <seq>` (the server has everything of it up to there). What its disk held when it
 * started it says before it goes to work: a server `holds <replica> <seq>`, a replica who it is and, asked, what it misses.
 *
 * Knows: its own work. Must never know: when it will be killed.
 */
import { writeSync } from 'node:fs'
import { join } from 'node:path'
import { pino } from 'pino'
import { increment, Ledger, openReplica, parseLimits, parseTenantName, type Replica } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { createSyncServer } from '../../sync-server/index.ts'
import { KILL_TABLES, TENANT } from './tables.ts'

type Worker = Replica<typeof KILL_TABLES>

/** What the parent sends. */
export type Request =
  /** What it was told is kept: rows, and how many increments. */
  | { readonly type: 'check'; readonly rows: readonly string[]; readonly increments: number }
  | { readonly type: 'work' }
  | { readonly type: 'rest' }
  | { readonly type: 'settle' }

const WRITERS = 4
const SHARED_ROWS = 8
const SETTLE_MS = 60_000

const say = (line: string): void => {
  writeSync(1, `${line}\n`)
}

const [role, directory = '', place = '', name = '', pause = '0'] = process.argv.slice(2)
// Without its parent it has nothing to do.
process.on('disconnect', () => process.exit(0))
if (role === 'server') await serve(directory, Number(place))
else await replicate(directory, place, name)

async function serve(dataDir: string, port: number): Promise<void> {
  const openStore = (): ReturnType<typeof openLmdbStore> => openLmdbStore(join(dataDir, TENANT))
  const store = await openStore()
  const tenant = parseTenantName(TENANT)
  const ledger = await Ledger.open({ tenant, store, limits: parseLimits(), authority: 2 })
  for (const [replica, seq] of ledger.durableClock().entries()) say(`holds ${replica} ${seq}`)
  await ledger.close()
  await createSyncServer({ dev: true, port, openStore, logger: pino({ level: 'silent' }) })
  say('ready')
}

async function replicate(path: string, url: string, self: string): Promise<void> {
  const store = await openLmdbStore(path)
  const replica = await openReplica({ tenant: TENANT, store, tables: KILL_TABLES })
  const link = connect(replica, { url, transports: ['websocket'], backoff: { baseMs: 20, capMs: 200 } })
  let isWorking = false
  let works: Promise<void>[] = []
  process.on('message', (request: Request) => {
    switch (request.type) {
      case 'check':
        return void check(replica, self, request)
      case 'work':
        isWorking = true
        works = Array.from({ length: WRITERS }, (_, writer) => work(replica, self, writer, () => isWorking))
        return
      case 'rest':
        isWorking = false
        return void Promise.all(works).then(() => say('rests'))
      case 'settle':
        return void settle(replica, link)
    }
  })
  say(`is ${replica.id}`)
  say('ready')
}

async function check(
  replica: Worker,
  self: string,
  { rows, increments }: Extract<Request, { type: 'check' }>,
): Promise<void> {
  for (const id of rows) if ((await replica.table('items').get(id)) === undefined) say(`missing ${id}`)
  const counted = (await replica.table('counts').get(self))?.n ?? 0
  if (counted < increments) say(`missing ${increments - counted} of ${increments} increments`)
  say('checked')
}

async function work(replica: Worker, self: string, writer: number, isWorking: () => boolean): Promise<void> {
  const items = replica.table('items')
  let answered = 0
  for (let number = await nextNumber(replica, self, writer); isWorking(); number++) {
    const id = `${self}-${writer}-${number.toString().padStart(6, '0')}`
    if (number % 5 === 4) {
      const more = `${id}-more`
      await replica.transact((transaction) => {
        transaction.table('items').insert({ id, text: self })
        transaction.table('items').insert({ id: more, text: self })
      })
      say(`kept ${id}`)
      say(`kept ${more}`)
    } else {
      await items.insert({ id, text: self })
      say(`kept ${id}`)
    }
    await items.upsert({ id: `shared-${number % SHARED_ROWS}`, text: `${self} ${writer} ${number}` })
    if (writer === 0) await count(replica, self)
    const seq = replica.clock.get(replica.id) - replica.pending
    if (seq > answered) say(`answered ${replica.id} ${seq}`)
    answered = seq
    if (pause !== '0') await new Promise((resolve) => setTimeout(resolve, Number(pause)))
  }
}

async function count(replica: Worker, self: string): Promise<void> {
  const counts = replica.table('counts')
  if ((await counts.get(self)) === undefined) await counts.insert({ id: self, n: 0 })
  await counts.update(self, { n: increment(1) })
  say('counted')
}

/** After the last row that is there: a number is used once. */
async function nextNumber(replica: Worker, self: string, writer: number): Promise<number> {
  let next = 0
  for await (const { id } of replica.table('items').scan({ prefix: `${self}-${writer}-` })) {
    next = Number(id.split('-')[2]) + 1
  }
  return next
}

async function settle(replica: Worker, link: SyncLink): Promise<void> {
  await link.settled({ timeoutMs: SETTLE_MS })
  const { rows, hash } = await replica.digest()
  say(`digest ${rows} ${hash} ${replica.pending}`)
}
