/**
 * A relay's part in the link to its upstream: it passes on its log, as it has admitted it, and reads that one's.
 *
 * Knows: how a relay joins the family of its upstream, when it has caught up. Must never know: the relay's own clients.
 */
import { rememberedTables } from './definitions.ts'
import { InvariantError } from './errors.ts'
import { Exchange, peerServer } from './exchange.ts'
import { definedMeanwhile, isCatchingUp, joinFamily, noteCaughtUp } from './family.ts'
import { Feeds } from './feeds.ts'
import { packUuid } from './frame.ts'
import type { Shortage } from './gate.ts'
import { LinkGreeter } from './link-greeter.ts'
import type { Part, Role, Stage } from './link-part.ts'
import { LinkReader } from './link-reader.ts'
import { type Ack, type Changes, type Hello, RELAYS_SINCE, type Welcome } from './message.ts'
import { ReceiveChanges } from './receive.ts'
import { logOnly, placeOf } from './resuming.ts'

export const relayRole: Role = { name: 'relay', isInitiator: true, open: (stage) => new RelayPart(stage) }

/** Its upstream has judged what it sends. */
const PEER = peerServer()

class RelayPart implements Part {
  readonly #stage: Stage
  readonly #greeter: LinkGreeter
  readonly #exchange: Exchange
  readonly reader: LinkReader
  /** What is sent: as others are, until the upstream has no room for some of it. */
  #feeds: Feeds
  /** The upstream's id as blocks have it. */
  #upstream: Uint8Array = new Uint8Array(16)
  /** The tables of our hello. */
  #said: Hello['tables'] = []
  /** The mark behind everything that the upstream had. */
  #catchUpToken: number | undefined
  #pause: Shortage | undefined

  constructor(stage: Stage) {
    const { ledger } = stage.hub
    this.#stage = stage
    const greeter = new LinkGreeter(stage, false)
    const exchange = new Exchange(stage.hub)
    this.#greeter = greeter
    this.#exchange = exchange
    this.#feeds = stage.hub.feeds
    this.reader = new LinkReader({
      ledger,
      isByClocks: false,
      save: greeter.saveCursor,
      receive: async (blocks, save) => {
        await exchange.receive(new ReceiveChanges(blocks, { save, peerServer: PEER }))
        return undefined
      },
    })
  }

  readonly initiating: NonNullable<Part['initiating']> = {
    introduce: (withClock) => this.#introduce(withClock),
    takeWelcome: (welcome) => this.#takeWelcome(welcome),
    serverOffsetMs: () => this.#greeter.serverOffsetMs,
  }

  get isReceiving(): boolean {
    return this.#exchange.isReceiving
  }

  get pause(): Shortage | undefined {
    return this.#pause
  }

  readonly resume = (): boolean => {
    this.#pause = undefined
    return true
  }

  #introduce(withClock: boolean): Promise<Hello> {
    const [min, max] = this.#stage.versions
    return this.#greeter.introduce(withClock, [Math.max(min, RELAYS_SINCE), max], async (hello) => {
      const { ledger } = this.#stage.hub
      // What the clients of a relay have brought counts, as far as the upstream has nothing else.
      this.#said = [...(await rememberedTables(ledger))]
      const { meta, family } = ledger.state
      const { logId, epoch } = meta
      const relay = { logId, epoch, position: ledger.durablePosition, post: family?.post || undefined }
      return { ...hello, tables: this.#said, relay }
    })
  }

  async #takeWelcome(welcome: Welcome): Promise<void> {
    const { hub, session, link } = this.#stage
    const { ledger } = hub
    if (!(await this.#greeter.accepts(welcome))) return
    this.#upstream = packUuid(welcome.replica)
    await this.reader.takeWelcome(welcome)
    const { isNews, isOther } = await joinFamily(ledger, welcome, this.#said)
    if (isNews) hub.renew(isOther ? ['upstream', 'server'] : ['upstream'], definedMeanwhile(), link)
    session.begin(await placeOf(ledger, 'relay', welcome.resume ?? { type: 'clock', clock: [] }))
    this.#askCatchUp()
  }

  /** A relay serves once it has what its upstream had in this epoch of its log. */
  #askCatchUp(): void {
    const { hub, askMark } = this.#stage
    if (isCatchingUp(hub.ledger.state)) this.#catchUpToken = askMark({ ownSeq: 0, position: 0 })
  }

  readonly marked = async (token: number): Promise<void> => {
    const { cursor } = this.reader
    if (token === this.#catchUpToken && cursor !== undefined) await this.#stage.hub.ledger.submit(noteCaughtUp(cursor))
  }

  readonly read: Part['read'] = (place, bytesMax) => {
    if (place.type !== 'log') throw logOnly()
    return this.#feeds.read(place, bytesMax, this.#upstream, this.#exchange.isFromPeer)
  }

  readonly take: Part['take'] = async (messages) => {
    const [first] = messages
    switch (first?.type) {
      case 'changes':
        await this.reader.takeChanges(messages as readonly Changes[])
        this.#stage.session.logGrew()
        return undefined
      case 'ack':
        this.#takeAck(first)
        return undefined
      default:
        throw new InvariantError(`a ${first?.type} message came to a relay`)
    }
  }

  /** There is no room at the upstream for what comes from there on. */
  #takeAck({ throughSeq, pause }: Ack): void {
    if (pause === undefined) return
    this.#pause = pause
    // What had no room may have it with what came behind: it is read anew, not as it was sent before.
    this.#feeds = new Feeds(this.#stage.hub.ledger)
    this.#stage.hold({ type: 'log', position: throughSeq }, pause)
  }

  readonly committed = (): undefined => {
    this.#greeter.expectIdentity(this.#stage.hub.ledger.state)
  }
}
