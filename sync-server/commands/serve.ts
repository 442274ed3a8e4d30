/**
 * `tidemark serve`: runs a sync server until it is told to stop.
 *
 * Invariant W1: the first SIGTERM or SIGINT drains and exits with 0, a second one exits at once with 1.
 */
import { access, constants, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Command } from 'commander'
import { TidemarkError } from '../../core/index.ts'
import type { Config } from '../config/read-config.ts'
import { configToOptions, readTls } from '../config/to-options.ts'
import { createLogger, errorFields, type Logger } from '../log.ts'
import { createPrettyLogger } from '../pretty-log.ts'
import { createSyncServer, type SyncServer } from '../server.ts'
import { orFail } from './failure.ts'
import { type Flags, readFlags, withSettings } from './settings-flags.ts'

/** Asked for over the admin port: asking twice is no reason to exit at once. */
const DRAIN = 'drain'

const EXAMPLES = `
Examples:
  $ tidemark serve --dev                          on this machine only, data in ./data
  $ tidemark serve --config /etc/tidemark.json    see docs/operations.md for what a server on the internet needs
  $ TIDEMARK_PORT=8080 tidemark serve --dev       settings may come from the environment; flags come before it,
                                                  and it before the file

Health:
  GET /healthz answers 200 while the process is up, GET /readyz while it takes connections.

SIGTERM or Ctrl-C drains: commits end, clients are told to come back later. A second one exits at once.
SIGHUP reads the certificate and its key anew.`

export function serveCommand(): Command {
  return withSettings(new Command('serve').description('Run a sync server with LMDB stores.'))
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) => orFail(() => serve(flags)))
}

async function serve(flags: Flags): Promise<void> {
  const config = await readFlags(flags)
  const { logLevel, pretty: isPretty = process.stdout.isTTY === true } = config.values
  const logger = isPretty ? createPrettyLogger(logLevel) : createLogger(logLevel)
  let stop = (_why: string): void => {}
  const opening = openServer(config, logger, () => stop(DRAIN))
  stop = stopOnSignals(opening, logger)
  const server = await opening
  if (server.isSecure) renewOnSignal(server, config, logger)
  if (isPretty) process.stdout.write(welcome(server, config))
}

async function openServer(config: Config, logger: Logger, onDrain: () => void): Promise<SyncServer> {
  const { admin, ...options } = await configToOptions(config)
  await makeDataDirectory(config.values.data)
  return createSyncServer({ ...options, logger, ...(admin === undefined ? {} : { admin: { ...admin, onDrain } }) })
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

function welcome(server: SyncServer, { values }: Config): string {
  const who = values.dev ? 'This is a development server: it lets in whoever connects from this machine.\n  ' : ''
  const token = values.dev ? '' : ', token'
  return `
  Tidemark listens on ${server.url}
  Stores are in ${resolve(values.data)}

  ${who}Connect a replica:

    import { connect } from 'tidemark/sync-client'
    const link = connect(replica, { url: '${server.url}'${token} })
    await link.settled()

  Ctrl-C stops it.

`
}

/** Also while the server is still being opened: who starts it may stop it as soon as it says that it listens. */
function stopOnSignals(opening: Promise<SyncServer>, logger: Logger): (why: string) => void {
  let isStopping = false
  const stop = (why: string): void => {
    if (isStopping && why === DRAIN) return
    if (isStopping) process.exit(1)
    isStopping = true
    logger.info({ signal: why }, 'stopping')
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
  return stop
}

/** A certificate that cannot be used is logged, and the old one stays. */
function renewOnSignal(server: SyncServer, config: Config, logger: Logger): void {
  process.on('SIGHUP', () => {
    readTls(config)
      .then((tls) => tls !== undefined && server.renewTls(tls))
      .then(
        () => logger.info({}, 'certificate renewed'),
        (error: unknown) => logger.error(errorFields(error), 'certificate not renewed'),
      )
  })
}
