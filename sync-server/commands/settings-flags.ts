/**
 * The flags of settings: options for commander from the table, and back to keys.
 *
 * Knows: commander, and the table of settings. Must never know: what a setting is for.
 */
import { type Command, Option } from 'commander'
import { type Config, FILE_VARIABLE, readConfig } from '../config/read-config.ts'
import {
  environmentNameOf,
  flagOf,
  SECTIONS,
  SETTING_KEYS,
  SETTINGS,
  type Section,
  type SettingKey,
  showSetting,
} from '../config/settings.ts'

/** What commander hands to an action, by its own names. */
export type Flags = Readonly<Record<string, unknown>>

/** Adds `--config` and a flag for every setting of these sections that has one. All other sources count for all of them. */
export function withSettings(command: Command, sections: readonly Section[] = SECTIONS): Command {
  command.addOption(new Option('--config <file>', `settings as JSON (env: ${FILE_VARIABLE})`))
  const keys = SETTING_KEYS.filter((key) => sections.includes(SETTINGS[key].section))
  for (const key of keys) for (const option of optionsOf(key)) command.addOption(option)
  return command.addHelpText('after', helpOfRest(keys))
}

export function readFlags(flags: Flags): Promise<Config> {
  const given = new Map<SettingKey, string | boolean>()
  for (const key of SETTING_KEYS) {
    const [option] = optionsOf(key)
    const value = option && flags[option.attributeName()]
    if (typeof value === 'string' || typeof value === 'boolean') given.set(key, value)
  }
  const file = typeof flags.config === 'string' ? flags.config : undefined
  return readConfig({ flags: given, environment: process.env, file })
}

function optionsOf(key: SettingKey): readonly Option[] {
  const { isSecret = false, isFileOnly = false, kind, help, section } = SETTINGS[key]
  if (isSecret || isFileOnly) return []
  const description = `${help} (${defaultOf(key)}env: ${environmentNameOf(key)})`
  const flag = flagOf(key)
  const option = new Option(kind.placeholder === '' ? flag : `${flag} ${kind.placeholder}`, description)
  option.helpGroup(`${section}:`)
  // What a file or the environment switches on, a flag can switch off.
  return kind.placeholder === '' ? [option, new Option(`--no-${flag.slice(2)}`).hideHelp()] : [option]
}

function defaultOf(key: SettingKey): string {
  const value = showSetting(key, SETTINGS[key].default)
  return value === undefined || value === 'false' || value === 'none' ? '' : `default: ${value}, `
}

function helpOfRest(keys: readonly SettingKey[]): string {
  const lines = keys
    .filter((key) => optionsOf(key).length === 0)
    .map((key) => {
      const { isFileOnly = false, help } = SETTINGS[key]
      return `  ${(isFileOnly ? `"${key}"` : environmentNameOf(key)).padEnd(31)} ${help}`
    })
  return `
Without a flag, because they are secret or too long for one; the file has them too, as "auth": { "secret": … }:
${lines.join('\n')}`
}
