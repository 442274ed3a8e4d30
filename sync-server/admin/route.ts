/**
 * What a route of the admin port is: a method, a path, and what it answers; and how it reads what it was given.
 */
import { quote, type TenantName, TidemarkError } from '../../core/index.ts'
import type { IsolationMode, TenantManager } from '../../tenant/index.ts'
import type { SessionFigures } from '../connection.ts'
import type { Tallies } from '../tally.ts'
import type { UpstreamStatus } from '../upstream.ts'

/** The server, as far as the admin port may reach. */
export interface AdminTarget {
  readonly manager: TenantManager
  /** Where tenants live when nobody says. */
  readonly isolation: IsolationMode
  readonly tallies: Tallies
  /** No token lives for longer. */
  readonly tokenLifetimeMs: number
  readonly now: () => number
  connections(): readonly SessionFigures[]
  /** How a tenant that is relayed reaches its upstream. */
  upstreamOf(tenant: TenantName): UpstreamStatus | undefined
  metrics(): Promise<string>
  /** Begins; whoever runs the server waits for its end. */
  drain(): void
  /** Reads the configuration anew; undefined where a program has given it. */
  readonly reload: (() => Promise<unknown>) | undefined
}

export interface AdminRequest {
  readonly target: AdminTarget
  /** Of the path. */
  readonly parameters: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly body: unknown
}

export type Reply =
  | { readonly type: 'json'; readonly body: unknown }
  | { readonly type: 'text'; readonly contentType: string; readonly text: string }
  /** One JSON value a line. */
  | { readonly type: 'lines'; readonly lines: AsyncIterable<unknown> }

/** Whom an answer is for: whoever runs the server, or somebody of one tenant whose token has the scope `admin`. */
export type Asker =
  | { readonly type: 'operator' }
  /** `isGood`: whether its token still counts. */
  | { readonly type: 'tenant'; readonly tenant: string; readonly isGood: () => boolean }

export interface Route {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  /** Parts that begin with a colon are parameters. */
  readonly path: readonly string[]
  /** True: an admin of the tenant that the path names may ask as well. */
  readonly isForTenant?: boolean
  /** That admin's plan has to include it. An operator asks for none. */
  readonly feature?: string
  /** Default 64 KiB. */
  readonly bodyBytesMax?: number
  /** True: so many of them come that the log is not told of each. */
  readonly isQuiet?: boolean
  answer(request: AdminRequest): Promise<Reply>
}

export function json(body: unknown): Reply {
  return { type: 'json', body }
}

/** A text of the body; throws `bad-option` without it. */
export function textOf({ body }: AdminRequest, key: string): string {
  const value = optionalTextOf(body, key)
  if (value !== undefined) return value
  throw new TidemarkError('bad-option', `the body needs a text "${key}"`)
}

export function optionalTextOf(body: unknown, key: string): string | undefined {
  const value = typeof body === 'object' && body !== null ? (body as Readonly<Record<string, unknown>>)[key] : undefined
  if (value === undefined || (typeof value === 'string' && value !== '')) return value
  throw new TidemarkError('bad-option', `"${key}" must be a text that is not empty, not ${quote(value)}`)
}

/** A whole number of the query, up to 1,000. */
export function countOf({ query }: AdminRequest, key: string, unset: number): number {
  const text = query.get(key)
  if (text === null) return unset
  if (/^\d{1,4}$/.test(text) && Number(text) <= 1_000) return Number(text)
  throw new TidemarkError('bad-option', `${key} must be a whole number up to 1000, not ${quote(text)}`)
}
