/**
 * The configuration in force: what flags, environment and file say, in that order of precedence, and who said it.
 *
 * Knows: where values come from. Must never know: what is done with them.
 *
 * Invariants:
 * CR1  What nobody knows is refused, with the nearest name that is known: a setting that was mistyped is no setting.
 * CR2  A message names the key, where its value came from, and the way out. It never shows a secret.
 * CR3  All that is wrong is told at once.
 */
import { readFile } from 'node:fs/promises'
import { quote, TidemarkError } from '../../core/index.ts'
import { isObject } from './kinds.ts'
import {
  environmentNameOf,
  flagOf,
  isSettingKey,
  SETTING_KEYS,
  SETTINGS,
  type SettingKey,
  type SettingValues,
} from './settings.ts'
import { nearestName } from './suggest.ts'

export type Source =
  | { readonly type: 'default' }
  | { readonly type: 'file'; readonly path: string }
  | { readonly type: 'environment'; readonly name: string }
  | { readonly type: 'flag'; readonly flag: string }

export interface Config {
  readonly values: SettingValues
  readonly sources: Readonly<Record<SettingKey, Source>>
}

export interface ConfigInput {
  /** Flags that were given, by key: a text, or what a switch was set to. */
  readonly flags: ReadonlyMap<SettingKey, string | boolean>
  readonly environment: Readonly<Record<string, string | undefined>>
  /** The file that a flag names. */
  readonly file?: string | undefined
}

interface Given {
  readonly key: SettingKey
  readonly input: unknown
  readonly source: Source
}

export const FILE_VARIABLE = 'TIDEMARK_CONFIG'
/** Of other commands. */
export const OTHER_VARIABLES: readonly string[] = [
  FILE_VARIABLE,
  'TIDEMARK_STORE',
  'TIDEMARK_TENANT',
  'TIDEMARK_TABLES',
  'TIDEMARK_TOKEN',
  'TIDEMARK_WITH_TOKEN',
  'TIDEMARK_ADMIN_URL',
]

/** Throws `bad-option` with all that is wrong. */
export async function readConfig({ flags, environment, file }: ConfigInput): Promise<Config> {
  const problems: string[] = []
  const path = file ?? environment[FILE_VARIABLE]
  // Later ones win.
  const given: Given[] = [
    ...(path === undefined ? [] : await readFileSettings(path, problems)),
    ...readEnvironment(environment, problems),
    ...[...flags].map(([key, input]) => ({ key, input: fromText(key, input), source: flagSource(key) })),
  ]
  const values: Partial<Record<SettingKey, unknown>> = {}
  const sources: Partial<Record<SettingKey, Source>> = {}
  for (const key of SETTING_KEYS) {
    values[key] = SETTINGS[key].default
    sources[key] = { type: 'default' }
  }
  for (const { key, input, source } of given) {
    values[key] = SETTINGS[key].kind.parse(input)
    sources[key] = source
    if (values[key] === undefined) problems.push(unfit(key, input, source))
  }
  if (problems.length > 0) throw new TidemarkError('bad-option', problems.join('\n'))
  return { values: values as unknown as SettingValues, sources: sources as Record<SettingKey, Source> }
}

export function describeSource(source: Source): string {
  switch (source.type) {
    case 'default':
      return 'default'
    case 'file':
      return source.path
    case 'environment':
      return source.name
    case 'flag':
      return source.flag
  }
}

/** For messages about a setting that something else than its own kind is wrong with: `auth.secret (TIDEMARK_AUTH_SECRET)`. */
export function nameSetting(key: SettingKey, { sources }: Config): string {
  const source = sources[key]
  return source.type === 'default' ? key : `${key} (from ${describeSource(source)})`
}

/** How to set it, in words. */
export function waysToSet(key: SettingKey): string {
  const { isSecret = false, isFileOnly = false } = SETTINGS[key]
  const inFile = `${spelled(key)} in the file`
  if (isFileOnly) return inFile
  return isSecret ? `${environmentNameOf(key)} or ${inFile}` : `${flagOf(key)}, ${environmentNameOf(key)} or ${inFile}`
}

function flagSource(key: SettingKey): Source {
  return { type: 'flag', flag: flagOf(key) }
}

function fromText(key: SettingKey, input: string | boolean): unknown {
  return typeof input === 'string' ? SETTINGS[key].kind.fromText(input) : input
}

function unfit(key: SettingKey, input: unknown, source: Source): string {
  const { kind, isSecret = false } = SETTINGS[key]
  const shown = isSecret ? '' : `, not ${quote(typeof input === 'object' ? JSON.stringify(input) : input)}`
  const way = isServiceLink(input) ? `. ${SERVICE_LINKS}` : ''
  return `${key} must be ${kind.describe}${shown} (from ${describeSource(source)})${way}`
}

// ── The environment ─────────────────────────────────────────────────────────────────────────────────────────────────

const SERVICE_LINKS =
  'Kubernetes sets such variables for a service named tidemark: give the pod "enableServiceLinks: false"'

function readEnvironment(environment: ConfigInput['environment'], problems: string[]): Given[] {
  const keysByName = new Map(
    SETTING_KEYS.filter((key) => SETTINGS[key].isFileOnly !== true).map((key) => [environmentNameOf(key), key]),
  )
  const given: Given[] = []
  for (const [name, value] of Object.entries(environment)) {
    if (!name.startsWith('TIDEMARK_') || value === undefined || OTHER_VARIABLES.includes(name)) continue
    const key = keysByName.get(name)
    if (key === undefined) problems.push(unknownVariable(name, [...keysByName.keys(), ...OTHER_VARIABLES]))
    else if (value === '') problems.push(`${key} is empty (from ${name}). Give it a value, or unset ${name}`)
    else given.push({ key, input: fromText(key, value), source: { type: 'environment', name } })
  }
  return given
}

function unknownVariable(name: string, names: readonly string[]): string {
  const nearest = nearestName(name, names)
  if (nearest !== undefined) return `there is no variable ${quote(name)}; the nearest is ${nearest}`
  const isLink = /^TIDEMARK_(?:SERVICE_|PORT_\d)/.test(name)
  return `there is no variable ${quote(name)}. ${isLink ? SERVICE_LINKS : 'See tidemark serve --help for those there are'}`
}

function isServiceLink(input: unknown): boolean {
  return typeof input === 'string' && /^tcp:\/\//.test(input)
}

// ── The file ────────────────────────────────────────────────────────────────────────────────────────────────────────

async function readFileSettings(path: string, problems: string[]): Promise<Given[]> {
  let content: unknown
  try {
    content = JSON.parse(await readFile(path, 'utf8'))
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    problems.push(`the configuration ${quote(path)} cannot be read: ${why}`)
    return []
  }
  if (isObject(content)) return [...flatten(content, '', path, problems)]
  problems.push(`the configuration ${quote(path)} must be an object of settings`)
  return []
}

/** `{ "auth": { "secretFile": … } }` holds `auth.secretFile`. */
function* flatten(
  content: Readonly<Record<string, unknown>>,
  prefix: string,
  path: string,
  problems: string[],
): Generator<Given> {
  for (const [name, input] of Object.entries(content)) {
    const key = `${prefix}${name}`
    const isNested = name.includes('.')
    if (!isNested && isSettingKey(key)) yield { key, input, source: { type: 'file', path } }
    else if (!isNested && isObject(input) && isSection(key)) yield* flatten(input, `${key}.`, path, problems)
    else problems.push(unknownKey(key, path, isNested))
  }
}

function isSection(key: string): boolean {
  return SETTING_KEYS.some((known) => known.startsWith(`${key}.`))
}

function unknownKey(key: string, path: string, isNested: boolean): string {
  const what = `there is no setting ${quote(key)} (in ${path})`
  if (isNested && isSettingKey(key)) return `${what}; write it as ${spelled(key)}`
  if (isSection(key)) return `${key} must be an object of settings (in ${path})`
  const nearest = nearestName(key, SETTING_KEYS)
  return nearest === undefined
    ? `${what}. See tidemark config for those there are`
    : `${what}; the nearest is ${nearest}`
}

/** A key as it stands in a file: `{ "auth": { "secretFile": … } }`. */
function spelled(key: string): string {
  const names = key.split('.')
  return `${names.map((name) => `{ "${name}": `).join('')}…${' }'.repeat(names.length)}`
}
