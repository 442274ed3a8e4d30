/**
 * Transactions: operations gathered, checked and encoded at the call, written together at the end.
 *
 * Invariants:
 * Z1  What cannot be stored is refused at the call that brought it, so its stack shows where it came from.
 * Z2  Values are encoded at the call: what the app does to its objects afterwards changes nothing.
 */
import { ByteWriter, SMALL_ARRAY_BYTES } from './bytes.ts'
import { decodeField, isCounter } from './counter.ts'
import { TidemarkError } from './errors.ts'
import { encodeFields, NO_FIELDS, ShapeCache } from './fields.ts'
import { idFits, parseRowId } from './keys.ts'
import type { ReadRow, WriteKind, WriteOp } from './local-write.ts'
import { quote } from './names.ts'
import type { Replica } from './replica.ts'
import { type RowOf, type RowPatch, type RowShape, type TableDefinitions, validateRow } from './table.ts'
import type { Value } from './value.ts'

/** What reads and writes of a transaction go through. Do not keep it beyond the transaction. */
export class Transaction<Tables extends TableDefinitions = TableDefinitions> {
  readonly #replica: Replica<Tables>
  readonly #writer: ByteWriter = new ByteWriter(SMALL_ARRAY_BYTES)
  readonly #ops: WriteOp[] = []
  readonly #reads = new Map<string, ReadRow>()
  readonly #handles = new Map<string, TransactionTable<RowShape>>()
  #isSealed = false

  constructor(replica: Replica<Tables>) {
    this.#replica = replica
  }

  table<Name extends Extract<keyof Tables, string>>(name: Name): TransactionTable<RowOf<Tables[Name]>> {
    let handle = this.#handles.get(name)
    if (handle === undefined) {
      this.#replica.table(name)
      handle = new TransactionTable<RowShape>(name, {
        write: (kind, id, object) => this.#write(name, kind, id, object),
        read: (id) => this.#read(name, id),
      })
      this.#handles.set(name, handle)
    }
    return handle as unknown as TransactionTable<RowOf<Tables[Name]>>
  }

  /** Ends the transaction: what it wrote and read. */
  seal(): { readonly ops: readonly WriteOp[]; readonly reads: readonly ReadRow[] } {
    this.#isSealed = true
    return { ops: this.#ops, reads: [...this.#reads.values()] }
  }

  #write(table: string, kind: WriteKind, id: string, object: object | undefined): void {
    if (this.#isSealed)
      throw new TidemarkError('closed', 'the transaction has ended', { remedy: 'Await its calls inside it' })
    const { ledger, tables } = this.#replica
    const { limits } = ledger
    if (this.#ops.length >= limits.transactionChangesMax) {
      throw new TidemarkError('too-large', `a transaction has at most ${limits.transactionChangesMax} changes`, {
        remedy: 'Split it: each part is atomic on its own',
      })
    }
    if (!idFits(parseRowId(id), limits)) {
      throw new TidemarkError('too-large', `a row id has more than ${limits.idBytesMax} bytes`, {
        remedy: 'Shorten it, or use a hash of it',
      })
    }
    if (object === undefined) {
      this.#ops.push({ kind, table, id: parseRowId(id), fields: NO_FIELDS })
      return
    }
    const definition = tables.get(table)
    if (definition?.schema !== undefined && kind !== 'update') validateRow(table, definition, object)
    const shape = shapesOf(this.#replica, table).shapeOf(object)
    if (shape.names.length > limits.fieldsPerRowMax) {
      throw new TidemarkError(
        'too-large',
        `a row has ${shape.names.length} fields; the limit is ${limits.fieldsPerRowMax}`,
        { remedy: 'Put what belongs together into one field as an object' },
      )
    }
    const fields = encodeFields(
      this.#writer,
      shape,
      object as Readonly<Record<string, unknown>>,
      this.#replica.countersOf(table),
      kind === 'insert',
    )
    this.#ops.push({ kind, table, id: parseRowId(id), fields })
  }

  /** The row as this transaction sees it: what is durable, and its own writes over it. */
  async #read(table: string, id: string): Promise<Record<string, Value> | undefined> {
    const state = await this.#replica.readState(table, id)
    const name = `${table}\n${id}`
    if (!this.#reads.has(name)) this.#reads.set(name, { table, id, clock: state.clock })
    let row = this.#replica.toRow(table, id, state)
    for (const op of this.#ops) {
      if (op.table !== table || op.id !== id) continue
      row = op.kind === 'delete' ? undefined : Object.assign(Object.create(null), { id }, row, decodeFields(op, row))
    }
    return row
  }
}

/** What an operation writes over a row: values, and counters with what it adds to them. */
function decodeFields({ fields }: WriteOp, row: Record<string, Value> | undefined): Record<string, Value> {
  const values: Record<string, Value> = {}
  for (const [index, name] of fields.shape.names.entries()) {
    const field = {
      bytes: fields.bytes,
      start: fields.offsets[index] as number,
      end: fields.offsets[index + 1] as number,
    }
    const value = decodeField(field)
    const before = row?.[name]
    values[name] = isCounter(field) && typeof before === 'number' ? before + (value as number) : value
  }
  return values
}

const shapeCaches = new WeakMap<object, Map<string, ShapeCache>>()

/** Shapes outlive transactions, so that each of them finds the last one's. */
function shapesOf(replica: object, table: string): ShapeCache {
  let byTable = shapeCaches.get(replica)
  if (byTable === undefined) {
    byTable = new Map()
    shapeCaches.set(replica, byTable)
  }
  let shapes = byTable.get(table)
  if (shapes === undefined) {
    shapes = new ShapeCache()
    byTable.set(table, shapes)
  }
  return shapes
}

/** Operations on rows whether they exist or not, for those who decide conflicts. */
export class DecidingOps {
  readonly ops: WriteOp[] = []
  readonly #replica: Replica
  readonly #table: string

  constructor(replica: Replica, table: string) {
    this.#replica = replica
    this.#table = table
  }

  update(id: string, values: Readonly<Record<string, unknown>>): void {
    this.#add('update', id, values)
  }

  rewrite(id: string, values: Readonly<Record<string, unknown>>): void {
    this.#add('rewrite', id, values)
  }

  erase(id: string): void {
    this.ops.push({ kind: 'erase', table: this.#table, id, fields: NO_FIELDS })
  }

  #add(kind: WriteKind, id: string, values: Readonly<Record<string, unknown>>): void {
    const counters = this.#replica.countersOf(this.#table)
    const shape = shapesOf(this.#replica, this.#table).shapeOf(expectObject(values))
    const fields = encodeFields(new ByteWriter(SMALL_ARRAY_BYTES), shape, values, counters, kind === 'rewrite')
    this.ops.push({ kind, table: this.#table, id, fields })
  }
}

interface TransactionPort {
  write(kind: WriteKind, id: string, object: object | undefined): void
  read(id: string): Promise<Record<string, Value> | undefined>
}

/** One table inside a transaction. Writes take effect when the transaction ends. */
export class TransactionTable<Row extends RowShape> {
  readonly name: string
  readonly #port: TransactionPort

  constructor(name: string, port: TransactionPort) {
    this.name = name
    this.#port = port
  }

  async get(id: string): Promise<Row | undefined> {
    return (await this.#port.read(id)) as unknown as Row | undefined
  }

  insert(row: Row): void {
    this.#port.write('insert', row.id, expectObject(row))
  }

  update(id: string, patch: RowPatch<Row>): void {
    if ('id' in expectObject(patch) && (patch as { id?: unknown }).id !== id) {
      throw new TidemarkError('bad-value', 'an update cannot change the id of a row', {
        remedy: 'Insert a row with the new id and delete this one',
      })
    }
    this.#port.write('update', id, patch)
  }

  upsert(row: Row): void {
    this.#port.write('upsert', row.id, expectObject(row))
  }

  delete(id: string): void {
    this.#port.write('delete', id, undefined)
  }
}

function expectObject(value: unknown): object {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value
  throw new TidemarkError('bad-value', `a row is an object, not ${quote(value)}`)
}
