/**
 * The part of a peer without a server: both admit for themselves, and each reads the other's log.
 *
 * Knows: that peers go by clocks. Must never know: servers, gates, snapshots.
 */
import { packUuid } from './frame.ts'
import { LinkGreeter } from './link-greeter.ts'
import type { Part, Role, Stage } from './link-part.ts'
import { LinkReader } from './link-reader.ts'
import {
  composeWelcome,
  expectAnother,
  expectTenant,
  MeetReplica,
  mayNotRelay,
  negotiate,
  readStream,
  standingOf,
} from './meeting.ts'
import type { Changes, Hello, Welcome } from './message.ts'
import { ReceiveChanges } from './receive.ts'
import { logOnly, placeOf } from './resuming.ts'

/** Of two peers, who says hello. */
export const meshInitiator: Role = { name: 'mesh', isInitiator: true, open: openInitiator }
/** Of two peers, who answers. */
export const meshAcceptor: Role = { name: 'mesh', isInitiator: false, open: openAcceptor }

function openInitiator(stage: Stage): Part {
  const { hub, session } = stage
  const greeter = new LinkGreeter(stage, true)
  const peer = openPeer(stage)
  const takeWelcome = async (welcome: Welcome): Promise<void> => {
    if (!(await greeter.accepts(welcome))) return
    await peer.reader.takeWelcome(welcome)
    session.begin(await placeOf(hub.ledger, 'mesh', welcome.resume ?? { type: 'clock', clock: [] }))
  }
  return {
    ...peer,
    initiating: {
      introduce: (withClock) => greeter.introduce(withClock),
      takeWelcome,
      serverOffsetMs: () => greeter.serverOffsetMs,
    },
    committed: () => {
      greeter.expectIdentity(hub.ledger.state)
      return undefined
    },
  }
}

function openAcceptor(stage: Stage): Part {
  return { ...openPeer(stage), accepting: (hello, nowMs) => meetPeer(stage, hello, nowMs), committed: () => undefined }
}

async function meetPeer({ hub, session, link, ...stage }: Stage, hello: Hello, nowMs: number): Promise<void> {
  const { ledger } = hub
  await ledger.catchUp()
  const version = negotiate(hello, stage.versions)
  expectTenant(ledger, hello, true)
  expectAnother(ledger, hello)
  if (hello.relay !== undefined) throw mayNotRelay()
  const { epoch } = ledger.state.meta
  const place = await placeOf(ledger, 'mesh', hello.resume)
  const met = await ledger.submit(new MeetReplica(hello, { tables: stage.tables, nowMs }))
  // A copy must not fence its original.
  await readStream(ledger, met.replica, hello)
  await hub.othersLeft(hello.replica)
  // The transport may have gone meanwhile: a session that is over must not fence the one that came after it.
  if (session.state === 'closed') return
  stage.meetPeer(hello.replica)
  hub.enter(link)
  const welcome = await composeWelcome(ledger, hello, { ...met, version, epoch, place }, nowMs)
  session.accept({ ...welcome, resume: standingOf(ledger) }, place)
}

/** What both do. */
function openPeer({ hub, link }: Stage): Pick<Part, 'reader' | 'read' | 'take'> {
  const { ledger, feeds } = hub
  const reader = new LinkReader({
    ledger,
    isByClocks: true,
    receive: async (blocks) => {
      await ledger.submit(new ReceiveChanges(blocks))
      return undefined
    },
  })
  return {
    reader,
    read: (place, bytesMax) => {
      if (place.type !== 'log' || link.peer === undefined) throw logOnly()
      return feeds.read(place, bytesMax, packUuid(link.peer), () => false)
    },
    take: async (messages) => {
      await reader.takeChanges(messages as readonly Changes[])
      return undefined
    },
  }
}
