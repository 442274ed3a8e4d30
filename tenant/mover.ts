/**
 * Movers: who moves a tenant at present, so that two never do, and a dead one leaves nobody stuck.
 *
 * A move is work of one process on two stores, and only the registry can say that it is through. So each run of a move
 * writes its name into the tenant's record when it begins, and every later change of it is made only while the name is
 * still there. Whoever takes a move over writes another name: the one before cannot say anything any more, even when it
 * was only slow. While nobody may use the tenant, the mover shows that it is alive by counting in the record.
 *
 * Knows: the registry. Must never know: stores, what moving is.
 *
 * Invariants:
 * MV1  Of all movers of a tenant only the last one can change its record, in whatever process they are.
 * MV2  A cut is given up for another process only when its mover has shown no sign of life for `PATIENCE_MS`, by the clock
 *      of whoever waits. Giving up one that lives costs it its work, never data.
 */
import { createReplicaId, type TenantName, TidemarkError } from '../core/index.ts'
import { isBeingCut, type TenantRecord, type TenantRegistry, withoutCut } from './registry.ts'

/** One run of a move. */
export interface Mover {
  /** The record as the mover took it over. */
  readonly record: TenantRecord
  /** Changes the record. Throws `unavailable` once somebody else has taken over (MV1). */
  update(change: (record: TenantRecord) => TenantRecord): Promise<TenantRecord>
  /** An update has shown that. */
  readonly isTakenOver: boolean
}

interface Sign {
  readonly id: string
  readonly beat: number
  readonly sinceMs: number
}

/** Some of the beats that a living mover makes. */
const PATIENCE_MS = 10_000

export class Movers {
  readonly #registry: TenantRegistry
  readonly #monotonicMs: () => number
  /** Of this process; the names of its movers begin with it. */
  readonly #process: string = createReplicaId()
  readonly #atWork = new Map<TenantName, string>()
  /** The last sign of life of movers elsewhere. */
  readonly #signs = new Map<TenantName, Sign>()
  #runs = 0

  constructor(registry: TenantRegistry, monotonicMs: () => number) {
    this.#registry = registry
    this.#monotonicMs = monotonicMs
  }

  /** Takes the tenant over, from whoever moved it; `begin` may refuse by throwing. One at a time of each tenant. */
  async engage<Result>(
    name: TenantName,
    begin: (record: TenantRecord | undefined) => TenantRecord,
    work: (mover: Mover) => Promise<Result>,
  ): Promise<Result> {
    const id = `${this.#process}/${++this.#runs}`
    this.#atWork.set(name, id)
    try {
      const record = await this.#registry.update(name, (before) => ({ ...begin(before), mover: { id, beat: 0 } }))
      return await work(new EngagedMover(this.#registry, record as TenantRecord, id))
    } finally {
      this.#atWork.delete(name)
    }
  }

  /** For a timer: shows that the movers of this process are alive. */
  async beat(): Promise<void> {
    for (const [name, id] of this.#atWork) {
      await this.#registry.update(name, (record) => {
        if (record?.mover?.id !== id || !isBeingCut(record)) return record
        return { ...record, mover: { id, beat: record.mover.beat + 1 } }
      })
    }
  }

  /** The record of a tenant that somebody wants to use: a cut that nobody goes on with is given up for it. */
  async giveUpDeadCut(record: TenantRecord): Promise<TenantRecord | undefined> {
    const { name, mover } = record
    if (!isBeingCut(record)) this.#signs.delete(name)
    if (!isBeingCut(record) || !this.#isDead(record)) return record
    return this.#registry.update(name, (current) => {
      if (current === undefined || current.mover?.id !== mover?.id || !isBeingCut(current)) return current
      return { ...withoutCut(current), mover: undefined }
    })
  }

  /** MV2 */
  #isDead({ name, mover: { id, beat } = { id: '', beat: 0 } }: TenantRecord): boolean {
    if (id.startsWith(this.#process)) return this.#atWork.get(name) !== id
    const nowMs = this.#monotonicMs()
    const last = this.#signs.get(name)
    if (last?.id === id && last.beat === beat) return nowMs - last.sinceMs >= PATIENCE_MS
    this.#signs.set(name, { id, beat, sinceMs: nowMs })
    return false
  }
}

class EngagedMover implements Mover {
  readonly record: TenantRecord
  readonly #registry: TenantRegistry
  readonly #id: string
  #isTakenOver = false

  constructor(registry: TenantRegistry, record: TenantRecord, id: string) {
    this.#registry = registry
    this.record = record
    this.#id = id
  }

  get isTakenOver(): boolean {
    return this.#isTakenOver
  }

  async update(change: (record: TenantRecord) => TenantRecord): Promise<TenantRecord> {
    const { name } = this.record
    const changed = await this.#registry.update(name, (record) => {
      this.#isTakenOver = record?.mover?.id !== this.#id
      if (record === undefined || this.#isTakenOver) throw takenOver(name)
      return change(record)
    })
    return changed as TenantRecord
  }
}

function takenOver(name: TenantName): TidemarkError {
  return new TidemarkError('unavailable', `the move of tenant ${name} was taken over, or given up`, {
    remedy: 'See where it stands with `tidemark tenants show`; this one has changed nothing since',
  })
}
