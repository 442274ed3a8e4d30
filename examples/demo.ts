/**
 * The demo: real data, two replicas that go offline, disagree, and agree again. `npm run demo -- --help` tells the options.
 *
 * Replica A imports the data and syncs it to the server; replica B receives it. Both go offline and edit the same rows.
 * Both reconnect. Then A, B and the server must hold the same, down to the byte.
 */
import { loadCities } from './demo/cities.ts'
import { editOffline, findConflicts, nameTown, printConflicts } from './demo/edits.ts'
import { describeFailure } from './demo/failure.ts'
import { Figures } from './demo/figures.ts'
import { claimFolder, type DemoFolder } from './demo/folder.ts'
import { type DemoOptions, parseOptions } from './demo/options.ts'
import { Party } from './demo/party.ts'
import { expectNoRefusals, importCities, syncBoth, syncOnce } from './demo/phases.ts'
import { DEFAULT_URL, expectServer, isServerReady, startServer } from './demo/server.ts'
import { formatCount } from './demo/text-table.ts'
import { expectEqual, holdingOf, holdingOfClosedServer, holdingOfRemoteServer } from './demo/verify.ts'

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2))
  const url = await findServer(options)
  const folder = await claimFolder(options.data, options.tenant, url ?? 'own', options.reset)
  try {
    await runBesideServer(options, folder, url)
  } finally {
    await folder.release()
  }
}

/** Undefined: start one. */
async function findServer({ url, alone }: DemoOptions): Promise<string | undefined> {
  if (url !== undefined) {
    await expectServer(url)
    return url
  }
  return !alone && (await isServerReady(DEFAULT_URL)) ? DEFAULT_URL : undefined
}

async function runBesideServer(options: DemoOptions, folder: DemoFolder, found: string | undefined): Promise<void> {
  const own = found === undefined ? await startServer(folder.server) : undefined
  try {
    const url = found ?? own?.url ?? DEFAULT_URL
    console.log(`\nServer    ${url}${own === undefined ? '' : ' (started for this demo)'}`)
    console.log(`Tenant    ${options.tenant}`)
    console.log(`Stores    ${folder.path}`)
    const a = await Party.open('A', folder.a, options.tenant)
    const b = await Party.open('B', folder.b, options.tenant)
    console.log(`Replicas  A ${a.replica.id}\n          B ${b.replica.id}`)
    try {
      await runPhases(options, [a, b], url)
      title('Who holds what (every row is read for this)')
      const holdings = [await holdingOf(a), await holdingOf(b)]
      if (own === undefined) expectEqual([...holdings, await holdingOfRemoteServer(url, options.tenant)])
      else {
        await own.close()
        expectEqual([...holdings, await holdingOfClosedServer(folder.server, options.tenant)])
      }
    } finally {
      await a.close()
      await b.close()
    }
  } finally {
    await own?.close()
  }
}

async function runPhases({ rows }: DemoOptions, [a, b]: readonly [Party, Party], url: string): Promise<void> {
  const cities = loadCities().slice(0, rows)
  const figures = new Figures()
  title(`One replica has the data: ${formatCount(cities.length)} cities`)
  await syncOnce(figures, 'A asks what is there', a, url, 0)
  const run = await importCities(figures, a, cities)
  await syncOnce(figures, 'A syncs up', a, url, 0)
  await syncOnce(figures, 'B syncs down', b, url, a.changes)
  await expectNoRefusals([a, b])

  title(`Both are offline and edit (run ${run.number} on these stores)`)
  await editOffline(figures, a, b, run)

  title('Both are online again')
  await syncBoth(figures, 'A and B reconnect', [a, b], url)
  await expectNoRefusals([a, b])
  const { fresh, older } = await findConflicts(b, run)
  console.log(`  ${fresh.length} rows were written to on both sides, and B reports them like this:\n`)
  await printConflicts(fresh, [a, b], cities)
  if (older > 0)
    console.log(`\n  ${older} more are left from earlier runs: a row keeps both sides until it is written again.`)

  title('Somebody decides')
  await nameTown(a, fresh, run)
  await syncBoth(figures, 'A decides, B hears of it', [a, b], url)
  const left = await findConflicts(b, run)
  console.log(
    `  A has seen both towns and names the one they are: ${fresh.length} conflicts became ${left.fresh.length}.`,
  )

  title('Figures')
  console.log(figures.toString())
  console.log('\n  On the wire: all bytes of the sockets, both directions; connecting takes about 1,000 of them.')
}

function title(text: string): void {
  console.log(`\n${text}\n`)
}

main().catch((error: unknown) => {
  const known = describeFailure(error)
  if (known === undefined) console.error(error)
  else console.error(`\ndemo: ${known}`)
  process.exitCode = 1
})
