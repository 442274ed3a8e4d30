/**
 * The routes of the admin port.
 *
 * Knows: what each asks of the manager. Must never know: tokens, sockets.
 */
import { parseReplicaId, TidemarkError } from '../../core/index.ts'
import {
  type Destination,
  FOR_EVER,
  ISOLATION_MODES,
  type IsolationMode,
  type Revocation,
  type TenantRecord,
} from '../../tenant/index.ts'
import { destinationAt } from '../remote-server.ts'
import { ARRIVAL_ROUTES } from './arrival-routes.ts'
import {
  type AdminRequest,
  type AdminTarget,
  countOf,
  json,
  optionalTextOf,
  type Reply,
  type Route,
  textOf,
} from './route.ts'
import { listConflicts, listPlans, listReplicas, listTables, usageOfTenant } from './views.ts'

const PAGE_DEFAULT = 100
/** As tokens are read. */
const NAME_CHARACTERS_MAX = 255
/** The clocks of whoever issues tokens may be apart from ours, by less than this. */
const CLOCKS_MS = 86_400_000

export const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    path: ['metrics'],
    answer: async ({ target }) => ({
      type: 'text',
      contentType: 'text/plain; version=0.0.4; charset=utf-8',
      text: await target.metrics(),
    }),
  },
  { method: 'POST', path: ['drain'], answer: drain },
  { method: 'POST', path: ['reload'], answer: reload },
  { method: 'GET', path: ['plans'], answer: async ({ target }) => json(await listPlans(target)) },
  { method: 'GET', path: ['usage'], answer: usage },
  { method: 'GET', path: ['tenants'], answer: async (request) => json(await list(request)) },
  { method: 'POST', path: ['tenants'], answer: register },
  {
    method: 'GET',
    path: ['tenants', ':tenant'],
    isForTenant: true,
    answer: async (request) => json(await expectTenant(request)),
  },
  { method: 'DELETE', path: ['tenants', ':tenant'], answer: erase },
  { method: 'POST', path: ['tenants', ':tenant', 'suspend'], answer: suspend },
  { method: 'POST', path: ['tenants', ':tenant', 'resume'], answer: resume },
  { method: 'PUT', path: ['tenants', ':tenant', 'plan'], answer: setPlan },
  { method: 'POST', path: ['tenants', ':tenant', 'move'], answer: move },
  { method: 'POST', path: ['tenants', ':tenant', 'finish-move'], answer: finishMove },
  { method: 'POST', path: ['tenants', ':tenant', 'roll-back-move'], answer: rollBackMove },
  { method: 'GET', path: ['tenants', ':tenant', 'usage'], isForTenant: true, answer: tenantUsage },
  { method: 'GET', path: ['tenants', ':tenant', 'export'], isForTenant: true, answer: exportTenant },
  { method: 'GET', path: ['tenants', ':tenant', 'replicas'], isForTenant: true, answer: replicas },
  { method: 'GET', path: ['tenants', ':tenant', 'tables'], isForTenant: true, answer: tables },
  { method: 'PUT', path: ['tenants', ':tenant', 'tables', ':table'], answer: redefine },
  {
    method: 'GET',
    path: ['tenants', ':tenant', 'conflicts'],
    isForTenant: true,
    feature: 'journal',
    answer: conflicts,
  },
  { method: 'GET', path: ['tenants', ':tenant', 'revocations'], isForTenant: true, answer: revocations },
  { method: 'POST', path: ['tenants', ':tenant', 'revoke'], isForTenant: true, answer: revoke },
  { method: 'POST', path: ['tenants', ':tenant', 'lift'], isForTenant: true, answer: lift },
  ...ARRIVAL_ROUTES,
]

// ── The server ──────────────────────────────────────────────────────────────────────────────────────────────────────

async function drain({ target }: AdminRequest): Promise<Reply> {
  target.drain()
  return json({ draining: true })
}

async function reload({ target }: AdminRequest): Promise<Reply> {
  if (target.reload !== undefined) return json(await target.reload())
  throw new TidemarkError('bad-option', 'this server was configured by a program, which has to say what changes', {
    remedy: 'Call `renewPlans` and `renewTls` there',
  })
}

/** Of a page of tenants; each is opened to be looked at, and closed again when it is idle. */
async function usage(request: AdminRequest): Promise<Reply> {
  const tenants = []
  for (const record of await list(request)) tenants.push(await usageOfTenant(request.target, record))
  return json(tenants)
}

// ── Tenants ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function list(request: AdminRequest): Promise<TenantRecord[]> {
  const after = request.query.get('after')
  const limit = countOf(request, 'limit', PAGE_DEFAULT)
  return request.target.manager.list({ limit, ...(after === null ? {} : { after }) })
}

/** What the registry says; `forbidden` for a tenant that nobody knows. */
async function expectTenant({ target, parameters }: AdminRequest): Promise<TenantRecord> {
  const record = await target.manager.get(parameters.tenant ?? '')
  if (record !== undefined) return record
  throw new TidemarkError('forbidden', 'there is no such tenant', { remedy: 'See `tidemark tenants list`' })
}

async function register(request: AdminRequest): Promise<Reply> {
  const { target, body } = request
  const mode = optionalTextOf(body, 'mode')
  const registration = {
    name: textOf(request, 'name'),
    plan: textOf(request, 'plan'),
    mode: mode === undefined ? target.isolation : parseMode(mode),
  }
  return json(await target.manager.register(registration))
}

async function suspend(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(await request.target.manager.suspend(name, optionalTextOf(request.body, 'reason') ?? ''))
}

async function resume(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(await request.target.manager.resume(name))
}

async function setPlan(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(await request.target.manager.setPlan(name, textOf(request, 'plan')))
}

/** Its name has to be said twice: what is erased cannot be brought back. */
async function erase(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  if (request.query.get('confirm') !== name) {
    throw new TidemarkError('bad-option', 'to erase a tenant, confirm it with its name', {
      remedy: `Add ?confirm=${name}`,
    })
  }
  await request.target.manager.erase(name)
  return json({ erased: name })
}

// ── Moving ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** To another mode (`to`), or to another server (`server`, `token`, `address`). */
async function move(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  if (optionalTextOf(request.body, 'server') !== undefined) {
    const address = parseAddress(textOf(request, 'address'))
    return json(await request.target.manager.depart(name, destinationOf(request, name), address))
  }
  return json(await request.target.manager.move(name, parseMode(textOf(request, 'to'))))
}

async function finishMove(request: AdminRequest): Promise<Reply> {
  const { name, departure } = await expectTenant(request)
  if (departure !== undefined) return json(await request.target.manager.finishDeparture(name))
  await request.target.manager.finishMove(name)
  return json(await expectTenant(request))
}

async function rollBackMove(request: AdminRequest): Promise<Reply> {
  const { name, departure } = await expectTenant(request)
  if (departure === undefined) await request.target.manager.rollBackMove(name)
  else {
    const isReachable = optionalTextOf(request.body, 'server') !== undefined
    await request.target.manager.rollBackDeparture(name, isReachable ? destinationOf(request, name) : undefined)
  }
  return json(await expectTenant(request))
}

function destinationOf(request: AdminRequest, tenant: string): Destination {
  return destinationAt({ server: textOf(request, 'server'), token: textOf(request, 'token') }, tenant)
}

/** What clients are told: the address that they would give to `connect`. */
function parseAddress(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url !== undefined && /^(https?|wss?):$/.test(url.protocol)) return text
  throw new TidemarkError('bad-option', '"address" must be the http(s) address that clients connect to')
}

function parseMode(text: string): IsolationMode {
  const mode = ISOLATION_MODES.find((each) => each === text)
  if (mode !== undefined) return mode
  throw new TidemarkError('bad-option', `a mode is one of ${ISOLATION_MODES.join(', ')}`)
}

// ── Looking into a tenant ───────────────────────────────────────────────────────────────────────────────────────────

async function tenantUsage(request: AdminRequest): Promise<Reply> {
  return json(await usageOfTenant(request.target, await expectTenant(request)))
}

async function exportTenant(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return { type: 'lines', lines: request.target.manager.export(name) }
}

async function replicas(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  const query = { skip: countOf(request, 'skip', 0), limit: countOf(request, 'limit', PAGE_DEFAULT) }
  return json(await listReplicas(request.target, name, query))
}

async function tables(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(await listTables(request.target, name))
}

/** `from`: the definition in force, so that nobody replaces another one than the one that was looked at. */
async function redefine(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  const { target, parameters } = request
  const definition = { table: parameters.table ?? '', from: textOf(request, 'from'), to: textOf(request, 'to') }
  await target.manager.redefine(name, definition)
  return json(await listTables(target, name))
}

async function conflicts(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(await listConflicts(request.target, name, countOf(request, 'limit', PAGE_DEFAULT)))
}

async function revocations(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  return json(request.target.manager.revocations.list(name))
}

/** One of `subject`, `tokenId` and `replica`. */
async function revoke(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  const { target, body } = request
  const revocation = toRevocation(name, body, target)
  await target.manager.revoke(revocation)
  return json(revocation)
}

/** Takes back what `revoke` did, said in the same way. */
async function lift(request: AdminRequest): Promise<Reply> {
  const { name } = await expectTenant(request)
  const { target, body } = request
  const revocation = toRevocation(name, body, target)
  const inherited = { ...revocation, isInherited: true }
  const isRelayed = target.upstreamOf(name) !== undefined
  const wasRevoked = await target.manager.liftRevocation(revocation)
  // What was left by an upstream that there is no more nobody else can lift.
  const wasInherited = !isRelayed && (await target.manager.liftRevocation(inherited))
  if (isRelayed && target.manager.revocations.list(name).some((entry) => isSameRevocation(entry, inherited))) {
    throw new TidemarkError('forbidden', `${revocation.name} is revoked at the upstream, which counts here`, {
      remedy: 'Lift it there; it is lifted here within a second of that, or when the upstream is reached again',
    })
  }
  if (wasRevoked || wasInherited) return json({ lifted: revocation.name })
  throw new TidemarkError('forbidden', 'nothing of this name is revoked', {
    remedy: 'See `tidemark tenants revocations`',
  })
}

function isSameRevocation(left: Revocation, right: Revocation): boolean {
  return left.type === right.type && left.name === right.name && left.isInherited === right.isInherited
}

function toRevocation(tenant: string, body: unknown, { now, tokenLifetimeMs }: AdminTarget): Revocation {
  const [subject, tokenId, replica] = ['subject', 'tokenId', 'replica'].map((key) => optionalTextOf(body, key))
  if ([subject, tokenId, replica].filter((each) => each !== undefined).length !== 1) {
    throw new TidemarkError('bad-option', 'the body needs one of "subject", "tokenId" and "replica"')
  }
  const name = subject ?? tokenId ?? ''
  if (name.length > NAME_CHARACTERS_MAX) {
    throw new TidemarkError('bad-option', `no token has a name of more than ${NAME_CHARACTERS_MAX} characters`)
  }
  const nowMs = now()
  const entry = { tenant, issuedThroughMs: nowMs, untilMs: Math.min(FOR_EVER, nowMs + tokenLifetimeMs + CLOCKS_MS) }
  if (subject !== undefined) return { ...entry, type: 'subject', name: subject }
  if (tokenId !== undefined) return { ...entry, type: 'token', name: tokenId }
  return { ...entry, type: 'replica', name: parseReplicaId(replica), untilMs: FOR_EVER }
}
