/**
 * Public keys from a file or a URL, with a cache: read again every ten minutes, and when a token names a key that is not
 * among them. While they cannot be read, those that were read last count, for a day.
 *
 * Knows: files, URLs, jose. Must never know: what a token says beyond which key it names.
 *
 * Invariants:
 * KS1  Keys of a file that cannot be read, or are none, are told at the start.
 * KS2  A token whose key is not known is the token's fault only when the keys could be read anew.
 */
import { readFile } from 'node:fs/promises'
import {
  type CompactVerifyGetKey,
  createLocalJWKSet,
  createRemoteJWKSet,
  customFetch,
  errors,
  type FetchImplementation,
  type JSONWebKeySet,
} from 'jose'
import { quote, TidemarkError } from '../core/index.ts'

/** Where public keys are. */
export type KeySource = { readonly file: string } | { readonly url: string }

const FETCH_MS = 5_000
/** Between two readings for the sake of a key that is not known. */
const COOLDOWN_MS = 30_000
const CACHE_MS = 600_000
/** Longer than most failures last, and no longer than a key that was withdrawn may count. */
const STALE_MS = 86_400_000

/** Throws `bad-option`. */
export async function openKeySet(source: KeySource): Promise<CompactVerifyGetKey> {
  if ('file' in source) {
    await expectKeys(source.file)
    return cached(new URL('file:///jwks'), async () => readFile(source.file, 'utf8'))
  }
  const url = parseUrl(source.url)
  return cached(url, async (...request) => {
    const response = await fetch(...request)
    if (response.status !== 200) throw new TypeError(`${url.host} answered ${response.status}`)
    return response.text()
  })
}

function cached(url: URL, read: (...request: Parameters<FetchImplementation>) => Promise<string>): CompactVerifyGetKey {
  let last: { readonly text: string; readonly atMs: number } | undefined
  let isStale = false
  const readOrKeep: FetchImplementation = async (...request) => {
    try {
      const text = await read(...request)
      parseKeys(text)
      last = { text, atMs: Date.now() }
      isStale = false
      return new Response(text)
    } catch (error) {
      if (last === undefined || Date.now() - last.atMs > STALE_MS) throw error
      isStale = true
      return new Response(last.text)
    }
  }
  const keys = createRemoteJWKSet(url, {
    timeoutDuration: FETCH_MS,
    cooldownDuration: COOLDOWN_MS,
    cacheMaxAge: CACHE_MS,
    [customFetch]: readOrKeep,
  })
  return async (header, token) => {
    try {
      return await keys(header, token)
    } catch (error) {
      if (isStale && error instanceof errors.JWKSNoMatchingKey) throw new TypeError('the keys cannot be read anew')
      throw error
    }
  }
}

/** KS1. */
async function expectKeys(path: string): Promise<void> {
  try {
    parseKeys(await readFile(path, 'utf8'))
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `auth.jwksFile names ${quote(path)}, which holds no public keys: ${why}`, {
      remedy: 'Give a JSON Web Key Set, { "keys": [ … ] }, with at least one public key',
      details: { key: 'auth.jwksFile' },
      cause,
    })
  }
}

/** Throws for what is no set of public keys. */
function parseKeys(text: string): void {
  const set = JSON.parse(text) as JSONWebKeySet
  createLocalJWKSet(set)
  if (set.keys.length === 0) throw new TypeError('the set is empty')
  // Where everybody may look is no place for what tokens are signed with.
  if (set.keys.some(({ d, kty }) => d !== undefined || kty === 'oct')) throw new TypeError('a key in it is private')
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  const isLocal = url?.hostname === 'localhost' || url?.hostname === '127.0.0.1'
  if (url !== undefined && (url.protocol === 'https:' || (url.protocol === 'http:' && isLocal))) return url
  throw new TidemarkError('bad-option', `auth.jwksUrl must begin with https, and is ${quote(text)}`, {
    remedy: 'Whoever changes keys on their way signs tokens: only on this machine http will do',
    details: { key: 'auth.jwksUrl' },
  })
}
