/**
 * A client's part in a link: it pushes its own changes to a server, and reads that one's log.
 *
 * Knows: answers, snapshots, the home. Must never know: what a server does with a push.
 */
import { InvariantError, type TidemarkError } from './errors.ts'
import type { Incoming } from './inflow.ts'
import { LinkGreeter } from './link-greeter.ts'
import type { Part, Role, Stage } from './link-part.ts'
import { LinkReader } from './link-reader.ts'
import { LinkWriter } from './link-writer.ts'
import type { Ack, Changes, Welcome } from './message.ts'
import { ReceiveChanges } from './receive.ts'
import { findingOut } from './shared-past.ts'

export const clientRole: Role = { name: 'client', isInitiator: true, open: openClient }

function openClient(stage: Stage): Part {
  const { hub, session, now } = stage
  const { ledger } = hub
  const greeter = new LinkGreeter(stage, false)
  const writer = new LinkWriter({ hub, greeter, serverNow: () => now() + greeter.serverOffsetMs })
  const reader = new LinkReader({
    ledger,
    isByClocks: false,
    save: greeter.saveCursor,
    receive: async (blocks, save) => {
      await ledger.submit(new ReceiveChanges(blocks, { save }))
      return undefined
    },
  })
  const takeWelcome = async (welcome: Welcome): Promise<void> => {
    if (!(await greeter.accepts(welcome))) return
    await reader.takeWelcome(welcome)
    const { logId, family, post = logId } = welcome
    session.begin(await writer.takeWelcome(welcome, { home: post, family }))
  }
  const takeAck = async (ack: Ack): Promise<void> => {
    const { throughSeq, pause, time } = ack
    if (time !== undefined) greeter.hearTime(time)
    await writer.takeAck(ack)
    if (pause !== undefined) stage.hold({ type: 'own', afterSeq: throughSeq }, pause)
  }
  return {
    initiating: {
      introduce: (withClock) => greeter.introduce(withClock),
      takeWelcome,
      serverOffsetMs: () => greeter.serverOffsetMs,
    },
    reader,
    read: (place, bytesMax) => {
      if (place.type !== 'own') throw new InvariantError('a client sends what it wrote, and nothing else')
      return writer.read(place, bytesMax)
    },
    take: async (messages) => {
      const [first] = messages
      if (first?.type === 'ack') await takeAck(first)
      else if (first?.type === 'changes') await reader.takeChanges(messages as readonly Changes[])
      else if (first !== undefined) await takeSnapshot(reader, first)
      return undefined
    },
    committed: () => {
      writer.expectHome()
      greeter.expectIdentity(ledger.state)
      return undefined
    },
    explain: (reason: TidemarkError | undefined) => (writer.isStillShared(reason) ? findingOut() : reason),
    end: () => writer.end(),
    get pause() {
      return writer.pause
    },
    resume: () => writer.resume(),
    withdraw: (choose) => writer.withdraw(choose, () => session.state === 'streaming'),
  }
}

async function takeSnapshot(reader: LinkReader, message: Incoming): Promise<void> {
  switch (message.type) {
    case 'snapshot-begin':
      return reader.beginSnapshot(message)
    case 'snapshot-rows':
      return reader.takeRows(message)
    case 'snapshot-end':
      return reader.endSnapshot()
    default:
      throw new InvariantError(`a ${message.type} message came to a client`)
  }
}
