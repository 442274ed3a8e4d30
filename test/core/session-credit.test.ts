/**
 * Credit, as the sender counts it: since when a reader deals with nothing of what it was sent.
 */
import { expect, test } from 'vitest'
import { encodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import { parseReplicaId } from '../../core/names.ts'
import type { FeedPlace } from '../../core/outflow.ts'
import { Session } from '../../core/session.ts'
import { Random } from '../simulation/random.ts'

const LIMITS = { ...DEFAULT_LIMITS, creditBytes: 1_000 }
const PLACE: FeedPlace = { type: 'log', position: 1 }

/** A server's side of a session whose stream begins. */
function streaming(): Session {
  const session = new Session('server', false, LIMITS)
  const hello = {
    type: 'hello',
    versions: [1, 1],
    tenant: 'acme',
    replica: parseReplicaId(new Random('reader').uuid()),
    isMesh: false,
    ownSeq: 0,
    ackedSeq: 0,
    fingerprint: new Uint8Array(0),
    resume: { type: 'clock', clock: [] },
    tables: [],
  } as const
  session.receive(encodeFrame(hello))
  const from = { type: 'log', position: 1 } as const
  const welcome = {
    type: 'welcome',
    version: 1,
    replica: parseReplicaId(new Random('server').uuid()),
    logId: new Random('log').uuid(),
    epoch: 1,
    position: 100,
    yourSeq: 0,
    fingerprint: new Uint8Array(0),
    refusals: [],
    from,
    time: 0,
    resume: undefined,
  } as const
  session.accept(welcome, from)
  return session
}

/** The next read of the log comes to so many bytes. */
function feed(session: Session, bytes: number, isEnd: boolean): void {
  session.logGrew()
  session.feed({ frames: [new Uint8Array(bytes)], next: PLACE, isEnd })
}

const grant = (bytes: number): Uint8Array => encodeFrame({ type: 'credit', bytes })

test('a reader owes credit from the frame on for which it should give some, also while there is nothing else for it', () => {
  const session = streaming()
  feed(session, 240, true)
  // So much a reader may have dealt with without giving credit for it.
  expect(session.owedAt).toBeUndefined()
  feed(session, 10, true)
  expect(session.owedAt).toBe(0)
  expect(session.isStarved).toBe(false)
  feed(session, 750, false)
  expect(session.owedAt).toBe(0)
  expect(session.isStarved).toBe(true)
})

test('credit that does not come to what is owed shows that the reader deals with something', () => {
  const session = streaming()
  feed(session, 1_000, false)
  session.receive(grant(100))
  expect(session.owedAt).toBe(100)
  session.receive(grant(900))
  expect(session.owedAt).toBeUndefined()
  expect(session.isStarved).toBe(false)
})
