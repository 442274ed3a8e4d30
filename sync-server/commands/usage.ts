/**
 * `tidemark usage`: who uses how much of what, over all tenants of a running server; and `tidemark drain`.
 */
import { Command, Option } from 'commander'
import type { Share, TenantUsage } from '../admin/views.ts'
import { type AdminFlags, ask, withAdmin } from './admin-client.ts'
import { orFail } from './failure.ts'
import { formatColumns, print } from './printing.ts'

interface UsageFlags extends AdminFlags {
  readonly sort: Order
  readonly near: boolean
}

const ORDERS = ['share', 'rows', 'stored', 'replicas', 'connections', 'changes', 'bytes', 'name'] as const
type Order = (typeof ORDERS)[number]

/** From here on somebody should do something. */
const NEAR = 0.8
const PAGE = 100

const HELP = `
SHARE is the resource of its plan that a tenant has used up most of. Traffic counts from the start of the server.

Examples:
  $ tidemark usage                  those first that are nearest to a limit
  $ tidemark usage --sort bytes     those first that send and receive most
  $ tidemark usage acme
  $ tidemark usage --near --json    those that have used 80 % of something, for a program`

export function usageCommand(): Command {
  return withAdmin(new Command('usage').description('Show what the tenants of a running server use of their plans.'))
    .argument('[tenant]')
    .addOption(new Option('--sort <by>', 'largest first').choices(ORDERS).default('share'))
    .option('--near', 'only those that have used 80 % of something', false)
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
  const all = tenant === undefined ? await readAll(flags) : [await readOne(flags, tenant)]
  const shown = all.filter((usage) => !flags.near || (fullest(usage)?.share ?? 0) >= NEAR).sort(byOrder(flags.sort))
  print(flags, shown, toText)
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

// ── As a table ──────────────────────────────────────────────────────────────────────────────────────────────────────

function toText(usages: readonly TenantUsage[]): string {
  if (usages.length === 0) return 'There is no such tenant.'
  const rows = usages.map((usage) => {
    const { tenant, plan, state, stored, connections, traffic } = usage
    return [
      tenant,
      plan,
      state,
      stored === undefined ? '?' : count(stored.rows.used),
      stored === undefined ? '?' : bytes(stored.storedBytes.used),
      stored === undefined ? '?' : count(stored.replicas.used),
      count(connections.used),
      count(traffic?.changes ?? 0),
      bytes(traffic?.bytesIn ?? 0),
      bytes(traffic?.bytesOut ?? 0),
      count(sum(traffic?.conflicts)),
      showShare(usage),
    ]
  })
  const titles = ['TENANT', 'PLAN', 'STATE', 'ROWS', 'STORED', 'REPLICAS', 'NOW', 'CHANGES', 'IN', 'OUT', 'CONFLICTS']
  return [formatColumns([...titles, 'SHARE'], rows), ...usages.flatMap(adviceOn)].join('\n')
}

function showShare(usage: TenantUsage): string {
  const most = fullest(usage)
  return most === undefined ? '' : `${Math.round(most.share * 100)} % of ${most.resource}`
}

/** What the operator can do about it. */
function adviceOn(usage: TenantUsage): string[] {
  const { tenant, error } = usage
  if (error !== undefined) return [`! ${tenant} cannot be looked into: ${error}`]
  const most = fullest(usage)
  if (most === undefined || most.share < NEAR) return []
  const way = `a larger plan (tidemark tenants plan ${tenant} PLAN), or its users delete`
  return [`! ${tenant} has used ${count(most.used)} of ${count(most.limit)} ${most.resource}: ${way}`]
}

interface Fullest {
  readonly resource: string
  readonly used: number
  readonly limit: number
  readonly share: number
}

function fullest({ stored, connections }: TenantUsage): Fullest | undefined {
  const shares: readonly (readonly [string, Share])[] = [...Object.entries(stored ?? {}), ['connections', connections]]
  let most: Fullest | undefined
  for (const [resource, { used, limit }] of shares) {
    if (limit === null) continue
    const share = limit === 0 ? (used > 0 ? 1 : 0) : used / limit
    if (most === undefined || share > most.share) most = { resource, used, limit, share }
  }
  return most
}

function byOrder(order: Order): (left: TenantUsage, right: TenantUsage) => number {
  if (order === 'name') return (left, right) => (left.tenant < right.tenant ? -1 : 1)
  return (left, right) => measure(right, order) - measure(left, order)
}

function measure(usage: TenantUsage, order: Exclude<Order, 'name'>): number {
  const { stored, connections, traffic } = usage
  switch (order) {
    case 'share':
      return fullest(usage)?.share ?? -1
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
    case 'bytes':
      return (traffic?.bytesIn ?? 0) + (traffic?.bytesOut ?? 0)
  }
}

function sum(counts: Readonly<Record<string, number>> | undefined): number {
  return Object.values(counts ?? {}).reduce((total, each) => total + each, 0)
}

function count(value: number): string {
  return value.toLocaleString('en-US')
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

function bytes(value: number): string {
  let unit = 0
  let shown = value
  while (shown >= 1_024 && unit < UNITS.length - 1) {
    shown /= 1_024
    unit++
  }
  return `${unit === 0 ? shown : shown.toFixed(1)} ${UNITS[unit]}`
}
