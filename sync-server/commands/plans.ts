/**
 * `tidemark plans`: the plans in force at a running server, and who has them; and `tidemark reload`.
 */
import { Command } from 'commander'
import type { PlanView } from '../admin/views.ts'
import { type AdminFlags, ask, withAdmin } from './admin-client.ts'
import { orFail } from './failure.ts'
import { formatColumns, print } from './printing.ts'

export function plansCommand(): Command {
  return withAdmin(
    new Command('plans').description('List the plans that a running server goes by, and their limits.'),
  ).action((flags: AdminFlags) =>
    orFail(async () => print(flags, (await ask(flags, 'GET', ['plans'])) as PlanView[], toTable)),
  )
}

interface Reloaded {
  readonly plans: readonly string[]
  readonly waiting: readonly string[]
}

export function reloadCommand(): Command {
  const command = new Command('reload').description(
    'Let a running server, and others on the same data, read plans and certificate anew.',
  )
  return withAdmin(command).action((flags: AdminFlags) =>
    orFail(async () => print(flags, (await ask(flags, 'POST', ['reload'])) as Reloaded, toText)),
  )
}

function toTable(plans: readonly PlanView[]): string {
  const quotas = Object.keys(plans[0]?.quotas ?? {})
  const rows = plans.map(({ name, isKnown, features, quotas: limits, tenants }) => [
    name,
    String(tenants),
    ...quotas.map((quota) => limits[quota]?.toLocaleString('en-US') ?? 'no limit'),
    isKnown ? features.join(', ') : 'nobody defines it: its tenants are shut out',
  ])
  return formatColumns(['PLAN', 'TENANTS', ...quotas, 'FEATURES'], rows)
}

function toText({ plans, waiting }: Reloaded): string {
  const renewed = `The plans are ${plans.join(', ')}.`
  return waiting.length === 0 ? renewed : `${renewed} These count with the next start: ${waiting.join(', ')}.`
}
