/**
 * A wire between two links in one process, which can break after any frame.
 *
 * Knows: frames in order, each in a turn of its own. Must never know: what they say.
 */
import { Link, type LinkOptions, type Transport } from '../../core/index.ts'

export type WireEnd = Omit<LinkOptions, 'transport'>

/** Lets two exchange everything and then do `work`; with `framesMax`, as far as they get. Throws why they could not. */
export async function converse(
  left: WireEnd,
  right: WireEnd,
  framesMax = Number.POSITIVE_INFINITY,
  work: (initiator: Link) => Promise<unknown> = async () => {},
): Promise<void> {
  let frames = framesMax
  let isCut = false
  const cut = (): void => {
    isCut = true
    queueMicrotask(() => {
      initiator.end()
      acceptor.end()
    })
  }
  const transportTo = (other: () => Link): Transport => {
    let isClosed = false
    return {
      send: (frame) => {
        if (isClosed || isCut) return
        if (frames-- <= 0) return cut()
        queueMicrotask(() => other().receive(frame))
      },
      close: () => {
        isClosed = true
        queueMicrotask(() => other().end())
      },
    }
  }
  const initiator: Link = new Link({ ...left, transport: transportTo(() => acceptor) })
  const acceptor: Link = new Link({ ...right, transport: transportTo(() => initiator) })
  try {
    initiator.start()
    await initiator.settled()
    if (initiator.role === 'mesh') await acceptor.settled()
    await work(initiator)
  } catch (error) {
    if (!isCut) throw initiator.error ?? acceptor.error ?? error
  } finally {
    initiator.end()
    acceptor.end()
  }
}
