#!/usr/bin/env node
/**
 * The command line: `tidemark <command>`. Each command is a file of its own in commands/.
 */
import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { configCommand } from './commands/config.ts'
import { conflictsCommand } from './commands/conflicts.ts'
import { plansCommand, reloadCommand } from './commands/plans.ts'
import { restoredCommand } from './commands/restored.ts'
import { secretCommand } from './commands/secret.ts'
import { serveCommand } from './commands/serve.ts'
import { tenantsCommand } from './commands/tenants.ts'
import { tokenCommand } from './commands/token.ts'
import { drainCommand, usageCommand } from './commands/usage.ts'
import { verifyCommand } from './commands/verify.ts'

/** Next to the sources and, one level deeper, next to what is built from them. */
function readVersion(): string {
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const manifest: unknown = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8'))
      const { name, version } = manifest as { readonly name?: unknown; readonly version?: unknown }
      if (name === 'tidemark' && typeof version === 'string') return version
    } catch {
      // Not here.
    }
  }
  return 'unknown'
}

// Whoever reads may have had enough, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error
})

await new Command('tidemark')
  .description('A multi-replica sync engine: replicas that work offline, and the server they sync through.')
  .version(readVersion(), '-v, --version')
  .showHelpAfterError('(add --help for what there is)')
  .addCommand(serveCommand())
  .addCommand(restoredCommand())
  .addCommand(configCommand())
  .addCommand(secretCommand())
  .addCommand(tokenCommand())
  .addCommand(tenantsCommand())
  .addCommand(usageCommand())
  .addCommand(plansCommand())
  .addCommand(reloadCommand())
  .addCommand(drainCommand())
  .addCommand(conflictsCommand())
  .addCommand(verifyCommand())
  .parseAsync()
