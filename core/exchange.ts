/**
 * An exchange: the logs of two servers of one family, each of which goes into the other's. What came from there need not go back.
 *
 * Knows: which stretches of our log came from the peer. Must never know: positions of the peer's log, who admits what.
 */
import type { Hub } from './hub.ts'
import type { ReceiveChanges, Received } from './receive.ts'
import { type Stretch, Stretches } from './stretches.ts'

export class Exchange {
  readonly #hub: Hub
  readonly #fromPeer = new Stretches()
  #isReceiving = false

  constructor(hub: Hub) {
    this.#hub = hub
  }

  /** While it is, our log grows by what the peer need not be sent, which is known as such only afterwards. */
  get isReceiving(): boolean {
    return this.#isReceiving
  }

  /** Whether a stretch of our log came from the peer. */
  readonly isFromPeer = (stretch: Stretch): boolean => this.#fromPeer.has(stretch)

  async receive(changes: ReceiveChanges): Promise<Received> {
    this.#isReceiving = true
    try {
      const received = await this.#hub.ledger.submit(changes)
      this.#fromPeer.add(received)
      return received
    } finally {
      this.#isReceiving = false
    }
  }
}
