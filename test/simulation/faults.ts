/**
 * Faults: everything that a network, a disk, a clock or an operator can do to replicas.
 */
import type { Machine } from './machine.ts'
import type { FaultEvent, LocalFault, NetworkFault, ProcessFault } from './plan.ts'
import type { World } from './world.ts'

export function doFault(world: World, event: FaultEvent): void {
  if (event.type === 'partition') return partition(world, event.nodes, event.forMs)
  if (event.type === 'storm') return storm(world, event.times, event.everyMs)
  const machine = world.machines.get(event.node)
  if (machine === undefined) return
  switch (event.type) {
    case 'crash':
    case 'pause':
    case 'back-up':
    case 'restore':
    case 'restore-server':
    case 'clone':
    case 'vanish':
      return doProcessFault(world, machine, event)
    case 'cut':
    case 'cut-after':
    case 'half-open':
    case 'clog':
    case 'one-way':
    case 'overlap':
    case 'roam':
    case 'stray':
      return doNetworkFault(world, machine, event)
    default:
      return doLocalFault(world, machine, event)
  }
}

// ── Processes and what becomes of their disks ───────────────────────────────────────────────────────────────────────

function doProcessFault(world: World, machine: Machine, event: ProcessFault): void {
  switch (event.type) {
    case 'crash':
      crash(world, machine, event.isSilent)
      return void world.scheduler.after(event.downMs, () => machine.start())
    case 'pause': {
      const { process } = machine
      world.count('pause')
      process?.pause()
      return void world.scheduler.after(event.forMs, () => process?.resume())
    }
    case 'back-up':
      for (const seat of machine.seats) seat.backup = { image: seat.disk.image(), view: seat.view.copy(seat.view.name) }
      return
    case 'restore':
      return restore(world, machine, event.downMs, event.isTail === true)
    case 'restore-server':
      return restoreServer(world, machine, event.downMs)
    case 'clone':
      world.count('cloned store')
      return world.clone(machine, event.as)
    case 'vanish':
      return vanish(world, machine, event.downMs)
  }
}

export function crash(world: World, machine: Machine, isSilent: boolean): void {
  if (machine.process === undefined) return
  world.count(isSilent ? 'silent crash' : 'crash')
  machine.crash()
  for (const { view } of machine.seats) view.endWithdrawals()
  for (const connection of [...world.network.connections]) connection.sideOf(machine.name)?.dropped(isSilent)
}

function restore(world: World, machine: Machine, downMs: number, isTail: boolean): void {
  if (machine.seats.every(({ backup }) => backup === undefined)) return
  crash(world, machine, false)
  world.count(isTail ? 'half-lost store' : 'restored store')
  for (const seat of machine.seats) {
    if (seat.backup === undefined) continue
    const view = seat.backup.view.copy(seat.view.name)
    view.isTainted ||=
      seat.view.isTainted ||
      seat.view.own !== view.own ||
      (seat.view.meta?.ownSeq ?? 0) > (view.meta?.ownSeq ?? 0) ||
      seat.view.rejected.size > view.rejected.size
    const held = [...world.oracle.views].map((other) =>
      other === seat.view ? 0 : (other.clock.get(seat.view.own) ?? 0),
    )
    view.history.forgetWithdrawals(seat.view.own, Math.max(...held))
    seat.disk.load(seat.backup.image)
    world.replaceView(seat, view)
  }
  world.scheduler.after(downMs, () => machine.start())
}

/** What it loses its clients still have: nothing of the oracle goes back but what this disk holds. */
function restoreServer(world: World, machine: Machine, downMs: number): void {
  if (machine.seats.some(({ backup }) => backup === undefined)) return
  crash(world, machine, false)
  world.count('restored server')
  for (const seat of machine.seats) {
    if (seat.backup === undefined) continue
    seat.disk.load(seat.backup.image)
    world.replaceView(seat, seat.backup.view.copy(seat.view.name))
    seat.isRestored = true
  }
  world.scheduler.after(downMs, () => machine.start())
}

function vanish(world: World, machine: Machine, downMs: number): void {
  crash(world, machine, true)
  world.count('vanished store')
  world.empty(machine)
  world.scheduler.after(downMs, () => machine.start())
}

// ── Network ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function doNetworkFault(world: World, machine: Machine, event: NetworkFault): void {
  const { network, scheduler } = world
  const connections = [...network.connections].filter((connection) => connection.sideOf(machine.name) !== undefined)
  switch (event.type) {
    case 'cut':
      for (const connection of connections) connection.cut(event.lateMs)
      return count(world, 'cut', connections.length)
    case 'cut-after':
      for (const { initiator, acceptor } of connections)
        (event.direction === 'up' ? initiator : acceptor).cutAfter(event.bytes)
      return
    case 'half-open':
      for (const { initiator, acceptor } of connections) (event.direction === 'up' ? initiator : acceptor).fallSilent()
      return count(world, 'half-open', connections.length)
    case 'clog':
    case 'one-way': {
      const until = scheduler.now + event.forMs
      for (const peer of peersOf(world, machine)) {
        const [from, to] = event.direction === 'up' ? [machine.name, peer] : [peer, machine.name]
        if (event.type === 'clog') network.clog(from, to, until)
        else network.silence(from, to, until)
      }
      return world.count(event.type)
    }
    case 'overlap':
      for (const dialer of world.dialersOf(machine)) dialer.dial()
      return world.count('overlapping connections')
    case 'roam':
      return world.roam(machine, event.to, event.isHasty)
    case 'stray':
      return world.stray(machine)
  }
}

function count(world: World, kind: string, times: number): void {
  for (let left = times; left > 0; left--) world.count(kind)
}

function peersOf(world: World, machine: Machine): Set<string> {
  return new Set(world.dialersOf(machine).map(({ from, to }) => (from === machine ? to.name : from.name)))
}

function partition(world: World, nodes: readonly string[], forMs: number): void {
  world.count('partition')
  const undo = world.network.partition(new Set(nodes))
  world.scheduler.after(forMs, undo)
}

/** Everybody loses the connection and is back at once, again and again. */
function storm(world: World, times: number, everyMs: number): void {
  world.count('reconnect storm')
  for (let round = 0; round < times; round++) {
    world.scheduler.after(round * everyMs, () => {
      for (const connection of [...world.network.connections]) connection.cut(0)
      for (const dialer of world.dialers) dialer.dial()
    })
  }
}

// ── Disks and clocks ────────────────────────────────────────────────────────────────────────────────────────────────

function doLocalFault(world: World, machine: Machine, event: LocalFault): void {
  const disks = machine.seats.map(({ disk }) => disk)
  const later = (forMs: number, work: () => void): void => void world.scheduler.after(forMs, work)
  switch (event.type) {
    case 'disk-full':
      for (const disk of disks) disk.trouble.setFull(true)
      return later(event.forMs, () => disks.forEach((disk) => void disk.trouble.setFull(false)))
    case 'no-room':
      world.count('tenant over a quota')
      machine.rowsMax = event.rows ?? 0
      machine.noRoomUntil = Math.max(machine.noRoomUntil, world.scheduler.now + event.forMs)
      return
    case 'flush-fails':
      for (const disk of disks) disk.trouble.failNextFlush(event.isKept)
      return
    case 'slow-disk':
      world.count('slow disk')
      for (const disk of disks) disk.trouble.setSlowness(event.factor)
      return later(event.forMs, () => disks.forEach((disk) => void disk.trouble.setSlowness(1)))
    case 'disk-fails':
      for (const disk of disks) disk.trouble.setFailing(true)
      return later(event.forMs, () => disks.forEach((disk) => void disk.trouble.setFailing(false)))
    case 'clock-step':
      world.count(Math.abs(event.offsetMs) > 1e9 ? 'clock jump of years' : 'clock step')
      return machine.clock.setOffset(event.offsetMs)
    case 'clock-drift':
      world.count('clock drift')
      return machine.clock.setDrift(event.drift)
  }
}
