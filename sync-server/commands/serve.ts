/**
 * `tidemark serve`: runs a sync server until it is told to stop.
 *
 * Invariant W1: the first SIGTERM or SIGINT drains and exits with 0, a second one exits at once with 1.
 */
import { access, constants, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Command, InvalidArgumentError, Option } from 'commander'
import { isTidemarkError, TidemarkError } from '../../core/index.ts'
import { createLogger, errorFields, type Logger } from '../log.ts'
import { DEFAULT_HOST, DEFAULT_PORT } from '../options.ts'
import { createPrettyLogger } from '../pretty-log.ts'
import { createSyncServer, type SyncServer } from '../server.ts'

interface ServeFlags {
  readonly data: string
  readonly port: number
  readonly host: string
  readonly dev: boolean
  readonly compression: boolean
  readonly logLevel: string
  readonly pretty: boolean
}

const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'silent']

const EXAMPLES = `
Examples:
  $ tidemark serve --dev                          on this machine only, data in ./data
  $ tidemark serve --dev --data /var/lib/tidemark --port 8080
  $ TIDEMARK_PORT=8080 tidemark serve --dev       options may come from the environment

Health:
  GET /healthz answers 200 while the process is up, GET /readyz while it takes connections.

SIGTERM or Ctrl-C drains: commits end, clients are told to come back later. A second one exits at once.`

export function serveCommand(): Command {
  return new Command('serve')
    .description('Run a sync server with LMDB stores, one for each tenant.')
    .addOption(new Option('--data <dir>', 'where the stores are').env('TIDEMARK_DATA').default('./data'))
    .addOption(
      new Option('--port <number>', 'to listen on; 0 takes any that is free')
        .env('TIDEMARK_PORT')
        .default(DEFAULT_PORT)
        .argParser(parsePort),
    )
    .addOption(new Option('--host <address>', 'to listen on').env('TIDEMARK_HOST').default(DEFAULT_HOST))
    .option('--dev', 'let everybody in who connects from this machine; each names its tenant', false)
    .option('--compression', 'compress frames above 1 KiB', false)
    .addOption(
      new Option('--log-level <level>', 'the least that is logged')
        .env('TIDEMARK_LOG_LEVEL')
        .choices(LOG_LEVELS)
        .default('info'),
    )
    .addOption(
      new Option('--pretty', 'log for people instead of JSON lines').default(
        process.stdout.isTTY === true,
        'on a terminal',
      ),
    )
    .addHelpText('after', EXAMPLES)
    .action(serve)
}

async function serve(flags: ServeFlags): Promise<void> {
  const logger = flags.pretty ? createPrettyLogger(flags.logLevel) : createLogger(flags.logLevel)
  try {
    const opening = openServer(flags, logger)
    stopOnSignals(opening, logger)
    const server = await opening
    if (flags.pretty) process.stdout.write(welcome(server, flags))
  } catch (error) {
    if (!isTidemarkError(error)) throw error
    process.stderr.write(`tidemark: ${error.message}\n`)
    process.exitCode = 1
  }
}

async function openServer(flags: ServeFlags, logger: Logger): Promise<SyncServer> {
  if (!flags.dev) {
    throw new TidemarkError('bad-option', 'authentication is not built in yet', {
      remedy: 'Add --dev for a server on this machine only, or embed createSyncServer({ authenticate }) in a program',
    })
  }
  await makeDataDirectory(flags.data)
  const { data, port, host, dev, compression } = flags
  return createSyncServer({ dataDir: data, port, host, dev, compression, logger })
}

/** Tells at the start what would otherwise come up with the first client. */
async function makeDataDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true })
    await access(path, constants.R_OK | constants.W_OK | constants.X_OK)
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new TidemarkError('store-failed', `the data directory cannot be used: ${why}`, {
      remedy: 'Give another with --data, or make it writable for this user',
      cause,
    })
  }
}

function welcome(server: SyncServer, { data }: ServeFlags): string {
  return `
  Tidemark listens on ${server.url}
  Stores are in ${resolve(data)}

  This is a development server: it lets in whoever connects from this machine.
  Connect a replica:

    import { connect } from 'tidemark/sync-client'
    const link = connect(replica, { url: '${server.url}' })
    await link.settled()

  Ctrl-C stops it.

`
}

/** Also while the server is still being opened: who starts it may stop it as soon as it says that it listens. */
function stopOnSignals(opening: Promise<SyncServer>, logger: Logger): void {
  let isStopping = false
  const stop = (signal: NodeJS.Signals): void => {
    if (isStopping) process.exit(1)
    isStopping = true
    logger.info({ signal }, 'stopping')
    opening
      .then((server) => server.close())
      .then(
        () => process.exit(0),
        (error: unknown) => {
          logger.error(errorFields(error), 'did not stop cleanly')
          process.exit(1)
        },
      )
  }
  process.on('SIGTERM', stop)
  process.on('SIGINT', stop)
}

function parsePort(text: string): number {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= 65_535) return port
  throw new InvalidArgumentError('It must be a whole number from 0 to 65535.')
}
