/**
 * What the demo can be told.
 */
import { Command, InvalidArgumentError } from 'commander'
import { parseTenantName } from 'tidemark/core'

export interface DemoOptions {
  /** How many rows of the data set; undefined: all. */
  readonly rows: number | undefined
  readonly data: string
  readonly url: string | undefined
  readonly tenant: string
  /** True: a server of its own, even when one is running. */
  readonly alone: boolean
  readonly reset: boolean
}

/** Every run edits rows that no run has edited before. */
const ROWS_MIN = 100

const MORE_HELP = `
Without --url, the demo uses the server that runs on port 7300 of this machine (npm start), and starts one of its own
otherwise. A second run continues from the stores of the first; --reset starts over.

Exit codes: 0 all hold equal state, 1 something went wrong, and it says what.`

export function parseOptions(argv: readonly string[]): DemoOptions {
  const command = new Command('npm run demo --')
    .description('Two replicas import, edit offline, disagree, and agree again, on 135,233 rows of real data.')
    .option('--rows <number>', 'how many rows of the data set to use (default: all)', parseRows)
    .option('--data <dir>', 'where the stores of the demo are', './data/demo')
    .option('--url <url>', 'of the sync server to use', parseUrl)
    .option('--tenant <name>', 'whose data it is', parseTenant, 'demo')
    .option('--alone', 'start a server of its own even when one is running', false)
    .option('--reset', 'forget the stores of earlier runs first', false)
    .addHelpText('after', MORE_HELP)
    .parse([...argv], { from: 'user' })
  const { rows, data, url, tenant, alone, reset } = command.opts<DemoOptions>()
  if (alone && url !== undefined) command.error('error: --alone and --url exclude each other')
  return { rows, data, url, tenant, alone, reset }
}

function parseRows(text: string): number {
  const rows = Number(text)
  if (/^\d+$/.test(text) && rows >= ROWS_MIN) return rows
  throw new InvalidArgumentError(`It must be a whole number from ${ROWS_MIN}.`)
}

function parseUrl(text: string): string {
  if (URL.canParse(text) && /^https?:$/.test(new URL(text).protocol)) return text
  throw new InvalidArgumentError('It must start with http:// or https://.')
}

function parseTenant(text: string): string {
  try {
    return parseTenantName(text)
  } catch (error) {
    throw new InvalidArgumentError(error instanceof Error ? error.message : String(error))
  }
}
