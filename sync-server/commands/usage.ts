/**
 * `tidemark usage`: who uses how much of what, over all tenants of a running server; and `tidemark drain`.
 */
import { Command, Option } from 'commander'
import type { TenantUsage } from '../admin/views.ts'
import { type AdminFlags, ask, withAdmin } from './admin-client.ts'
import { filledOf, isNear } from './advice.ts'
import { orFail } from './failure.ts'
import { print } from './printing.ts'
import { refusedOf, usagesToText, usageToText } from './usage-text.ts'

interface UsageFlags extends AdminFlags {
  readonly sort: Order
  readonly near: boolean
}

const USE = ['share', 'rows', 'stored', 'replicas', 'connections', 'changes', 'minute', 'bytes'] as const
const TROUBLE = ['behind', 'conflicts', 'refused'] as const
const ORDERS = [...USE, ...TROUBLE, 'name'] as const
type Order = (typeof ORDERS)[number]

const PAGE = 100

const HELP = `
SHARE is the resource of its plan that a tenant has used up most of. CHANGES, IN, OUT and REFUSED count from the start of the
server that is asked, A MINUTE the changes of the last one. BEHIND: entries of the log that the replica furthest behind was not
sent, of those that are connected or came within 30 days. CONFLICTS: rows that are in conflict now. REFUSED: changes, sessions
and connections, with the code of most. Lines with ! say what to do.

Examples:
  $ tidemark usage                  those first that are nearest to a limit
  $ tidemark usage --sort bytes     those first that send and receive most
  $ tidemark usage --sort minute    those first that write most now
  $ tidemark usage --sort refused   those first that were refused most
  $ tidemark usage acme             all that is known of one: limits, rates, who is behind, what was refused and why
  $ tidemark usage --near --json    those that somebody should look after, for a program`

export function usageCommand(): Command {
  return withAdmin(new Command('usage').description('Show what the tenants of a running server use of their plans.'))
    .argument('[tenant]')
    .addOption(new Option('--sort <by>', 'largest first').choices(ORDERS).default('share'))
    .option('--near', 'only those that have used 80 % of something, have writers that wait, or send too fast', false)
    .addHelpText('after', HELP)
    .action((tenant: string | undefined, flags: UsageFlags) => orFail(() => show(tenant, flags)))
}

export function drainCommand(): Command {
  return withAdmin(
    new Command('drain').description('Let commits end, send clients away for now, and stop the server.'),
  ).action((flags: AdminFlags) =>
    orFail(async () => print(flags, await ask(flags, 'POST', ['drain']), () => 'Draining.')),
  )
}

async function show(tenant: string | undefined, flags: UsageFlags): Promise<void> {
  if (tenant !== undefined) {
    const usage = await readOne(flags, tenant)
    return print(flags, [usage], () => usageToText(usage))
  }
  const all = await readAll(flags)
  const shown = all.filter((usage) => !flags.near || isNear(usage)).sort(byOrder(flags.sort))
  print(flags, shown, (usages) => (usages.length > 0 ? usagesToText(usages) : nobody(all)))
}

function nobody(all: readonly TenantUsage[]): string {
  return all.length === 0 ? 'No tenants are registered.' : `None of ${all.length} tenants is near a limit.`
}

async function readOne(flags: AdminFlags, tenant: string): Promise<TenantUsage> {
  return (await ask(flags, 'GET', ['tenants', tenant, 'usage'])) as TenantUsage
}

async function readAll(flags: AdminFlags): Promise<TenantUsage[]> {
  const all: TenantUsage[] = []
  for (;;) {
    const after = all.at(-1)?.tenant
    const query = after === undefined ? '' : `&after=${encodeURIComponent(after)}`
    const page = (await ask(flags, 'GET', [`usage?limit=${PAGE}${query}`])) as TenantUsage[]
    all.push(...page)
    if (page.length < PAGE) return all
  }
}

// ── Order ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function byOrder(order: Order): (left: TenantUsage, right: TenantUsage) => number {
  if (order === 'name') return (left, right) => (left.tenant < right.tenant ? -1 : 1)
  return (left, right) => measure(right, order) - measure(left, order)
}

function measure(usage: TenantUsage, order: Exclude<Order, 'name'>): number {
  const { stored, connections, traffic, furthestBehind, conflictedRows } = usage
  switch (order) {
    case 'share':
      return filledOf(usage)[0]?.share ?? -1
    case 'rows':
      return stored?.rows.used ?? 0
    case 'stored':
      return stored?.storedBytes.used ?? 0
    case 'replicas':
      return stored?.replicas.used ?? 0
    case 'connections':
      return connections.used
    case 'changes':
      return traffic?.changes ?? 0
    case 'minute':
      return traffic?.lastMinute.changes ?? 0
    case 'bytes':
      return (traffic?.bytesIn ?? 0) + (traffic?.bytesOut ?? 0)
    case 'behind':
      return furthestBehind?.entries ?? 0
    case 'conflicts':
      return conflictedRows ?? 0
    case 'refused':
      return refusedOf(traffic)
  }
}
