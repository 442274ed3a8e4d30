/**
 * `tidemark restored`: says, after a data directory came from a backup and before a server serves it again, that it did.
 *
 * Knows: data directories and their tenants. Must never know: what an epoch is; it asks the tenants' manager.
 * Invariant W7: each tenant is named with what became of it; one that fails does not keep the others from being told.
 */
import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Command } from 'commander'
import { isTidemarkError, quote, TidemarkError } from '../../core/index.ts'
import { Plans, type Recovery, TenantManager, type TenantRecord } from '../../tenant/index.ts'
import type { Config } from '../config/read-config.ts'
import { storesIn } from '../stores.ts'
import { orFail } from './failure.ts'
import { formatColumns } from './printing.ts'
import { type Flags, readFlags, withSettings } from './settings-flags.ts'

interface RestoredFlags {
  readonly tenant?: string
  readonly all: boolean
  readonly over: boolean
}

const HELP = `
The server must not run meanwhile. What the backup has not, clients push again when they connect; for a week the server
waits for what is still missing, and refuses nothing that builds on it. --over ends that.

Examples:
  $ tidemark restored --data /var/lib/tidemark --all
  $ tidemark restored --data /var/lib/tidemark --tenant acme
  $ tidemark restored --data /var/lib/tidemark --tenant acme --over`

export function restoredCommand(): Command {
  const command = new Command('restored')
    .description('Say that stores came from a backup, before they are served again.')
    .option('--tenant <name>', 'this tenant only')
    .option('--all', 'all tenants of the data directory', false)
    .option('--over', 'what is missing is gone: wait for it no more', false)
  return withSettings(command, ['Server', 'Tenants'])
    .addHelpText('after', HELP)
    .action((flags: Flags & RestoredFlags) => orFail(() => tell(flags)))
}

async function tell(flags: Flags & RestoredFlags): Promise<void> {
  const { tenant, all, over } = flags
  if ((tenant === undefined) !== all) {
    throw new TidemarkError('bad-option', 'say which tenants came from a backup', {
      remedy: 'Give either --tenant NAME or --all',
    })
  }
  const config = await readFlags(flags)
  const told = await withManager(config, async (manager) => {
    const names = tenant === undefined ? await namesOf(manager) : [tenant]
    const rows: Told[] = []
    for (const name of names) rows.push(await tellOne(manager, name, over))
    return rows
  })
  if (told.length === 0) process.stdout.write(`There are no tenants in ${config.values.data}.\n`)
  else process.stdout.write(`${formatColumns(['TENANT', 'EPOCH', 'WAITS UNTIL'], told.map(toRow))}\n`)
  if (told.some((each) => each instanceof Failed)) process.exitCode = 1
}

type Told = Recovery | Failed

class Failed {
  readonly tenant: string
  readonly why: string

  constructor(tenant: string, why: string) {
    this.tenant = tenant
    this.why = why
  }
}

async function tellOne(manager: TenantManager, name: string, isOver: boolean): Promise<Told> {
  try {
    return await (isOver ? manager.endRecovery(name) : manager.restored(name))
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    const cause = isTidemarkError(error.cause) ? error.cause : error
    return new Failed(name, cause.message)
  }
}

function toRow(told: Told): readonly string[] {
  if (told instanceof Failed) return [told.tenant, '-', `failed: ${told.why}`]
  const { tenant, epoch, untilMs } = told
  return [tenant, String(epoch), untilMs === 0 ? 'it does not wait' : new Date(untilMs).toISOString()]
}

async function namesOf(manager: TenantManager): Promise<string[]> {
  const names: string[] = []
  for (;;) {
    const after = names[names.length - 1]
    const page: readonly TenantRecord[] = await manager.list(after === undefined ? {} : { after })
    if (page.length === 0) return names
    for (const { name } of page) names.push(name)
  }
}

async function withManager<Result>(
  { values }: Config,
  work: (manager: TenantManager) => Promise<Result>,
): Promise<Result> {
  const { data, plans } = values
  // Opening a store creates it: a directory mistyped would become one without tenants.
  const isThere = await stat(join(data, 'registry', 'data.mdb')).catch(() => undefined)
  if (isThere === undefined) {
    throw new TidemarkError('bad-option', `there is no server’s data in ${quote(data)}`, {
      remedy: 'Give the directory that the server is started with as --data',
    })
  }
  const stores = storesIn(data)
  const manager = await TenantManager.open({
    registry: await stores.openRegistry(),
    stores: stores.byMode,
    plans: new Plans({ plans: plans ?? {} }),
    now: Date.now,
    monotonicMs: () => performance.now(),
  })
  try {
    return await work(manager)
  } finally {
    await manager.close()
    await stores.close()
  }
}
