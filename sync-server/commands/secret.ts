/**
 * `tidemark secret`: a secret or token that is long enough and can stand anywhere, for `auth.secretFile` and its like.
 */
import { randomBytes } from 'node:crypto'
import { Command } from 'commander'

/** More than the 32 that are asked for, so that what is random of it is enough for HS384 too. */
const BYTES = 48

export function secretCommand(): Command {
  return new Command('secret')
    .description('Print a random secret, for auth.secretFile, admin.tokenFile or metrics.tokenFile.')
    .addHelpText('after', '\nExample:\n  $ (umask 077 && tidemark secret > secret)')
    .action(() => {
      process.stdout.write(`${randomBytes(BYTES).toString('base64url')}\n`)
    })
}
