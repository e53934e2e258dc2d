import { randomBytes } from 'node:crypto'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import net from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { sendRequest, signedRequest, type RawRequest, type RawResponse } from '../../support/raw.ts'
import { failedStart, foreignVariables, startServer, type TestServer } from '../../support/server.ts'
import { run as runProgram } from '../../support/tools.ts'
import { createSearch, everythingBelow, listenersOf, wholeFamily, type Canary } from '../hostile/canaries.ts'
import { attacksOf, runBatch } from '../hostile/fuzz.ts'
import { openWire } from '../hostile/wire.ts'
import { randomOf, type Random } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'no secret leaks'
export const promise = 'No secret stands in a log, an answer, a page, a profile, a command line, a file of the data folder or PostgreSQL’s environment; nobody but the owner reads the data folder; nothing listens but the two ports, on loopback'
export const method = 'canaries as root secret, user secret, master key, session token and password of the database; then all that was written is searched for them in every encoding'

/** The heap, and a core or heap snapshot with it, holds secrets necessarily: the snapshot is for the root account alone, and is not searched. */

/** A shorter run leaves out most of the starts that fail, and some commands and pages. */
const shortSeconds = 10
const main = fileURLToPath(new URL('../../../src/main.ts', import.meta.url))
const program = (args: readonly string[], env: Readonly<Record<string, string>>) => runProgram(process.execPath, [main, ...args], { env: { ...foreignVariables(), ...env }, status: 'any' })

interface Canaries {
  readonly root: Canary
  readonly user: Canary
  readonly master: Canary
  readonly token: Canary
  readonly password: Canary
}

/** Characters that encodings change, in all of them. */
function draw(random: Random): Canaries {
  const text = (length: number): string => Array.from({ length }, () => Math.floor(random() * 36).toString(36)).join('') + randomBytes(4).toString('hex')
  return {
    root: { name: 'the root secret', secret: `ro/${text(16)}+&<=?%` }, user: { name: 'a user’s secret', secret: `us/${text(16)}+&"=` }, master: { name: 'the master key', secret: randomBytes(32).toString('hex') },
    token: { name: 'a session token', secret: `to/${text(20)}==` }, password: { name: 'the password of the database', secret: `pw${text(16)}` },
  }
}

/** A case is one thing that was searched or looked at. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const random = randomOf(seed)
  const canaries = draw(random)
  const search = createSearch(Object.values(canaries))
  const folder = await mkdtemp(path.join(tmpdir(), 'holdfast-secrets-'))
  const violations: string[] = []
  let cases = 0
  const look = (where: string, text: string | Buffer): void => {
    cases += 1
    search.look(where, text)
  }
  try {
    const bootstrap = path.join(folder, 'accounts.json')
    const user = { accessKeyId: 'CANARYUSER', secretAccessKey: canaries.user.secret }
    await writeFile(bootstrap, JSON.stringify({ accounts: [{ root: true, displayName: 'Root', users: [{ name: 'canary', accessKeys: [user], policies: [{ Version: '2012-10-17', Statement: { Effect: 'Allow', Action: 's3:Get*', Resource: '*' } }] }] }] }))
    const env = { HOLDFAST_ROOT_ACCESS_KEY: 'CANARYROOT', HOLDFAST_ROOT_SECRET_KEY: canaries.root.secret, HOLDFAST_MASTER_KEY: canaries.master.secret }
    const server = await startServer({ env: { ...env, HOLDFAST_BOOTSTRAP_FILE: bootstrap, HOLDFAST_LOG_LEVEL: 'debug', HOLDFAST_PROCESSES: '2' } })
    try {
      for (const [where, answer] of await answers(server, user, canaries.token.secret)) look(where, Buffer.concat([Buffer.from(JSON.stringify(answer.headers)), answer.body]))
      const wire = openWire(server.port, 8)
      const until = Date.now() + seconds * 500
      for (let batch = 0; batch === 0 || Date.now() < until; batch++) violations.push(...(await runBatch(server, wire, attacksOf(seed + batch, 400), seed + batch, 16)).violations)
      wire.close()
      for (const [where, answer] of await controlPages(server, user, seconds < shortSeconds)) {
        look(where, Buffer.concat([Buffer.from(JSON.stringify(answer.headers)), answer.body]))
        if (where.startsWith('unsigned') && answer.status < 400 && !/^unsigned \/health\/(?:live|ready)$/.test(where)) violations.push(`the control port answers ${answer.status} to ${where}`)
        if (where.startsWith('user') && answer.status !== 403) violations.push(`the control port answers ${answer.status} to a user’s ${where}`)
      }
      for (const pid of await wholeFamily(server.pid)) {
        const argv = await readFile(`/proc/${pid}/cmdline`).catch(() => Buffer.alloc(0))
        look(`the command line of ${argv.toString().replaceAll('\0', ' ').slice(0, 60)}`, argv)
        // The server's own environment is where its operator put the secrets; those of PostgreSQL need none.
        if (argv.includes('postgres')) look('the environment of PostgreSQL', await readFile(`/proc/${pid}/environ`).catch(() => Buffer.alloc(0)))
        const listeners = await listenersOf(pid)
        if (argv.includes('postgres') && listeners.length > 0) violations.push(`PostgreSQL listens on ${listeners.join(', ')}`)
        for (const each of listeners) if (!each.startsWith('0100007F:') || ![server.port, server.controlPort].includes(Number(each.split(':')[1]))) violations.push(`something listens on ${each}`)
        cases += 1
      }
      const commands = [['scrub', '--digests', '--json'], ['fsck', '--nonsense'], ['--help'], ['fsck', '--json'], ['scrub'], ['--version'], ['scrub', '--help']]
      for (const args of commands.slice(0, seconds < shortSeconds ? 3 : commands.length)) {
        const { stdout, stderr } = await program(args, { ...env, HOLDFAST_DATA_DIR: server.dataDir })
        look(`what holdfast ${args.join(' ')} prints`, stdout + stderr)
      }
      const below = await everythingBelow(server.dataDir)
      for (const { file, mode, kind } of below) {
        if (kind !== 'other' && (mode & 0o077) !== 0) violations.push(`${path.relative(server.dataDir, file)} has mode ${mode.toString(8)}`)
        if (kind === 'file') look(`the file ${path.relative(server.dataDir, file)} of the data folder`, await readFile(file).catch(() => Buffer.alloc(0)))
      }
      await server.stop()
      look('the log', server.output())
      for (const [where, text] of await failures(server.dataDir, folder, env, canaries, seconds < shortSeconds ? 3 : 99)) look(where, text)
      violations.push(...search.found)
      say(`${cases} answers, pages, processes, files and outputs searched for ${Object.keys(canaries).length} secrets in every encoding; ${below.length} files and folders with their rights`)
      return { cases, violations: violations.map((text) => `seed ${seed}: ${text}`) }
    } finally {
      await server.remove()
    }
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

type Told = readonly [where: string, answer: RawResponse]

/** Good and bad requests of all sorts. */
async function answers(server: TestServer, user: { readonly accessKeyId: string; readonly secretAccessKey: string }, token: string): Promise<Told[]> {
  const told: Told[] = []
  const ask = async (where: string, request: Omit<RawRequest, 'server'>): Promise<void> => void told.push([where, await signedRequest({ server, ...request })])
  await ask('a new bucket', { method: 'PUT', path: '/canary-bucket' })
  await ask('a put', { method: 'PUT', path: '/canary-bucket/k', body: 'x' })
  for (const target of ['', '?versions', '?uploads', '?acl', '?policy', '?location', '?versioning', '?tagging', '/k', '/k?attributes', '/k?acl', '/missing', '/k?versionId=x', '?list-type=2&continuation-token=x']) await ask(`GET ${target}`, { path: `/canary-bucket${target}` })
  for (const sign of ['header', 'presigned'] as const) {
    await ask(`a ${sign} of the user`, { path: '/canary-bucket/k', credentials: user, sign })
    await ask(`a refused ${sign} of the user`, { method: 'PUT', path: '/canary-bucket/k2', body: 'x', credentials: user, sign })
    await ask(`a wrong ${sign}`, { path: '/canary-bucket/k', credentials: { accessKeyId: server.accessKeyId, secretAccessKey: 'wrong-secret' }, sign })
    await ask(`an old ${sign}`, { path: '/canary-bucket/k', headers: { 'x-amz-date': '20200101T000000Z' }, sign })
    await ask(`an unsigned header in a ${sign}`, { path: '/canary-bucket/k', unsignedHeaders: { 'x-amz-acl': 'private' }, sign })
  }
  // S3 names a token that it does not know to who sent it; nobody else may read of it, so only the log is searched for this one.
  await signedRequest({ server, path: '/canary-bucket/k', headers: { 'x-amz-security-token': token } })
  await signedRequest({ server, path: `/canary-bucket/k?X-Amz-Security-Token=${encodeURIComponent(token)}`, sign: 'presigned' })
  await sendRequest({ server, method: 'GET', path: '/%zz', headers: { host: 'x', authorization: 'AWS x:y' } }).then((answer) => told.push(['a broken path', answer]))
  await ask('the root of the bucket is gone', { method: 'DELETE', path: '/canary-bucket/k' })
  await ask('the bucket is gone', { method: 'DELETE', path: '/canary-bucket' })
  return told
}

async function controlPages(server: TestServer, user: { readonly accessKeyId: string; readonly secretAccessKey: string }, short: boolean): Promise<Told[]> {
  const control = { ...server, url: server.controlUrl }
  const told: Told[] = []
  const pages = ['/', '/health/live', '/health/ready', '/health', '/metrics', '/debug', '/debug/runtime', '/debug/profile?seconds=1', '/debug/allocations?seconds=1', '/debug/heap?thread=nobody', '/debug/nothing', '/admin', '/console', '/..%2fdebug/runtime', '//debug/runtime', '/DEBUG/runtime']
  for (const page of pages) {
    told.push([`unsigned ${page}`, await signedRequest({ server: control, path: page, sign: 'none' })])
    if (page.startsWith('/debug')) told.push([`user ${page}`, await signedRequest({ server: control, path: page, credentials: user })])
    told.push([`signed ${page}`, await signedRequest({ server: control, path: page })])
  }
  for (const name of short ? ['nobody'] : ['supervisor', 'nobody']) for (const page of ['runtime', 'profile']) told.push([`signed ${page} of ${name}`, await signedRequest({ server: control, path: `/debug/${page}?process=${name}${page === 'profile' ? '&seconds=1&format=html' : ''}` })])
  return told
}

/** Starts that fail, each with a secret in what it was told. */
async function failures(dataDir: string, folder: string, env: Readonly<Record<string, string>>, { password, user, root }: Canaries, most: number): Promise<(readonly [where: string, text: string])[]> {
  const deaf = net.createServer((socket) => socket.end()).listen(0, '127.0.0.1')
  await new Promise((resolve) => deaf.once('listening', resolve))
  const { port } = deaf.address() as net.AddressInfo
  const broken = path.join(folder, 'broken.json')
  await writeFile(broken, `{"accounts": [{"root": true, "accessKeys": [{"accessKeyId": "A", "secretAccessKey": ${JSON.stringify(user.secret)}}]}`)
  const twice = path.join(folder, 'bad-key.json')
  await writeFile(twice, JSON.stringify({ accounts: [{ root: true, displayName: 'x', accessKeys: [{ accessKeyId: '!', secretAccessKey: user.secret }] }] }))
  const config = path.join(folder, 'config.yaml')
  await writeFile(config, `rootAccessKey: CANARY\nrootSecretKey: [${JSON.stringify(root.secret)}]\nnonsense: ${JSON.stringify(password.secret)}\n`)
  const starts: readonly (readonly [string, Readonly<Record<string, string>>])[] = [
    ['a database that is not there', { HOLDFAST_DATABASE_URL: `postgres://holdfast:${password.secret}@127.0.0.1:1/holdfast` }], ['a database that hangs up', { HOLDFAST_DATABASE_URL: `postgres://holdfast:${password.secret}@127.0.0.1:${port}/holdfast` }],
    ['a host that has no address', { HOLDFAST_DATABASE_URL: `postgres://holdfast:${password.secret}@nowhere.invalid/holdfast` }], ['a URL that is none', { HOLDFAST_DATABASE_URL: `postgres://holdfast:${password.secret}@127.0.0.1:99999999/x y` }],
    ['a URL with a broken port', { HOLDFAST_DATABASE_URL: `postgres://holdfast:${password.secret}@127.0.0.1:99999999/x` }], ['another scheme', { HOLDFAST_DATABASE_URL: `mysql://holdfast:${password.secret}@127.0.0.1/x` }],
    ['a secret with a space', { HOLDFAST_ROOT_SECRET_KEY: `${root.secret} x` }], ['a secret without its key', { HOLDFAST_ROOT_ACCESS_KEY: '' }], ['a master key that is none', { HOLDFAST_MASTER_KEY: root.secret }], ['another master key', { HOLDFAST_MASTER_KEY: randomBytes(32).toString('hex') }],
    ['a broken file of accounts', { HOLDFAST_BOOTSTRAP_FILE: broken }], ['a bad key in a file of accounts', { HOLDFAST_BOOTSTRAP_FILE: twice }], ['a broken configuration', { HOLDFAST_CONFIG: config }], ['a port that cannot be had', { HOLDFAST_PORT: '1' }],
  ]
  const told: (readonly [string, string])[] = []
  try {
    for (const [what, more] of starts.slice(0, most)) {
      const { output } = await failedStart({ HOLDFAST_DATA_DIR: dataDir, ...env, ...more }, 8000)
      told.push([`what a start says with ${what}`, output])
    }
    for (const pair of [['minioadmin', 'minioadmin'], ['admin-key', 'password123']] as const) {
      const { code, output } = await failedStart({ HOLDFAST_DATA_DIR: dataDir, HOLDFAST_ROOT_ACCESS_KEY: pair[0], HOLDFAST_ROOT_SECRET_KEY: pair[1] }, 8000)
      if (code === 0 || !output.includes('well-known')) throw new Error(`A pair that everybody knows is taken: ${output}`)
    }
    return told
  } finally {
    deaf.close()
  }
}
