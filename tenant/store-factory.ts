/**
 * The port through which tenants get their stores. What kind of place a name stands for is the factory's business: a
 * prefix of a shared store, a database of one environment, a directory.
 */
import type { Store } from '../core/index.ts'

/** `shared`: one store, key prefix. `namespace`: one environment, a database per tenant. `dedicated`: a store per tenant. */
export const ISOLATION_MODES = ['shared', 'namespace', 'dedicated'] as const
export type IsolationMode = (typeof ISOLATION_MODES)[number]

export interface StoreFactory {
  /** Opens the store of this name; an empty one when there is none. The caller closes it. */
  open(name: string): Promise<Store>
  /** Removes the store with all it holds; one that is not there is no error. All its handles are closed. */
  remove(name: string): Promise<void>
}
