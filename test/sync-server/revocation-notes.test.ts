/**
 * What an upstream says is revoked: told in parts, taken whole, and lifted when it stands there no more.
 */
import { describe, expect, it } from 'vitest'
import { parseTenantName } from '../../core/index.ts'
import { RevocationInbox, toNotes } from '../../sync-server/revocation-notes.ts'
import { FOR_EVER, type Revocation, Revocations } from '../../tenant/index.ts'

const tenant = parseTenantName('acme')
const entryOf = (number: number): Revocation => ({
  type: 'token',
  tenant,
  name: `t${number}`,
  issuedThroughMs: 0,
  untilMs: FOR_EVER,
})

function open(isKept = true) {
  const revocations = new Revocations()
  const faults: unknown[] = []
  const manager = {
    revocations,
    revoke: async (entry: Revocation): Promise<void> => {
      if (!isKept) throw new RangeError('the disk is full')
      revocations.add(entry)
    },
    liftRevocation: async (entry: Revocation): Promise<boolean> => revocations.lift(entry),
  }
  const inbox = new RevocationInbox({ tenant, manager, onFault: (error) => void faults.push(error) })
  const tell = async (list: readonly Revocation[]): Promise<void> => {
    for (const note of toNotes(list)) expect(inbox.take(JSON.parse(JSON.stringify(note)))).toBe(true)
    await new Promise((resolve) => setImmediate(resolve))
  }
  const names = (): string[] => revocations.list(tenant).map(({ name }) => name)
  return { inbox, revocations, faults, tell, names }
}

describe('what an upstream has revoked', () => {
  it('RN1: counts when the last part is there, and is lifted when it stands in the list no more', async () => {
    const { inbox, revocations, tell, names } = open()
    revocations.add(entryOf(1_000))
    const list = [...Array(600).keys()].map(entryOf)
    const notes = toNotes(list)
    expect(notes.length).toBeGreaterThan(1)
    for (const note of notes) expect(JSON.stringify(note).length).toBeLessThan(16_000)
    for (const note of notes.slice(0, -1)) inbox.take({ ...note })
    await new Promise((resolve) => setImmediate(resolve))
    expect(names()).toEqual(['t1000'])
    inbox.restart()
    await tell(list)
    expect(names()).toHaveLength(601)
    await tell([entryOf(7)])
    expect(names().sort()).toEqual(['t1000', 't7'])
    await tell([])
    expect(names()).toEqual(['t1000'])
  })

  it('RN1: is lifted by the first list of a relay that was away when it was lifted, and what was revoked here is not', async () => {
    const { revocations, tell } = open()
    for (const number of [1, 2]) revocations.add({ ...entryOf(number), isInherited: true })
    revocations.add(entryOf(1))
    await tell([entryOf(2)])
    expect(revocations.list(tenant)).toEqual([{ ...entryOf(2), isInherited: true }, entryOf(1)])
    await tell([])
    expect(revocations.list(tenant)).toEqual([entryOf(1)])
    expect(revocations.hasReplica(tenant, 't1')).toBe(false)
  })

  it('TV4: is told on once where it is revoked here too, until the later time', async () => {
    const both = [entryOf(1), { ...entryOf(1), isInherited: true, issuedThroughMs: 7, untilMs: 9 }]
    expect(toNotes(both)).toEqual([{ revocations: [['token', 't1', 7, FOR_EVER]], isLast: true }])
  })

  it.each([
    ['no list', { revocations: 'all', isLast: true }],
    ['an unknown kind', { revocations: [['planet', 'x', 0, 1]], isLast: true }],
    ['a time that is none', { revocations: [['token', 'x', 0, 'soon']], isLast: true }],
    ['an entry that is none', { revocations: [null], isLast: true }],
  ])('RN2: counts for nothing with %s', async (_, said) => {
    const { inbox, names } = open()
    expect(inbox.take(said)).toBe(false)
    await new Promise((resolve) => setImmediate(resolve))
    expect(names()).toEqual([])
  })

  it('is told to the operator where it cannot be kept, and tried again with the next list', async () => {
    const { faults, tell } = open(false)
    await tell([entryOf(1)])
    await tell([entryOf(1)])
    expect(faults).toHaveLength(2)
  })
})
