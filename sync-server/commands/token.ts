/**
 * `tidemark token`: makes a token that a server with the same settings takes. For development and for first steps: in
 * production whoever signs users in makes them.
 *
 * Knows: settings, claims, jose. Must never know: sockets.
 *
 * Invariant W6: what is printed would be let in: the token is checked by the rules of the server before.
 */
import { createPrivateKey } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { Command, InvalidArgumentError, Option } from 'commander'
import { importJWK, type JWK, SignJWT } from 'jose'
import { isTidemarkError, parseTenantName, quote, TidemarkError } from '../../core/index.ts'
import { SCOPES, type Scope } from '../../tenant/index.ts'
import { type AuthOptions, authenticateTokens } from '../auth.ts'
import { duration, isObject } from '../config/kinds.ts'
import type { Config } from '../config/read-config.ts'
import { readAuth } from '../config/to-options.ts'
import { orFail } from './failure.ts'
import { readFlags, withSettings } from './settings-flags.ts'

interface TokenFlags {
  readonly tenant: string
  readonly subject: string
  readonly scopes: readonly Scope[]
  readonly tables?: readonly string[]
  readonly writeTables?: readonly string[]
  readonly expires: number
  readonly id?: string
  readonly signingKey?: string
  readonly keyId?: string
}

const HELP = `
With auth.secret or auth.secretFile in force, the token is signed with that secret. With public keys, --signing-key names
the private key that belongs to one of them, as PEM (PKCS #8) or JSON Web Key; nothing else needs it.

Examples:
  $ export TIDEMARK_AUTH_SECRET_FILE=secret.txt
  $ tidemark token --tenant acme --subject ann
  $ tidemark token --tenant acme --subject kiosk --write-tables orders --expires 7d`

export function tokenCommand(): Command {
  const command = new Command('token')
    .description('Make a token for development.')
    .requiredOption('--tenant <name>', 'whose data it opens')
    .option('--subject <text>', 'who it is within the tenant', 'developer')
    .addOption(
      new Option('--scopes <list>', `some of ${SCOPES.join(', ')}`)
        .default(['read', 'write'], 'read,write')
        .argParser(parseScopes),
    )
    .addOption(new Option('--tables <list>', 'the only tables it may write; it reads none').argParser(parseList))
    .addOption(new Option('--write-tables <list>', 'the only tables it may write; it reads all').argParser(parseList))
    .addOption(new Option('--expires <duration>', 'after how long').default(3_600_000, '1h').argParser(parseExpiry))
    .option('--id <text>', 'names the token, so that it can be revoked alone')
    .option('--signing-key <file>', 'private key, when the server has public ones')
    .option('--key-id <text>', '`kid`: which key of the set it is; default that of the signing key')
  return withSettings(command, ['Tokens'])
    .addHelpText('after', HELP)
    .action((flags: TokenFlags) => orFail(() => print(flags)))
}

async function print(flags: TokenFlags): Promise<void> {
  const config = await readFlags({ ...flags })
  process.stdout.write(`${await makeToken(flags, config)}\n`)
}

async function makeToken(flags: TokenFlags, config: Config): Promise<string> {
  const auth = await readAuth(config)
  if (auth === undefined) {
    throw new TidemarkError('bad-option', 'there is no key in force that a server would check the token with', {
      remedy: 'Set what `tidemark serve` gets: auth.secretFile, auth.secret, auth.jwksFile or auth.jwksUrl',
    })
  }
  const key = await readSigningKey(flags, auth)
  const [alg = ''] = key.algorithm === undefined ? auth.algorithms : [key.algorithm]
  const { tenant, subject, scopes, tables, writeTables, expires, id } = flags
  const nowMs = Date.now()
  const claims = {
    tenant: parseTenantName(tenant),
    scope: scopes.join(' '),
    ...(tables === undefined ? {} : { tables }),
    ...(writeTables === undefined ? {} : { writeTables }),
  }
  const signer = new SignJWT(claims)
    .setProtectedHeader({ alg, typ: auth.type ?? 'JWT', ...(key.id === undefined ? {} : { kid: key.id }) })
    .setIssuer(auth.issuer)
    .setAudience(auth.audience)
    .setSubject(subject)
    .setIssuedAt(Math.floor(nowMs / 1_000))
    .setExpirationTime(Math.floor((nowMs + expires) / 1_000))
  if (id !== undefined) signer.setJti(id)
  const token = await sign(signer, key.key, alg)
  await expectAccepted(token, auth)
  return token
}

interface SigningKey {
  readonly key: Parameters<SignJWT['sign']>[0]
  /** As the key itself says. */
  readonly algorithm: string | undefined
  readonly id: string | undefined
}

async function readSigningKey({ signingKey: path, keyId }: TokenFlags, { secret }: AuthOptions): Promise<SigningKey> {
  if (secret !== undefined) {
    const key = typeof secret === 'string' ? new TextEncoder().encode(secret) : secret
    return { key, algorithm: undefined, id: keyId }
  }
  if (path === undefined) {
    throw new TidemarkError('bad-option', 'the server has public keys, which sign nothing', {
      remedy: 'Name the private key with --signing-key',
    })
  }
  try {
    const content = await readFile(path, 'utf8')
    if (content.trimStart().startsWith('{')) return await importKey(JSON.parse(content), keyId)
    return { key: createPrivateKey(content), algorithm: undefined, id: keyId }
  } catch (cause) {
    if (isTidemarkError(cause)) throw cause
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `${quote(path)} is no private key: ${why}`, { cause })
  }
}

async function importKey(content: unknown, keyId: string | undefined): Promise<SigningKey> {
  if (!isObject(content)) throw new TypeError('it is not an object')
  const jwk = content as JWK
  return { key: await importJWK(jwk), algorithm: jwk.alg, id: keyId ?? jwk.kid }
}

async function sign(signer: SignJWT, key: SigningKey['key'], alg: string): Promise<string> {
  try {
    return await signer.sign(key)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `the key does not sign with ${alg}: ${why}`, {
      remedy: 'Name its algorithm with --auth-algorithms',
      cause,
    })
  }
}

/** W6 */
async function expectAccepted(token: string, auth: AuthOptions): Promise<void> {
  const authenticate = await authenticateTokens(auth, Date.now)
  try {
    await authenticate({ auth: { token }, address: '', headers: {} })
  } catch (error) {
    const reason = isTidemarkError(error) && error.cause !== undefined ? String(error.cause) : String(error)
    throw new TidemarkError('bad-option', `a server with these settings refuses that token: ${reason}`, {
      remedy: 'See auth.* with tidemark config, and whether the signing key belongs to a public key in force',
      cause: error,
    })
  }
}

function parseScopes(given: string): Scope[] {
  return parseList(given).map((name) => {
    const scope = SCOPES.find((known) => known === name)
    if (scope === undefined) throw new InvalidArgumentError(`The scopes are ${SCOPES.join(', ')}.`)
    return scope
  })
}

function parseList(given: string): string[] {
  return given.split(',').map((part) => part.trim())
}

function parseExpiry(given: string): number {
  const kind = duration(1_000)
  const expiry = kind.parse(kind.fromText(given))
  if (expiry === undefined) throw new InvalidArgumentError(`It must be ${kind.describe}.`)
  return expiry
}
