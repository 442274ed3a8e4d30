/**
 * The door tidemark/testing: what an app needs to test what it hands to the engine, and the engine with it. It needs fast-check and Node, and no test
 * runner. The conformance suite of the store port, which needs vitest, has a door of its own: tidemark/testing/store-contract.
 */
export {
  type CheckPolicyOptions,
  checkPolicy,
  findPolicyFlaw,
  type PolicyFlaw,
  PolicyFlawError,
} from './testing/check-policy.ts'
export type { PolicyFlawKind } from './testing/policy-trial.ts'
export {
  type SimulatedPlace,
  type SimulatedPlan,
  type SimulatedTable,
  type SimulatedTables,
  type SimulateOptions,
  type SimulationFailure,
  type SimulationProgress,
  type SimulationResult,
  simulate,
} from './testing/simulate.ts'
