/**
 * Origins: whose web pages may connect. Browsers say where a page came from; programs say nothing.
 *
 * Invariants:
 * OR1  A page of an origin that is not listed is refused, over every transport: a page that somebody happens to have open
 *      is somebody else's code, in a browser that may reach more than its author can.
 * OR2  To a development server only pages of this machine connect, under a name of this machine (DNS rebinding).
 */
import type { IncomingMessage } from 'node:http'
import type { ServerOptions as SocketOptions } from 'socket.io'
import { isLoopbackUrl } from './loopback.ts'

/** `*` in the list: all of them. */
export function originOptions(
  isDev: boolean,
  origins: readonly string[],
): Required<Pick<SocketOptions, 'allowRequest' | 'cors'>> {
  const isAllowed = isDev ? isLoopbackUrl : (origin: string) => origins.includes(origin) || origins.includes('*')
  return {
    allowRequest: (request, decide) => decide(null, isFrom(request, isAllowed) && (!isDev || hasLoopbackHost(request))),
    cors: { origin: (origin, decide) => decide(null, origin !== undefined && isAllowed(origin)) },
  }
}

function isFrom({ headers }: IncomingMessage, isAllowed: (origin: string) => boolean): boolean {
  return headers.origin === undefined || isAllowed(headers.origin)
}

function hasLoopbackHost({ headers }: IncomingMessage): boolean {
  return headers.host !== undefined && isLoopbackUrl(headers.host)
}
