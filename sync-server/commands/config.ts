/**
 * `tidemark config`: what is in force, where each value comes from, and whether a server would start with it.
 *
 * Invariant W5: no secret is printed, in any form but its length.
 */
import { Command } from 'commander'
import { type Config, describeSource } from '../config/read-config.ts'
import { SETTING_KEYS, SETTINGS, type SettingKey, showSetting } from '../config/settings.ts'
import { configToOptions } from '../config/to-options.ts'
import { parseServerOptions } from '../options.ts'
import { orFail } from './failure.ts'
import { formatColumns } from './printing.ts'
import { type Flags, readFlags, withSettings } from './settings-flags.ts'

const HELP = `
Takes the same flags, environment and file as tidemark serve, and starts nothing.

Examples:
  $ tidemark config --config /etc/tidemark.json
  $ tidemark config --json | jq .port`

export function configCommand(): Command {
  const command = new Command('config').description('Print the settings that serve would run with, and their sources.')
  command.option('--json', 'print JSON', false)
  return withSettings(command)
    .addHelpText('after', HELP)
    .action((flags: Flags) => orFail(() => print(flags)))
}

async function print(flags: Flags): Promise<void> {
  const config = await readFlags(flags)
  process.stdout.write(`${flags.json === true ? toJson(config) : toTable(config)}\n`)
  await orFail(async () => void (await parseServerOptions(await configToOptions(config))), 'a server would not start: ')
}

function toTable(config: Config): string {
  const rows = SETTING_KEYS.map((key) => [key, showValue(key, config), describeSource(config.sources[key])])
  return formatColumns(['SETTING', 'VALUE', 'FROM'], rows)
}

function toJson(config: Config): string {
  const settings = SETTING_KEYS.map((key) => {
    const value: unknown = config.values[key]
    const shown = SETTINGS[key].isSecret === true && value !== undefined ? redact(value) : value
    return [key, { value: shown ?? null, from: describeSource(config.sources[key]) }]
  })
  return JSON.stringify(Object.fromEntries(settings), undefined, 2)
}

function showValue(key: SettingKey, { values }: Config): string {
  const value: unknown = values[key]
  if (SETTINGS[key].isSecret === true && value !== undefined) return redact(value)
  return showSetting(key, value) ?? '-'
}

function redact(value: unknown): string {
  return `(secret, ${Buffer.byteLength(String(value))} bytes)`
}
