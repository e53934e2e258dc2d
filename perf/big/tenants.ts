import { writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { OpenLoopResult } from '../open-loop.ts'
import { createSigner, type Signer } from '../presign.ts'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { createFigures, createRandom, fill, keyOf, say, smallBytes, untilQuiet, type Big, type Figures } from './bench.ts'
import type { FloodResult } from './flood.ts'
import { generate, type WireRequest } from './generator.ts'

const objects = 5000
const secondsDefault = 8
const noisyConnections = 400
const quietPerSecond = 50
/** Requests at once in all: enough to fill a group commit, so few that a turn comes soon. */
const limits = 'server: { concurrent: 16, queue: 1000 }\n'
const quiet = { accessKeyId: 'QUIETTENANT', secretAccessKey: 'the-secret-of-the-quiet-one' }
const accounts = `accounts:\n  - displayName: quiet\n    accessKeys: [{ accessKeyId: ${quiet.accessKeyId}, secretAccessKey: ${quiet.secretAccessKey} }]\n`

/** A tenant that asks for little beside one that asks for all that it can get, without limits and with turns. */
export const tenants: Big = {
  name: 'tenants',
  async run(options) {
    const figures = createFigures('tenants')
    const folder = makeDataFolder(options.dir)
    const [accountsFile, limitsFile] = [path.join(folder.path, 'accounts.yaml'), path.join(folder.path, 'limits.yaml')]
    writeFileSync(accountsFile, accounts)
    writeFileSync(limitsFile, '')
    try {
      const server = await startHoldfast({ dataDir: path.join(folder.path, 'data'), env: { HOLDFAST_BOOTSTRAP_FILE: accountsFile, HOLDFAST_LIMITS_FILE: limitsFile } })
      try {
        const signer = createSigner({ host: `${server.host}:${server.port}`, region: 'us-east-1', ...quiet })
        for (const [bucket, own] of [['noisy', server], ['quiet', { ...server, signer }]] as const) {
          await fill(own, bucket, objects)
        }
        for (const [title, document] of [['no limits', ''], ['turns', limits]] as const) {
          writeFileSync(limitsFile, document)
          await sleep(2500)
          await compare(server, signer, options.loadSeconds ?? secondsDefault, title, figures)
        }
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

async function compare(server: Server, signer: Signer, seconds: number, title: string, figures: Figures): Promise<void> {
  await untilQuiet(server.pid, 15_000)
  const alone = await calm(server, signer, seconds)
  figures.add(`${title}: quiet tenant alone: p99`, 'ms', alone.p99Ms, 'less')
  for (const name of ['GET', 'PUT'] as const) {
    await untilQuiet(server.pid, 15_000)
    const requests = Array.from({ length: 20_000 }, (_, index): WireRequest => (name === 'GET'
      ? { method: 'GET', path: server.signer.path('GET', 'noisy', keyOf(index % objects)), bodyBytes: 0 }
      : { method: 'PUT', path: server.signer.path('PUT', 'noisy', `flood/${index}`), bodyBytes: smallBytes }))
    const flooding = generate<FloodResult>({ kind: 'flood', host: server.host, port: server.port, connections: noisyConnections, seconds: seconds + 3, requests })
    const [beside, flood] = await Promise.all([calm(server, signer, seconds, 2000), flooding])
    say(`  ${title}, ${name}: quiet p50 ${beside.p50Ms.toFixed(1)} ms; noisy p50 ${flood.good.p50Ms.toFixed(1)}, p99 ${flood.good.p99Ms.toFixed(1)} ms`)
    figures.add(`${title}: beside ${noisyConnections} x ${name}: p99`, 'ms', beside.p99Ms, 'less')
    figures.add(`${title}: beside ${noisyConnections} x ${name}: p99, times alone`, 'times', beside.p99Ms / alone.p99Ms, 'less')
    figures.add(`${title}: beside ${noisyConnections} x ${name}: refused or without an answer`, 'requests', beside.refused + beside.broken, 'less')
    figures.add(`${title}: the noisy one's ${name}`, '1/s', flood.good.count / flood.seconds, 'more')
  }
}

/** 60 % GET, 40 % PUT of 4 KiB. */
async function calm({ host, port }: Server, signer: Signer, seconds: number, afterMs = 0): Promise<OpenLoopResult> {
  const random = createRandom(4)
  const requests = Array.from({ length: quietPerSecond * seconds }, (_, index): WireRequest => (index % 5 < 3
    ? { method: 'GET', path: signer.path('GET', 'quiet', keyOf(random(objects))), bodyBytes: 0 }
    : { method: 'PUT', path: signer.path('PUT', 'quiet', `calm/${index}`), bodyBytes: smallBytes }))
  await sleep(afterMs)
  return generate<OpenLoopResult>({ kind: 'open', host, port, connections: 8, perSecond: quietPerSecond, seconds, requests })
}
