/**
 * The tables of the replicas that are killed, and the name of a row.
 */
import { counter, table } from '../../core/index.ts'

export interface Item {
  readonly id: string
  readonly text: string
}

export interface Count {
  readonly id: string
  readonly n: number
}

export const TENANT = 'acme'
export const KILL_TABLES = { items: table<Item>(), counts: table<Count>({ fields: { n: counter() } }) }
