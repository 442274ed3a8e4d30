/**
 * `tidemark tenants tables` and `redefine`: what the replicas of a tenant have agreed on about each table, and another
 * agreement, over the admin port of a running server.
 */
import { Command } from 'commander'
import type { DefinitionView } from '../admin/views.ts'
import { type AdminFlags, ask, withAdmin } from './admin-client.ts'
import { orFail } from './failure.ts'
import { oneLine, print, showTime } from './printing.ts'

const REDEFINE_HELP = `
A server keeps the first definition of a table that it hears, and refuses replicas that come with another one. When an app
changes the granularity of a table, or a policy or its version, somebody has to say so here:

  $ tidemark tenants tables acme                       the one in force, and the one that was refused
  $ tidemark tenants redefine acme notes --from "fields lastWriteWins@1" --to "fields causal@1"

Nothing that is stored changes. Sessions end; replicas of the new version of the app are let in. Those of the old one are
refused with schema-mismatch: they keep their rows and what they have written, and push it once their app is updated.`

export function tablesCommand(): Command {
  return withAdmin(new Command('tables').description('List the tables of a tenant, as its replicas define them.'))
    .argument('<name>')
    .action((name: string, flags: AdminFlags) =>
      orFail(async () =>
        print(flags, (await ask(flags, 'GET', ['tenants', name, 'tables'])) as DefinitionView[], toText),
      ),
    )
}

export function redefineCommand(): Command {
  return withAdmin(new Command('redefine').description('Replace the definition of a table.'))
    .argument('<name>')
    .argument('<table>')
    .requiredOption('--from <definition>', 'the one in force, as `tables` shows it')
    .requiredOption('--to <definition>', 'the one to take from now on')
    .addHelpText('after', REDEFINE_HELP)
    .action((name: string, table: string, flags: AdminFlags & { readonly from: string; readonly to: string }) =>
      orFail(async () => {
        const { from, to } = flags
        const tables = await ask(flags, 'PUT', ['tenants', name, 'tables', table], { from, to })
        print(flags, tables as DefinitionView[], toText)
      }),
    )
}

/** Whole, because they have to be given to `redefine`. */
function toText(definitions: readonly DefinitionView[]): string {
  if (definitions.length === 0) return 'No replica has defined a table.'
  return definitions.flatMap(toLines).map(oneLine).join('\n')
}

function toLines({ table, definition, replica, sinceMs, refused }: DefinitionView): string[] {
  const teller = replica === null ? 'an operator or the upstream' : `replica ${replica}`
  const lines = [`${table}: ${definition}`]
  if (sinceMs !== null) lines.push(`  since ${showTime(sinceMs)}, told by ${teller}`)
  if (refused !== null) {
    lines.push(`  refused ${showTime(refused.atMs)}, of ${refused.subject}: ${refused.text}`)
  }
  return lines
}
