/**
 * What the server listens with: HTTP, or HTTPS with a certificate that can be renewed while it runs.
 *
 * Invariant TL1: a certificate that cannot be used changes nothing: what was in force stays.
 */
import { createServer, type Server as HttpServer, type RequestListener } from 'node:http'
import { createServer as createTlsServer, type Server as HttpsServer } from 'node:https'
import { createSecureContext } from 'node:tls'
import { quote, TidemarkError } from '../core/index.ts'

/** As PEM. */
export interface TlsFiles {
  /** The certificate, and those between it and the root. */
  readonly cert: string
  readonly key: string
}

export interface Listener {
  readonly http: HttpServer | HttpsServer
  readonly isSecure: boolean
  /** From now on new connections get this certificate. Throws `bad-option`. */
  renewTls(tls: TlsFiles): void
}

const HEADERS_MS = 10_000

/** `handshakeMs`: how long a client may take to agree on a cipher. Throws `bad-option`. */
export function createListener(tls: TlsFiles | undefined, handshakeMs: number, answer: RequestListener): Listener {
  if (tls === undefined) {
    const http = createServer(answer)
    http.headersTimeout = HEADERS_MS
    return { http, isSecure: false, renewTls: () => refuse() }
  }
  expectUsable(tls)
  const http = createTlsServer({ ...tls, minVersion: 'TLSv1.2', handshakeTimeout: handshakeMs }, answer)
  http.headersTimeout = HEADERS_MS
  return {
    http,
    isSecure: true,
    renewTls: (renewed) => {
      expectUsable(renewed)
      http.setSecureContext({ ...renewed, minVersion: 'TLSv1.2' })
    },
  }
}

function expectUsable(tls: TlsFiles): void {
  try {
    createSecureContext({ ...tls })
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('bad-option', `the certificate and its key cannot be used: ${why}`, {
      remedy: 'Give tls.cert and tls.key in PEM, of the same certificate',
      cause,
    })
  }
}

function refuse(): never {
  throw new TidemarkError('bad-option', 'the server does not use TLS', { remedy: 'Start it with tls' })
}

/** Why nobody can listen there, and what to do. */
export function listenFailure(host: string, port: number, error: Error): TidemarkError {
  const { code } = error as NodeJS.ErrnoException
  const remedies: Readonly<Record<string, string>> = {
    EADDRINUSE: 'Another program listens there: stop it, or choose another port',
    EACCES: 'Ports below 1024 need privileges: choose a higher one',
    EADDRNOTAVAIL: 'No network interface of this machine has that address',
    ENOTFOUND: 'The name is unknown here: give an address',
  }
  const remedy = remedies[code ?? '']
  return new TidemarkError('unavailable', `cannot listen on ${quote(host)}, port ${port}: ${error.message}`, {
    ...(remedy === undefined ? {} : { remedy }),
    details: { code, host, port },
    cause: error,
  })
}
