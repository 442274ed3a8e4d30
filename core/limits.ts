/**
 * Every limit of the engine, in one place: name with its unit last, default, and why it is what it is.
 *
 * Invariants:
 * L1  Limits can be lowered by configuration, never raised, except where the comment says so.
 * L2  The relations between limits that other rooms rely on are asserted when this module loads.
 */
import { invariant, TidemarkError } from './errors.ts'

const KIB = 1024
const MIB = 1024 * KIB

export interface Limits {
  /** One frame on the wire. Below every default of proxies and of the transport (Socket.IO closes at its own limit). */
  readonly frameBytesMax: number
  /** One change, encoded. May be raised up to `transactionBytesMax`; a row is meant to be a record, not a file. */
  readonly changeBytesMax: number
  /** One transaction, encoded: it is never split, so it has to fit a frame with room for the envelope. */
  readonly transactionBytesMax: number
  /** Changes of one transaction, and of one pushed block. */
  readonly transactionChangesMax: number
  /** UTF-8 bytes of a row id, and of a key inside a value. */
  readonly idBytesMax: number
  /** Characters (ASCII) of a table or field name; the same as PostgreSQL's identifiers. */
  readonly nameBytesMax: number
  readonly fieldsPerRowMax: number
  /** Arrays and objects inside each other; decoders of all languages manage this without recursion trouble. */
  readonly valueDepthMax: number
  /** Concurrent heads of one row. The next concurrent write has to cover at least one of them. */
  readonly headsPerRowMax: number
  /** Distinct table and field names of one tenant: they are held in memory, so a writer must not invent them freely. */
  readonly namesPerTenantMax: number
  /** Bytes under way in each direction before the receiver has granted more. */
  readonly creditBytes: number
  /** Bytes queued in the transport for one connection before it counts as stalled. */
  readonly bufferedBytesMax: number
  /** How long a connection may stay stalled before it is closed. Who reads nothing is gone within 30 s, also if the server is busy. */
  readonly stalledMs: number
  /** How long a socket may take to say hello. */
  readonly helloMs: number
  /** How far ahead of the server a timestamp may be. */
  readonly skewMs: number
  /** Bad frames before the socket is closed. */
  readonly badFramesMax: number
}

export const DEFAULT_LIMITS: Limits = {
  frameBytesMax: MIB,
  changeBytesMax: 256 * KIB,
  transactionBytesMax: MIB - 4 * KIB,
  transactionChangesMax: 1000,
  idBytesMax: 512,
  nameBytesMax: 63,
  fieldsPerRowMax: 256,
  valueDepthMax: 16,
  headsPerRowMax: 64,
  namesPerTenantMax: 16_384,
  creditBytes: MIB,
  bufferedBytesMax: 4 * MIB,
  stalledMs: 25_000,
  helloMs: 5_000,
  skewMs: 60_000,
  badFramesMax: 3,
}

/** What is stored or was admitted elsewhere is read by these: it was within the limits that held there and then. */
export const STORED_LIMITS: Limits = { ...DEFAULT_LIMITS, changeBytesMax: DEFAULT_LIMITS.transactionBytesMax }

/**
 * How long a server that was restored from a backup waits for changes that it lost and their writers still have. A week: most
 * devices are switched on once in that time.
 */
export const RECOVERY_MS: number = 7 * 86_400_000

/** The envelope around blocks in a frame: message type, positions, lengths. */
export const FRAME_OVERHEAD_BYTES = 64

/** How many bytes of blocks the engine aims to put in one frame, one log record or one snapshot chunk. */
export const BATCH_BYTES_TARGET: number = 256 * KIB

/** So much a session begins with, and doubles it with each frame: of a line that breaks soon, something has to come whole. */
export const FIRST_BATCH_BYTES: number = 16 * KIB

function assertRelations(limits: Limits): void {
  invariant(limits.transactionBytesMax + FRAME_OVERHEAD_BYTES <= limits.frameBytesMax, 'a transaction fits a frame')
  invariant(limits.changeBytesMax <= limits.transactionBytesMax, 'a change fits a transaction')
  invariant(limits.creditBytes >= limits.transactionBytesMax, 'a transaction fits the credit window')
  invariant(limits.idBytesMax + 64 <= limits.changeBytesMax, 'an id fits a change')
}

assertRelations(DEFAULT_LIMITS)

/** The defaults with the given limits lowered. Throws `bad-option` for a limit that is raised or not a positive integer. */
export function parseLimits(lowered: Partial<Limits> = {}): Limits {
  const limits = { ...DEFAULT_LIMITS }
  for (const [name, value] of Object.entries(lowered)) {
    if (!(name in DEFAULT_LIMITS))
      throw new TidemarkError('bad-option', `there is no limit named ${JSON.stringify(name)}`)
    const key = name as keyof Limits
    const ceiling = key === 'changeBytesMax' ? DEFAULT_LIMITS.transactionBytesMax : DEFAULT_LIMITS[key]
    if (!Number.isSafeInteger(value) || value < 1 || value > ceiling) {
      throw new TidemarkError('bad-option', `limit ${name} must be a whole number from 1 to ${ceiling}, not ${value}`)
    }
    limits[key] = value
  }
  assertRelations(limits)
  return limits
}
