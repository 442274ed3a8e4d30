/**
 * A port for a server that is started later, or again and again.
 *
 * The ports that systems give to connections and to whoever asks for any begin at 32,768 or above: one of those would be
 * given to somebody else between two lives of the server. Each process begins its search elsewhere.
 */
import { once } from 'node:events'
import { createServer } from 'node:net'

const FIRST_PORT = 12_000
const PORTS = 20_000
const STEP = 7_919

let tried = process.pid

/** One that nobody listens on now. */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = FIRST_PORT + ((tried++ * STEP) % PORTS)
    const probe = createServer()
    const isFree = await new Promise<boolean>((resolve) => {
      probe.once('error', () => resolve(false))
      probe.listen(port, '127.0.0.1', () => resolve(true))
    })
    if (!isFree) continue
    probe.close()
    await once(probe, 'close')
    return port
  }
}
