/**
 * What the server answers over plain HTTP: whether the process is up, and whether it takes connections.
 */
import type { RequestListener, ServerResponse } from 'node:http'

/** `undefined`: ready. Otherwise why not. */
export type Unready = 'draining' | 'store-failed' | undefined

export function answerHealth(readUnready: () => Unready): RequestListener {
  return (request, response) => {
    const path = request.url?.split('?', 1)[0]
    if (path === '/healthz') return answer(response, 200, { status: 'up' })
    if (path !== '/readyz') return answer(response, 404, { status: 'not-found' })
    const unready = readUnready()
    answer(response, unready === undefined ? 200 : 503, { status: unready ?? 'ready' })
  }
}

function answer(response: ServerResponse, code: number, body: object): void {
  response.writeHead(code, { 'content-type': 'application/json', 'cache-control': 'no-store' })
  response.end(`${JSON.stringify(body)}\n`)
}
