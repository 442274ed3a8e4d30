/**
 * The admin port of a running server, as commands ask it.
 *
 * Knows: HTTP, where the server is, the token. Must never know: what is asked for.
 */
import { createWriteStream } from 'node:fs'
import { readFile, rename } from 'node:fs/promises'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { type Command, Option } from 'commander'
import { ERROR_CODES, type ErrorCode, quote, TidemarkError } from '../../core/index.ts'
import { ADMIN_PORT, DEFAULT_HOST } from '../options.ts'

export interface AdminFlags {
  readonly url: string
  readonly tokenFile?: string
  readonly json: boolean
}

type Method = 'GET' | 'POST' | 'PUT' | 'DELETE'

/** Certificates that the system does not know: NODE_EXTRA_CA_CERTS. */
export function withAdmin(command: Command): Command {
  const url = `http://${DEFAULT_HOST}:${ADMIN_PORT}`
  return command
    .addOption(new Option('--url <url>', 'of the admin port').env('TIDEMARK_ADMIN_URL').default(url))
    .addOption(
      new Option('--token-file <file>', 'file with its token; TIDEMARK_ADMIN_TOKEN has the token itself').env(
        'TIDEMARK_ADMIN_TOKEN_FILE',
      ),
    )
    .option('--json', 'print JSON', false)
}

/** `path`: its parts, as they are. */
export async function ask(flags: AdminFlags, method: Method, path: readonly string[], body?: object): Promise<unknown> {
  return (await request(flags, method, path, body)).json()
}

/** Writes what it answers to a file, whole or not at all. Answers with its last line. */
export async function download(flags: AdminFlags, path: readonly string[], file: string): Promise<string> {
  const response = await request(flags, 'GET', path)
  const partial = `${file}.partial`
  let last = ''
  const lines = async function* (): AsyncGenerator<string> {
    const decoder = new TextDecoder()
    for await (const chunk of Readable.fromWeb(response.body as import('node:stream/web').ReadableStream)) {
      const text = decoder.decode(chunk as Uint8Array, { stream: true })
      last = (last + text).slice(-4_096)
      yield text
    }
  }
  try {
    await pipeline(lines, createWriteStream(partial))
  } catch (cause) {
    throw brokenOff(partial, cause)
  }
  await rename(partial, file)
  return last.trimEnd().split('\n').at(-1) ?? ''
}

function brokenOff(file: string, cause: unknown): TidemarkError {
  const { message = '', syscall } = cause as { readonly message?: string; readonly syscall?: string }
  if (syscall === 'open' || syscall === 'write') {
    return new TidemarkError('store-failed', `the file cannot be written: ${message}`, { cause })
  }
  return new TidemarkError('unavailable', `it broke off (${message}); what came is in ${file}`, {
    retryable: true,
    remedy: 'Give the command again; the server’s log may say more',
    cause,
  })
}

async function request(flags: AdminFlags, method: Method, path: readonly string[], body?: object): Promise<Response> {
  const [route = '', ...query] = path.at(-1)?.split('?') ?? []
  const parts = [...path.slice(0, -1), route].map(encodeURIComponent).join('/')
  const url = `${flags.url.replace(/\/+$/, '')}/${parts}${query.length > 0 ? `?${query.join('?')}` : ''}`
  const headers: Record<string, string> = { authorization: `Bearer ${await readToken(flags)}` }
  if (body !== undefined) headers['content-type'] = 'application/json'
  let response: Response
  try {
    response = await fetch(url, { method, headers, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })
  } catch (cause) {
    throw unreachable(flags.url, cause)
  }
  if (response.ok) return response
  throw await toError(flags.url, response)
}

function unreachable(url: string, error: unknown): TidemarkError {
  const cause = error instanceof Error ? error.cause : undefined
  const { code = '', message = '' } = (cause ?? {}) as { readonly code?: string; readonly message?: string }
  const remedy = CERTIFICATE_ERRORS.test(code)
    ? 'Let NODE_EXTRA_CA_CERTS name the file of the certificate, or of who signed it, and connect by a name that it has'
    : 'Start the server with admin.tokenFile, or say with --url where it is: https://… when it has a certificate'
  const why = message === '' ? '' : `: ${message}`
  return new TidemarkError('unavailable', `no admin port answers at ${url}${why}`, { remedy, cause: error })
}

/** Of OpenSSL, as Node names them. */
const CERTIFICATE_ERRORS = /CERT|SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY)/

async function readToken({ tokenFile }: AdminFlags): Promise<string> {
  const given = process.env.TIDEMARK_ADMIN_TOKEN
  if (tokenFile === undefined && given !== undefined && given !== '') return given
  if (tokenFile === undefined) {
    throw new TidemarkError('bad-option', 'the admin port needs a token', {
      remedy: 'Give --token-file, or TIDEMARK_ADMIN_TOKEN in the environment: the one that the server has',
    })
  }
  return readTokenFile(tokenFile)
}

export async function readTokenFile(tokenFile: string): Promise<string> {
  try {
    return (await readFile(tokenFile, 'utf8')).replace(/\r?\n$/, '')
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `the token file ${quote(tokenFile)} cannot be read: ${why}`, { cause })
  }
}

async function toError(url: string, response: Response): Promise<TidemarkError> {
  const text = await response.text()
  try {
    const { error } = JSON.parse(text) as { readonly error: { readonly code: string; readonly message: string } }
    const code = ERROR_CODES.find((known): known is ErrorCode => known === error.code)
    if (code !== undefined) return new TidemarkError(code, error.message)
  } catch {
    // Somebody else answers there.
  }
  return new TidemarkError('unavailable', `what answers at ${url} is no admin port: it said ${response.status}`, {
    remedy: 'Say with --url, or TIDEMARK_ADMIN_URL, where the admin port is: 7301 unless the server was told otherwise',
  })
}
