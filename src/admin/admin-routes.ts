import { randomBytes, randomInt } from 'node:crypto'
import { AdminError, type AdminRoute, type AdminTokens, type Asker, type Schema } from '../gateway/control.ts'
import type { AccessKeySummary, AdminStore } from '../metadata/store.ts'
import type { ScrubStatus, SweeperStatus, SweepReport } from '../storage/backend.ts'
import { logLevels, type LogLevel, type OwnLog } from '../telemetry/log.ts'
import { newKeyPair } from './keys.ts'
import { limitsRoutes, type LimitsPart } from './limits-routes.ts'

/** What the admin API needs of the running server. */
export interface AdminParts {
  readonly version: string
  readonly durability: string
  readonly database: 'embedded' | 'external'
  /** Without secrets. */
  readonly config: readonly object[]
  readonly rootAccountId: string
  readonly store: AdminStore
  readonly sweeper: { status(): SweeperStatus; runOnce(): Promise<SweepReport> }
  readonly scrubber: { status(): ScrubStatus }
  readonly limits: LimitsPart
  readonly tokens: AdminTokens
  readonly log: OwnLog
  readonly processes: () => { readonly wanted: number; readonly serving: number }
  readonly notReady: () => Promise<string | null>
  readonly setLogLevel: (level: LogLevel) => Promise<void>
  /** Stops the server as SIGTERM does. */
  readonly drain: () => void
}

const text: Schema = { type: 'string' }
const textOrNull: Schema = { type: 'string', nullable: true }
const whole: Schema = { type: 'integer' }
const flag: Schema = { type: 'boolean' }
const object = (properties: Readonly<Record<string, Schema>>, required: readonly string[] = []): Schema & { readonly type: 'object'; readonly properties: Readonly<Record<string, Schema>> } => (
  { type: 'object', properties, ...required.length === 0 ? {} : { required } }
)
const listOf = (item: Schema): Schema => object({ items: { type: 'array', items: item }, next: { type: 'string', nullable: true, description: 'after= of the next page; null: this is the last one' } })

const account = object({ id: text, canonicalId: text, displayName: text, email: text, root: flag, createdAt: text, buckets: whole })
const user = object({ name: text, path: text, createdAt: text, policies: { type: 'array', items: { type: 'object', additionalProperties: true } } })
const key = object({ accessKeyId: text, accountId: text, userName: textOrNull, enabled: flag, admin: flag, createdAt: text })
const newKey = object({ ...key.properties, secretAccessKey: { type: 'string', description: 'Shown this once' } })
const bucket = object({ name: text, accountId: text, region: text, versioning: text, createdAt: text, objects: whole, versions: whole, bytes: whole })
const job = object({ name: text, passes: whole, lastPassAt: textOrNull, stopped: textOrNull, figures: { type: 'object', additionalProperties: true } })
const level = object({ level: { type: 'string', enum: logLevels } }, ['level'])

const pageMax = 1000
const time = (ms: number): string => new Date(ms).toISOString()
const timed = <T extends { readonly createdAt: number }>(row: T): Omit<T, 'createdAt'> & { createdAt: string } => ({ ...row, createdAt: time(row.createdAt) })
const all = (items: readonly unknown[]): { items: readonly unknown[]; next: null } => ({ items, next: null })

/** Every call of the admin API, one entry each. */
export function adminRoutes(parts: AdminParts): readonly AdminRoute[] {
  return [...serverRoutes(parts), ...identityRoutes(parts), ...limitsRoutes(parts), ...jobRoutes(parts)]
}

function serverRoutes({ version, durability, database, config, store, tokens, log, processes, notReady, setLogLevel, drain }: AdminParts): readonly AdminRoute[] {
  const startedAt = time(performance.timeOrigin)
  return [
    {
      name: 'createToken', method: 'POST', path: '/token', summary: 'A short-lived bearer token', needs: 'signature', status: 201, answer: object({ token: text, expiresAt: text }),
      run: ({ by }) => tokens.issue(by.accessKeyId),
    },
    {
      name: 'getStatus', method: 'GET', path: '/status', summary: 'How the server is', answer: object({
        version: text, node: text, startedAt: text, ready: flag, reason: textOrNull, durability: text, database: text, processes: object({ wanted: whole, serving: whole }),
        buckets: whole, objects: whole, bytes: whole,
      }),
      async run() {
        const reason = await notReady()
        const { buckets, objects, bytes } = reason === null ? await store.usageOverview(0) : { buckets: null, objects: null, bytes: null }
        return { version, node: process.versions.node, startedAt, ready: reason === null, reason, durability, database, processes: processes(), buckets, objects, bytes }
      },
    },
    {
      name: 'getConfig', method: 'GET', path: '/config', summary: 'The configuration in force, without its secrets',
      answer: listOf(object({ name: text, variable: text, value: textOrNull, default: textOrNull, reason: text })), run: () => all(config),
    },
    { name: 'getLogLevel', method: 'GET', path: '/log-level', summary: 'Least important messages that are logged', answer: level, run: () => ({ level: log.level }) },
    {
      name: 'setLogLevel', method: 'PUT', path: '/log-level', summary: 'Changes it, until the next start', body: level, answer: level,
      async run({ body }) {
        await setLogLevel(body['level'] as LogLevel)
        log.warn('The log level was changed through the control port', { level: log.level })
        return { level: log.level }
      },
    },
    {
      name: 'listBuckets', method: 'GET', path: '/buckets', summary: 'Buckets of all accounts by name, with what is in them', answer: listOf(bucket),
      query: { after: { type: 'string', description: 'Name of the last bucket of the page before' }, limit: { type: 'integer', description: `At most ${pageMax}` } },
      async run({ query }) {
        const limit = Number(query.get('limit') ?? pageMax)
        if (limit < 1 || limit > pageMax) throw new AdminError(400, `limit must be 1 to ${pageMax}.`)
        const { buckets, truncated } = await store.bucketsWithUsage({ after: query.get('after') ?? '', limit })
        return { items: buckets.map(timed), next: truncated ? buckets.at(-1)?.name ?? null : null }
      },
    },
    {
      name: 'drain', method: 'POST', path: '/drain', summary: 'Lets running requests finish, then stops the server, as SIGTERM does', status: 202, answer: object({ draining: flag }),
      run() {
        log.warn('The server was told to stop through the control port')
        drain()
        return { draining: true }
      },
    },
  ]
}

function identityRoutes({ store, rootAccountId, log }: AdminParts): readonly AdminRoute[] {
  async function existing(id: string): Promise<AccessKeySummary> {
    const found = (await store.accessKeys(null)).find(({ accessKeyId }) => accessKeyId === id)
    if (found === undefined) throw new AdminError(404, `There is no access key ${id}.`)
    return found
  }
  /**
   * Root keys come from the configuration with each start: what is changed here would not last, or would lock everybody out. The
   * root account's users can have all of its rights: an admin key that gave itself one of their keys would be as good as root.
   */
  function assertMay(by: Asker, { accountId, userName }: { readonly accountId: string; readonly userName: string | null }): void {
    if (accountId !== rootAccountId) return
    if (userName === null) {
      throw new AdminError(409, 'The root account’s own keys come from the configuration: change HOLDFAST_ROOT_ACCESS_KEY and HOLDFAST_ROOT_SECRET_KEY, or the bootstrap file, and start anew.')
    }
    if (!by.root) throw new AdminError(403, 'An admin key changes no keys of the root account and its users: sign with the root account’s own keys.')
  }
  async function enable(by: Asker, id: string, enabled: boolean): Promise<unknown> {
    const found = await existing(id)
    assertMay(by, found)
    await store.enableAccessKey(id, enabled)
    log.warn(`An access key was ${enabled ? 'enabled' : 'disabled'} through the control port`, { accessKeyId: id, by: by.accessKeyId })
    return timed({ ...found, enabled })
  }

  return [
    { name: 'listAccounts', method: 'GET', path: '/accounts', summary: 'Accounts by id', answer: listOf(account), run: async () => all((await store.accounts()).map(timed)) },
    {
      name: 'createAccount', method: 'POST', path: '/accounts', summary: 'A new account, without keys', status: 201, answer: object({ id: text, canonicalId: text, displayName: text, email: text }),
      body: object({ displayName: { type: 'string', pattern: '^[^\\u0000-\\u001f]{1,255}$' }, email: { type: 'string', pattern: '^[^\\s@]+@[^\\s@]+$' } }, ['displayName']),
      async run({ body }) {
        const made = { id: String(randomInt(100_000_000_000, 999_999_999_999)), canonicalId: randomBytes(32).toString('hex'), displayName: String(body['displayName']), email: String(body['email'] ?? '') }
        if (!await store.createAccount(made)) throw new AdminError(503, 'The id that was drawn is taken: ask again.')
        log.warn('An account was made through the control port', { account: made.id })
        return made
      },
    },
    {
      name: 'listUsers', method: 'GET', path: '/accounts/{id}/users', summary: 'Users of an account by name', answer: listOf(user),
      async run({ path }) {
        if (!(await store.accounts()).some(({ id }) => id === path['id'])) throw new AdminError(404, `There is no account ${path['id']}.`)
        return all((await store.users(path['id'] ?? '')).map(timed))
      },
    },
    {
      name: 'listKeys', method: 'GET', path: '/keys', summary: 'Access keys, without their secrets', answer: listOf(key), query: { account: { type: 'string', description: 'Only those of this account' } },
      run: async ({ query }) => all((await store.accessKeys(query.get('account') ?? null)).map(timed)),
    },
    {
      name: 'createKey', method: 'POST', path: '/keys', summary: 'A new pair for an account or for a user of it', status: 201, answer: newKey,
      body: object({ accountId: text, userName: textOrNull, admin: { type: 'boolean', description: 'It opens this API, too; default false' } }, ['accountId']),
      async run({ body, by }) {
        const admin = body['admin'] === true
        const owner = { accountId: String(body['accountId']), userName: (body['userName'] ?? null) as string | null }
        assertMay(by, owner)
        const pair = newKeyPair()
        const result = await store.createAccessKey({ ...owner, admin, ...pair })
        if (result !== 'made') throw result === 'taken' ? new AdminError(503, 'The id that was drawn is taken: ask again.') : new AdminError(404, `There is ${result}.`)
        log.warn('An access key was made through the control port', { accessKeyId: pair.accessKeyId, admin, by: by.accessKeyId })
        return { ...owner, ...pair, enabled: true, admin, createdAt: time(Date.now()) }
      },
    },
    {
      name: 'rotateKey', method: 'POST', path: '/keys/{id}/rotate', summary: 'A new pair for whoever holds this one, which is disabled', status: 201, answer: newKey,
      async run({ path, by }) {
        const old = await existing(path['id'] ?? '')
        assertMay(by, old)
        const pair = newKeyPair()
        const made = await store.rotateAccessKey(old.accessKeyId, pair)
        if (made === null) throw new AdminError(404, `There is no access key ${old.accessKeyId}.`)
        log.warn('An access key was rotated through the control port', { old: old.accessKeyId, accessKeyId: pair.accessKeyId, by: by.accessKeyId })
        return { ...timed(made), secretAccessKey: pair.secretAccessKey }
      },
    },
    { name: 'disableKey', method: 'POST', path: '/keys/{id}/disable', summary: 'It opens nothing any more', answer: key, run: ({ path, by }) => enable(by, path['id'] ?? '', false) },
    { name: 'enableKey', method: 'POST', path: '/keys/{id}/enable', summary: 'It opens again what it did', answer: key, run: ({ path, by }) => enable(by, path['id'] ?? '', true) },
  ]
}

function jobRoutes({ sweeper, scrubber, log }: AdminParts): readonly AdminRoute[] {
  const timeOrNull = (ms: number | null): string | null => (ms === null ? null : time(ms))
  return [
    {
      name: 'listJobs', method: 'GET', path: '/jobs', summary: 'What runs in the background, and how far it has come', answer: listOf(job),
      run() {
        const { total, failedPasses, ...sweep } = sweeper.status()
        const { passes, lastPassAt, ...scrub } = scrubber.status()
        return all([
          { name: 'sweeper', passes: sweep.passes, lastPassAt: timeOrNull(sweep.lastPassAt), stopped: sweep.stopped, figures: { ...total, failedPasses } },
          { name: 'scrubber', passes, lastPassAt: timeOrNull(lastPassAt), stopped: null, figures: scrub },
        ])
      },
    },
    {
      name: 'runSweeper', method: 'POST', path: '/jobs/sweeper/run', summary: 'Starts a pass of the sweeper now; listJobs tells when it has ended', status: 202, answer: object({ started: flag }),
      run() {
        sweeper.runOnce().catch((error: unknown) => log.error('sweep failed', { error }))
        return { started: true }
      },
    },
  ]
}
