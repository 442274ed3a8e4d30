/**
 * `tidemark serve`: runs a sync server until it is told to stop.
 *
 * Invariant W1: the first SIGTERM or SIGINT drains and exits with 0, a second one exits at once with 1.
 */
import { access, constants, mkdir } from 'node:fs/promises'
import { resolve } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { Command } from 'commander'
import { TidemarkError } from '../../core/index.ts'
import type { Config } from '../config/read-config.ts'
import { SETTING_KEYS, type SettingKey } from '../config/settings.ts'
import { configToOptions, readTls } from '../config/to-options.ts'
import { growHeapFreely } from '../heap.ts'
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
SIGHUP reads the certificate and its key anew, and the plans; other settings count with the next start.`

export function serveCommand(): Command {
  return withSettings(new Command('serve').description('Run a sync server with LMDB stores.'))
    .addHelpText('after', EXAMPLES)
    .action((flags: Flags) => orFail(() => serve(flags)))
}

async function serve(flags: Flags): Promise<void> {
  growHeapFreely()
  const config = await readFlags(flags)
  const { logLevel, pretty: isPretty = process.stdout.isTTY === true } = config.values
  const logger = isPretty ? createPrettyLogger(logLevel) : createLogger(logLevel)
  let stop = (_why: string): void => {}
  const reload = async (): Promise<Reloaded> => reloadServer(await opening, config, flags, logger)
  const opening = openServer(config, logger, { onDrain: () => stop(DRAIN), onReload: reload })
  stop = stopOnSignals(opening, logger)
  // Without a listener the signal would end the process. What went wrong is in the log.
  process.on('SIGHUP', () => void reload().catch(() => {}))
  const server = await opening
  if (isPretty) process.stdout.write(welcome(server, config))
}

interface Calls {
  readonly onDrain: () => void
  readonly onReload: () => Promise<Reloaded>
}

async function openServer(config: Config, logger: Logger, { onDrain, onReload }: Calls): Promise<SyncServer> {
  const { admin, ...options } = await configToOptions(config)
  await makeDataDirectory(config.values.data)
  return createSyncServer({
    ...options,
    logger,
    onReload,
    ...(admin === undefined ? {} : { admin: { ...admin, onDrain } }),
  })
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

// ── Reading the configuration anew ──────────────────────────────────────────────────────────────────────────────────

interface Reloaded {
  readonly plans: readonly string[]
  /** Settings that are other ones now, and count with the next start. */
  readonly waiting: readonly SettingKey[]
}

/** What cannot be used is logged and thrown, and changes nothing; plans and certificate do not hold up each other. */
async function reloadServer(server: SyncServer, config: Config, flags: Flags, logger: Logger): Promise<Reloaded> {
  const [certificate, plans] = await Promise.allSettled([
    orLog(logger, 'certificate not renewed', async () => {
      const tls = server.isSecure ? await readTls(config) : undefined
      if (tls === undefined) return
      server.renewTls(tls)
      logger.info({}, 'certificate renewed')
    }),
    orLog(logger, 'plans not renewed', () => renewPlans(server, config, flags, logger)),
  ])
  if (plans.status === 'rejected') throw plans.reason
  if (certificate.status === 'rejected') throw certificate.reason
  return plans.value
}

async function renewPlans(server: SyncServer, config: Config, flags: Flags, logger: Logger): Promise<Reloaded> {
  const renewed = await readFlags(flags)
  const { plans = {} } = await configToOptions(renewed)
  await server.renewPlans(plans)
  const waiting = SETTING_KEYS.filter(
    (key) => key !== 'plans' && !isDeepStrictEqual(config.values[key], renewed.values[key]),
  )
  logger.info({ waiting }, 'plans renewed')
  return { plans: server.manager.plans.names, waiting }
}

async function orLog<Result>(logger: Logger, what: string, work: () => Promise<Result>): Promise<Result> {
  try {
    return await work()
  } catch (error) {
    logger.error(errorFields(error), what)
    throw error
  }
}
