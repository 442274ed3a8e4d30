/**
 * Counting: what a write makes of the parts of counters that its row has.
 *
 * Knows: parts of counters. Must never know: tables, stores, who else counts.
 *
 * Invariants:
 * G3  An increment goes on with its writer's run, and carries along what that run's whole-row write had seen.
 * G4  A whole-row write begins a run in every counter that the row had, from zero where it says nothing, and says how far it has
 *     seen every other replica count.
 */
import { type CounterPart, decodePart, encodePart, isCounter, keepFurthest, type SeenPart, seenBy } from './counter.ts'
import type { Dictionary } from './dictionary.ts'
import type { RowState, Stamp, Version } from './row.ts'

/** Makes increments, which say by how much, parts of the replica that wrote them. `row`: what the writer saw. */
export function goOn(written: readonly Version[], row: RowState, replicas: Dictionary): void {
  for (const version of written) {
    if (!isCounter(version)) continue
    const parts = partsOf(row, version.name)
    const own = parts.find(({ stamp }) => stamp.replica === version.stamp.replica)
    if (own === undefined) continue
    const { total, age, seen } = decodePart(own.bytes, own.start)
    setPart(version, {
      total: total + decodePart(version.bytes, version.start).total,
      age: version.stamp.seq - own.stamp.seq + age,
      seen: seen.filter((part) => !isOver(part, parts, replicas)),
    })
  }
}

/** True when a replica has begun another run since: its earlier one comes nowhere any more. */
function isOver({ replica, seq }: SeenPart, parts: readonly Version[], replicas: Dictionary): boolean {
  const part = parts.find(({ stamp }) => replicas.textOf(stamp.replica) === replica)
  return part !== undefined && seq < part.stamp.seq - decodePart(part.bytes, part.start).age
}

/** The versions of a whole-row write, with what it has seen of the counters of the row. */
export function beginAnew(
  written: readonly Version[],
  row: RowState,
  stamp: Stamp,
  replicas: Dictionary,
): readonly Version[] {
  const names = new Set(row.versions.filter(isCounter).map(({ name }) => name))
  if (names.size === 0) return written
  const versions = written.slice()
  for (const name of names) {
    const furthest = furthestSeen(partsOf(row, name), replicas)
    furthest.delete(replicas.textOf(stamp.replica))
    const seen = inOrder(furthest.values())
    const version = versions.find((each) => each.name === name)
    if (version === undefined) versions.push(toVersion(name, stamp, { total: 0, age: 0, seen }))
    else if (isCounter(version)) {
      setPart(version, { total: decodePart(version.bytes, version.start).total, age: 0, seen })
    }
  }
  return versions.sort((a, b) => a.name - b.name)
}

/** By replica what is there, or what those who began anew before had seen of it. */
export function furthestSeen(parts: readonly Version[], replicas: Dictionary): Map<string, SeenPart> {
  const furthest = new Map(seenBy(parts, replicas))
  for (const { bytes, start, stamp } of parts) {
    const { total } = decodePart(bytes, start)
    keepFurthest(furthest, { replica: replicas.textOf(stamp.replica), seq: stamp.seq, total })
  }
  return furthest
}

export function inOrder(parts: Iterable<SeenPart>): readonly SeenPart[] {
  return [...parts].sort((a, b) => (a.replica < b.replica ? -1 : 1))
}

export function partsOf(row: RowState, name: number): readonly Version[] {
  return row.versions.filter((version) => version.name === name && isCounter(version))
}

/** Versions are made anew for each write, so this one is still the writer's own. */
export function setPart(version: Version, part: CounterPart): void {
  version.bytes = encodePart(part)
  version.start = 0
  version.end = version.bytes.length
}

function toVersion(name: number, stamp: Stamp, part: CounterPart): Version {
  const bytes = encodePart(part)
  return { name, stamp, bytes, start: 0, end: bytes.length }
}
