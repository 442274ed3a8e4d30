/**
 * `tidemark tenants`: the tenants of a running server, over its admin port.
 *
 * Invariant W7: what cannot be undone is done only with `--yes`.
 */
import { Command } from 'commander'
import { TidemarkError } from '../../core/index.ts'
import { ISOLATION_MODES, type Revocation, type TenantRecord } from '../../tenant/index.ts'
import type { ConflictView, ReplicaView } from '../admin/views.ts'
import { type AdminFlags, ask, download, readTokenFile, withAdmin } from './admin-client.ts'
import { orFail } from './failure.ts'
import { formatColumns, parseCount, print, showTime } from './printing.ts'
import { redefineCommand, tablesCommand } from './tables.ts'

const HELP = `
All of them ask a running server, on its admin port; see docs/operations.md.

Examples:
  $ export TIDEMARK_ADMIN_TOKEN_FILE=/etc/tidemark/admin-token
  $ tidemark tenants register acme --plan starter
  $ tidemark tenants list
  $ tidemark tenants suspend acme --reason "bill of May"
  $ tidemark tenants revoke acme --subject ann        all tokens that she has; those she gets later are good
  $ tidemark tenants export acme --to acme.ndjson
  $ tidemark tenants erase acme --yes`

export function tenantsCommand(): Command {
  const command = new Command('tenants').description('List, register and change the tenants of a running server.')
  return command
    .addHelpText('after', HELP)
    .addCommand(listing())
    .addCommand(registering())
    .addCommand(
      change('show', 'What the registry knows of a tenant.', (flags, name) => ask(flags, 'GET', [TENANTS, name])),
    )
    .addCommand(suspending())
    .addCommand(
      change('resume', 'Let a suspended tenant in again.', (flags, name) =>
        ask(flags, 'POST', [TENANTS, name, 'resume']),
      ),
    )
    .addCommand(planning())
    .addCommand(moving())
    .addCommand(
      change('finish-move', 'Remove the old place of a tenant that was moved.', (flags, name) =>
        ask(flags, 'POST', [TENANTS, name, 'finish-move']),
      ),
    )
    .addCommand(rollingBack())
    .addCommand(exporting())
    .addCommand(erasing())
    .addCommand(replicasOf())
    .addCommand(tablesCommand())
    .addCommand(redefineCommand())
    .addCommand(conflictsOf())
    .addCommand(revoking())
    .addCommand(lifting())
    .addCommand(revocationsOf())
}

const TENANTS = 'tenants'

// ── Who there is ────────────────────────────────────────────────────────────────────────────────────────────────────

function listing(): Command {
  return withAdmin(new Command('list').description('List tenants, in the order of their names.')).action(
    (flags: AdminFlags) => orFail(async () => print(flags, await listAll(flags), toTenantTable)),
  )
}

/** Page by page. */
export async function listAll(flags: AdminFlags): Promise<TenantRecord[]> {
  const all: TenantRecord[] = []
  for (;;) {
    const after = all.at(-1)?.name
    const query = after === undefined ? '' : `&after=${encodeURIComponent(after)}`
    const page = (await ask(flags, 'GET', [`${TENANTS}?limit=${PAGE}${query}`])) as TenantRecord[]
    all.push(...page)
    if (page.length < PAGE) return all
  }
}

const PAGE = 500

function toTenantTable(tenants: readonly TenantRecord[]): string {
  if (tenants.length === 0) return 'No tenants are registered.'
  const rows = tenants.map(({ name, state, plan, mode, move, departure, createdAtMs, reason }) => [
    name,
    state,
    plan,
    mode,
    toMoveText(move, departure),
    showTime(createdAtMs),
    reason,
  ])
  return formatColumns(['TENANT', 'STATE', 'PLAN', 'MODE', 'MOVE', 'SINCE', 'REASON'], rows)
}

function toMoveText(move: TenantRecord['move'], departure: TenantRecord['departure']): string {
  if (departure !== undefined) return `to ${departure.server}: ${departure.phase}`
  return move === undefined ? '' : `${move.from} to ${move.to}: ${move.phase}`
}

function registering(): Command {
  return withAdmin(new Command('register').description('Make a tenant known, and its store.'))
    .argument('<name>')
    .requiredOption('--plan <name>', 'what it may use')
    .option('--mode <name>', `where it lives: ${ISOLATION_MODES.join(', ')}; default as the server has it`)
    .action((name: string, flags: AdminFlags & { readonly plan: string; readonly mode?: string }) =>
      orFail(async () => {
        const { plan, mode } = flags
        const record = await ask(flags, 'POST', [TENANTS], { name, plan, ...(mode === undefined ? {} : { mode }) })
        print(flags, record as TenantRecord, (registered) => toTenantTable([registered]))
      }),
    )
}

// ── Changes ─────────────────────────────────────────────────────────────────────────────────────────────────────────

/** A verb that takes a tenant and answers with its record. */
function change(
  verb: string,
  description: string,
  work: (flags: AdminFlags, name: string) => Promise<unknown>,
): Command {
  return withAdmin(new Command(verb).description(description))
    .argument('<name>')
    .action((name: string, flags: AdminFlags) =>
      orFail(async () => print(flags, (await work(flags, name)) as TenantRecord, (record) => toTenantTable([record]))),
    )
}

function suspending(): Command {
  return change('suspend', 'End its sessions and let nobody in. What it holds stays.', (flags, name) => {
    const { reason } = flags as AdminFlags & { readonly reason?: string }
    return ask(flags, 'POST', [TENANTS, name, 'suspend'], reason === undefined ? {} : { reason })
  }).option('--reason <text>', 'for the people who ask')
}

function planning(): Command {
  return withAdmin(new Command('plan').description('Move a tenant to another plan, at once.'))
    .argument('<name>')
    .argument('<plan>')
    .action((name: string, plan: string, flags: AdminFlags) =>
      orFail(async () => {
        const record = await ask(flags, 'PUT', [TENANTS, name, 'plan'], { plan })
        print(flags, record as TenantRecord, (changed) => toTenantTable([changed]))
      }),
    )
}

function moving(): Command {
  const command = new Command('move').description(
    'Move a tenant to another kind of place, or to another server, while it is in use.',
  )
  return withOtherServer(withAdmin(command))
    .argument('<name>')
    .argument('[mode]', ISOLATION_MODES.join(', '))
    .option('--address <url>', 'what its clients are told: where they connect to the other server')
    .action((name: string, to: string | undefined, flags: OtherServerFlags & { readonly address?: string }) =>
      orFail(async () => {
        const other = await readOtherServer(flags)
        if ((to === undefined) === (other === undefined)) {
          throw new TidemarkError('bad-option', 'a tenant is moved to a mode, or to a server: name one of them')
        }
        const body = other === undefined ? { to } : { ...other, address: flags.address }
        const record = await ask(flags, 'POST', [TENANTS, name, 'move'], body)
        print(flags, record as TenantRecord, (moved) => toTenantTable([moved]))
      }),
    )
}

function rollingBack(): Command {
  const command = new Command('roll-back-move').description('Give a move up; after one to another mode, move back.')
  return withOtherServer(withAdmin(command))
    .argument('<name>')
    .action((name: string, flags: OtherServerFlags) =>
      orFail(async () => {
        const body = (await readOtherServer(flags)) ?? {}
        const record = await ask(flags, 'POST', [TENANTS, name, 'roll-back-move'], body)
        print(flags, record as TenantRecord, (back) => toTenantTable([back]))
      }),
    )
}

interface OtherServerFlags extends AdminFlags {
  readonly toServer?: string
  readonly toTokenFile?: string
}

function withOtherServer(command: Command): Command {
  return command
    .option('--to-server <url>', 'of the admin port of the other server')
    .option('--to-token-file <file>', 'file with the admin token of the other server')
}

async function readOtherServer({ toServer, toTokenFile }: OtherServerFlags): Promise<object | undefined> {
  if (toServer === undefined && toTokenFile === undefined) return undefined
  if (toServer === undefined || toTokenFile === undefined) {
    throw new TidemarkError('bad-option', '--to-server and --to-token-file belong together')
  }
  return { server: toServer, token: await readTokenFile(toTokenFile) }
}

function erasing(): Command {
  return withAdmin(new Command('erase').description('Remove a tenant and everything it holds. There is no way back.'))
    .argument('<name>')
    .option('--yes', 'do it', false)
    .action((name: string, flags: AdminFlags & { readonly yes: boolean }) =>
      orFail(async () => {
        if (!flags.yes) {
          throw new TidemarkError('bad-option', `${name} would be erased for good`, {
            remedy: 'Export it first if anybody may want it; then add --yes',
          })
        }
        const erased = await ask(flags, 'DELETE', [TENANTS, `${name}?confirm=${encodeURIComponent(name)}`])
        print(flags, erased, () => `Erased ${name}.`)
      }),
    )
}

function exporting(): Command {
  return withAdmin(
    new Command('export').description('Write everything a tenant holds to a file, one JSON value a line.'),
  )
    .argument('<name>')
    .requiredOption('--to <file>', 'where to')
    .action((name: string, flags: AdminFlags & { readonly to: string }) =>
      orFail(async () => {
        const last: unknown = JSON.parse(await download(flags, [TENANTS, name, 'export'], flags.to))
        const { type, rows, changes } = last as {
          readonly type: string
          readonly rows: number
          readonly changes: number
        }
        if (type !== 'end') throw new TidemarkError('unavailable', 'the export has no end: it is not whole')
        print(flags, last, () => `${flags.to} has ${rows} rows and ${changes} changes of ${name}.`)
      }),
    )
}

// ── Looking into a tenant ───────────────────────────────────────────────────────────────────────────────────────────

function replicasOf(): Command {
  return withAdmin(new Command('replicas').description('List the replicas of a tenant, with how far they are behind.'))
    .argument('<name>')
    .option('--limit <count>', 'list at most so many', parseCount, 100)
    .option('--skip <count>', 'leave out so many first', parseCount)
    .action((name: string, flags: AdminFlags & { readonly limit: number; readonly skip?: number }) =>
      orFail(async () => {
        const query = `replicas?limit=${flags.limit}&skip=${flags.skip ?? 0}`
        print(flags, (await ask(flags, 'GET', [TENANTS, name, query])) as ReplicaView[], toReplicaTable)
      }),
    )
}

function toReplicaTable(replicas: readonly ReplicaView[]): string {
  if (replicas.length === 0) return 'No replica has been met.'
  const rows = replicas.map(({ replica, changes, refused, lastChangeMs, lastSeenMs, subject, lag, session }) => [
    replica,
    subject ?? '',
    lag === null ? '' : String(lag),
    session === null || session.aheadMs === null ? '' : `${(session.aheadMs / 1_000).toFixed(1)} s`,
    String(changes),
    String(refused),
    showTime(lastChangeMs),
    session === null ? showTime(lastSeenMs) : 'connected',
  ])
  return formatColumns(
    ['REPLICA', 'SUBJECT', 'BEHIND', 'AHEAD', 'CHANGES', 'REFUSED', 'LAST CHANGE', 'LAST SEEN'],
    rows,
  )
}

function conflictsOf(): Command {
  return withAdmin(new Command('conflicts').description('List the open conflicts of a tenant, without values.'))
    .argument('<name>')
    .option('--limit <count>', 'list at most so many', parseCount, 100)
    .action((name: string, flags: AdminFlags & { readonly limit: number }) =>
      orFail(async () => {
        const query = `conflicts?limit=${flags.limit}`
        print(flags, (await ask(flags, 'GET', [TENANTS, name, query])) as ConflictView[], toConflictTable)
      }),
    )
}

function toConflictTable(conflicts: readonly ConflictView[]): string {
  if (conflicts.length === 0) return 'No conflicts are open.'
  const rows = conflicts.map(({ table, row, type, policy, fields, timesMs }) => [
    `${table}/${row}`,
    type,
    fields.join(', '),
    policy,
    showTime(Math.max(...timesMs)),
  ])
  return formatColumns(['ROW', 'TYPE', 'FIELDS', 'POLICY', 'LAST WRITTEN'], rows)
}

function revoking(): Command {
  return withAdmin(new Command('revoke').description('Make tokens void, or shut out a replica, within seconds.'))
    .argument('<name>')
    .option('--subject <text>', 'all tokens of this subject that were issued until now')
    .option('--token-id <text>', 'the token with this id')
    .option('--replica <id>', 'this replica, whatever its token; for ever')
    .action((name: string, flags: AdminFlags & Whom) =>
      orFail(async () => {
        const whom = expectWhom(flags)
        const revoked = await ask(flags, 'POST', [TENANTS, name, 'revoke'], whom)
        print(flags, revoked, () => `Revoked ${Object.values(whom).join()} of ${name}.`)
      }),
    )
}

interface Whom {
  readonly subject?: string
  readonly tokenId?: string
  readonly replica?: string
}

/** One of the three, as the admin port wants it. */
function expectWhom({ subject, tokenId, replica }: Whom): Whom {
  const given = Object.entries({ subject, tokenId, replica }).filter(([, name]) => name !== undefined)
  if (given.length === 1) return Object.fromEntries(given)
  throw new TidemarkError('bad-option', 'it has to be said whom this is about', {
    remedy: 'Give one of --subject, --token-id and --replica; `tidemark tenants replicas` lists subjects and replicas',
  })
}

function lifting(): Command {
  return withAdmin(new Command('lift').description('Take a revocation back.'))
    .argument('<name>')
    .option('--subject <text>', 'tokens of this subject that were issued before are good again')
    .option('--token-id <text>', 'the token with this id')
    .option('--replica <id>', 'this replica')
    .action((name: string, flags: AdminFlags & Whom) =>
      orFail(async () => {
        const whom = expectWhom(flags)
        const lifted = await ask(flags, 'POST', [TENANTS, name, 'lift'], whom)
        print(flags, lifted, () => `${Object.values(whom).join()} of ${name} is not revoked any more.`)
      }),
    )
}

function revocationsOf(): Command {
  return withAdmin(new Command('revocations').description('List what is revoked of a tenant.'))
    .argument('<name>')
    .action((name: string, flags: AdminFlags) =>
      orFail(async () => {
        print(flags, (await ask(flags, 'GET', [TENANTS, name, 'revocations'])) as Revocation[], toRevocationTable)
      }),
    )
}

function toRevocationTable(revocations: readonly Revocation[]): string {
  if (revocations.length === 0) return 'Nothing is revoked.'
  const rows = revocations.map(({ type, name, issuedThroughMs, isInherited = false }) => [
    type,
    issuedThroughMs === 0 ? '' : showTime(issuedThroughMs),
    isInherited ? 'upstream' : 'here',
    name,
  ])
  return formatColumns(['WHAT', 'AT', 'BY', 'NAME'], rows)
}
