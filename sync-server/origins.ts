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

/** `*` in the list: all of them. `mayBegin`: asked about requests that are otherwise in order and begin a transport. */
export function originOptions(
  isDev: boolean,
  origins: readonly string[],
  mayBegin: (request: IncomingMessage) => boolean,
): Required<Pick<SocketOptions, 'allowRequest' | 'cors'>> {
  const isAllowed = isDev ? isLoopbackUrl : (origin: string) => origins.includes(origin) || origins.includes('*')
  const isOurs = (request: IncomingMessage): boolean =>
    isFrom(request, isAllowed) && (!isDev || hasLoopbackHost(request))
  return {
    allowRequest: (request, decide) => decide(null, isOurs(request) && (goesOn(request) || mayBegin(request))),
    cors: { origin: (origin, decide) => decide(null, origin !== undefined && isAllowed(origin)) },
  }
}

/** A transport that is there already has an id. */
function goesOn({ url = '' }: IncomingMessage): boolean {
  return new URLSearchParams(url.split('?')[1] ?? '').has('sid')
}

function isFrom({ headers }: IncomingMessage, isAllowed: (origin: string) => boolean): boolean {
  return headers.origin === undefined || isAllowed(headers.origin)
}

function hasLoopbackHost({ headers }: IncomingMessage): boolean {
  return headers.host !== undefined && isLoopbackUrl(headers.host)
}
