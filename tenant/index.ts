/**
 * The door of tenant: everything that sync-server, or a server of one's own, may use.
 */

export {
  type Authorize,
  createJudge,
  expectScope,
  hasScope,
  type JudgeOptions,
  mayRead,
  mayReadLog,
  mayWrite,
  type Principal,
  SCOPES,
  type Scope,
} from './access.ts'
export type { Arrivals } from './arrivals.ts'
export type { Arrival, Destination } from './departures.ts'
export type { ExportOptions, ExportRecord } from './export.ts'
export { EXPIRY_GRACE_MS, EXPIRY_WARNING_MS, type GuardAnswer, type GuardState, SessionGuard } from './guard.ts'
export { TenantManager } from './manager.ts'
export type { Recovery, Registration, TenantManagerOptions } from './manager-options.ts'
export type { CopyTarget } from './move.ts'
export type { Lease, OpenTenant } from './open-tenant.ts'
export {
  DEFAULT_PLANS,
  expectFeature,
  FEATURES,
  hasFeature,
  type Plan,
  Plans,
  type PlansOptions,
  parsePlan,
  QUOTA_CEILINGS,
  QUOTA_NAMES,
  type QuotaName,
  type Quotas,
} from './plan.ts'
export {
  ratesOf,
  type Seat,
  type SeatAnswer,
  Seats,
  STORED_RETRY_MS,
  type UsageEvent,
  UsageWatch,
  usageOf,
  weighGrowth,
} from './quota.ts'
export { addressKey, Buckets, type Charge, type Rate, type RateAnswer, rateLimited, takeTokens } from './rate.ts'
export { suspended } from './refusal.ts'
export type { ListOptions, MovePhase, TenantDeparture, TenantMove, TenantRecord, TenantState } from './registry.ts'
export { FOR_EVER, laterOf, REVOCATION_TYPES, type Revocation, Revocations, type RevocationType } from './revocation.ts'
export { SharedStores } from './shared-stores.ts'
export { ISOLATION_MODES, type IsolationMode, type StoreFactory } from './store-factory.ts'
export {
  authenticateToken,
  PUBLIC_ALGORITHMS,
  parseTokenRules,
  SECRET_ALGORITHMS,
  TOKEN_LIFETIME_MS,
  type TokenAlgorithm,
  type TokenRules,
  type TokenRulesInput,
  tokenToPrincipal,
  type VerifiedToken,
  type VerifyToken,
} from './token.ts'
export { DEFAULT_TRAFFIC, type Sender, Traffic, type TrafficRules } from './traffic.ts'
export { openVisit, type Visit, type VisitOptions } from './visit.ts'
