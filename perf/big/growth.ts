import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { median } from '../statistics.ts'
import { ask, costOf, createFigures, createRandom, must, powerName, say, sendAll, smallBody, smallBytes, type Big, type BigOptions, type Cost, type Figures } from './bench.ts'
import { fillTo, growthBucket, growthKey, filledObjects, prefixes, sizesOf } from './growth-fill.ts'
import { loadBySockets } from '../sockets.ts'

const largestDefault = 10_000_000
const referenceObjects = 10_000
const warmUpRounds = 2
const measuredRounds = 3
const requests = { PUT: 4000, GET: 8000, HEAD: 8000, LIST: 150 }
const operations = ['PUT', 'GET', 'HEAD', 'LIST', 'DELETE'] as const
type Operation = (typeof operations)[number]

/** Every cost at 10^4, 10^5, 10^6 and 10^7 objects in one bucket, each beside another server that has 10^4 and is asked in turn. */
export const growth: Big = {
  name: 'growth',
  async run(options) {
    const figures = createFigures('growth')
    const folder = options.reuse === undefined ? makeDataFolder(options.dir) : { path: options.reuse, remove: () => undefined }
    const small = makeDataFolder(options.dir)
    mkdirSync(folder.path, { recursive: true })
    const servers: Server[] = []
    try {
      const server = await startHoldfast({ dataDir: folder.path })
      servers.push(server)
      if (options.fillOnly === true) await fill(server, folder.path, options.largest ?? largestDefault, figures)
      else {
        const reference = await startHoldfast({ dataDir: small.path })
        servers.push(reference)
        await fillTo(reference, small.path, 0, referenceObjects)
        await measureAll(server, reference, folder.path, options, figures)
      }
    } finally {
      for (const server of servers) await server.stop()
      small.remove()
      folder.remove()
    }
    return figures.all
  },
}

async function fill(server: Server, dataDir: string, size: number, figures: Figures): Promise<void> {
  const filled = filledObjects(dataDir)
  if (size <= filled) return
  figures.add(`seconds to fill from ${filled} to ${powerName(size)}`, 's', await fillTo(server, dataDir, filled, size), 'less')
  await addSizes(dataDir, size, figures)
}

async function measureAll(server: Server, reference: Server, dataDir: string, options: BigOptions, figures: Figures): Promise<void> {
  const largest = options.largest ?? largestDefault
  for (const size of [referenceObjects, 100_000, 1_000_000].filter((step) => step < largest).concat(largest)) {
    if (size < filledObjects(dataDir)) continue
    await fill(server, dataDir, size, figures)
    const both = [{ server: reference, size: referenceObjects, costs: noCosts() }, { server, size, costs: noCosts() }] as const
    for (let round = -warmUpRounds; round < measuredRounds; round++) {
      for (const one of both) await addCosts(one.server, one.size, round, round < 0 ? noCosts() : one.costs)
    }
    for (const operation of operations) {
      const [before, now] = both.map(({ costs }) => ({
        node: median(costs[operation].map((cost) => cost.serverMicroseconds)), helpers: median(costs[operation].map((cost) => cost.helperMicroseconds)),
      }))
      if (before === undefined || now === undefined) continue
      figures.add(`CPU of ${operation} at ${powerName(size)} (server ${now.node.toFixed(0)}, PostgreSQL ${now.helpers.toFixed(0)})`, 'us', now.node + now.helpers, 'less')
      figures.add(`CPU of ${operation} at ${powerName(size)} to that at 10^4 (${before.node.toFixed(0)} + ${before.helpers.toFixed(0)} us)`, 'x', (now.node + now.helpers) / (before.node + before.helpers), 'less')
    }
  }
  await listings(server, largest, figures)
}

const noCosts = (): Record<Operation, Cost[]> => ({ PUT: [], GET: [], HEAD: [], LIST: [], DELETE: [] })

/** One round of each operation over random keys; what PUT added, DELETE takes away. */
async function addCosts(server: Server, size: number, round: number, to: Record<Operation, Cost[]>): Promise<void> {
  const random = createRandom(size + round)
  const existing = (): string => growthKey(random(size))
  const path = (method: string, key: string, query: Readonly<Record<string, string>> = {}): string => server.signer.path(method, growthBucket, key, query)
  const run = async (operation: Operation, method: 'GET' | 'HEAD' | 'PUT' | 'DELETE', paths: readonly string[], connections: number, body: Buffer | null = null): Promise<void> => {
    to[operation].push(await costOf(server, () => sendAll(server, method, paths, connections, body)))
  }
  // New keys all over the bucket.
  const added = Array.from({ length: requests.PUT }, (_, index) => `${growthKey(index).slice(0, 13)}${createHash('md5').update(`new ${round} ${index}`).digest('hex').slice(0, 27)}`)
  await run('PUT', 'PUT', added.map((key) => path('PUT', key)), 64, smallBody)
  await run('GET', 'GET', Array.from({ length: requests.GET }, () => path('GET', existing())), 64)
  await run('HEAD', 'HEAD', Array.from({ length: requests.HEAD }, () => path('HEAD', existing())), 64)
  await run('LIST', 'GET', Array.from({ length: requests.LIST }, () => path('GET', '', page(startOf(random)))), 4)
  await run('DELETE', 'DELETE', added.map((key) => path('DELETE', key)), 64)
}

const page = (startAfter: string): Record<string, string> => ({ 'list-type': '2', 'max-keys': '1000', 'start-after': startAfter })
/** Somewhere in the first nine tenths, so that a page is full. */
const startOf = (random: (below: number) => number): string => growthKey(random(Math.floor(prefixes * 0.88))).slice(0, 6 + 7 + random(3))

async function addSizes(dataDir: string, size: number, figures: Figures): Promise<void> {
  const { heapBytes, indexBytes, databaseBytes } = await sizesOf(dataDir)
  const parts = Object.entries(indexBytes).map(([name, bytes]) => `${name} ${(bytes / size).toFixed(0)}`).join(', ')
  const sum = heapBytes + Object.values(indexBytes).reduce((total, bytes) => total + bytes, 0)
  figures.add(`metadata at ${powerName(size)} per object (table ${(heapBytes / size).toFixed(0)}, ${parts})`, 'bytes', sum / size, 'less')
  figures.add(`whole database at ${powerName(size)} per object`, 'bytes', databaseBytes / size, 'less')
}

/** Throughput of listings, plain and by delimiter, at the largest size. */
async function listings(server: Server, size: number, figures: Figures): Promise<void> {
  const random = createRandom(size + 1)
  const { host, port, signer } = server
  const plain = Array.from({ length: 500 }, () => signer.path('GET', growthBucket, '', page(startOf(random))))
  const keys = await loadBySockets({ host, port, method: 'GET', paths: plain, body: null, connections: 4, seconds: 5, once: false })
  figures.add(`LIST at ${powerName(size)}, 4 connections`, 'keys/s', (keys.requests * 1000) / keys.seconds, 'more')
  figures.add(`LIST at ${powerName(size)}, 4 connections: p99`, 'ms', keys.p99Ms, 'less')
  const target = signer.path('GET', growthBucket, '', { 'list-type': '2', 'max-keys': '1000', delimiter: '/' })
  const shown = (await ask(server, 'GET', target)).body.toString().split('<CommonPrefixes>').length - 1
  if (shown !== prefixes) throw new Error(`The listing by delimiter shows ${shown} of ${prefixes} prefixes`)
  for (const connections of [1, 4]) {
    const pages = await costOf(server, () => loadBySockets({ host, port, method: 'GET', paths: [target], body: null, connections, seconds: 5, once: false }))
    const { result } = pages
    if (result.refused + result.broken > 0) throw new Error('LIST by delimiter was refused')
    const name = `LIST by delimiter, ${prefixes} prefixes over ${powerName(size)} keys, ${connections} connection${connections === 1 ? '' : 's'}`
    figures.add(name, 'pages/s', result.requests / result.seconds, 'more')
    figures.add(`${name}: p99`, 'ms', result.p99Ms, 'less')
    figures.add(`${name}: CPU (server ${pages.serverMicroseconds.toFixed(0)}, PostgreSQL ${pages.helperMicroseconds.toFixed(0)})`, 'us', pages.serverMicroseconds + pages.helperMicroseconds, 'less')
  }
  await checkSample(server, size)
  say(`  ${Math.min(20, size)} objects read back right`)
}

/** Objects that came as rows are read like those that were PUT. */
async function checkSample(server: Server, size: number): Promise<void> {
  const random = createRandom(7)
  for (let index = 0; index < 20; index++) {
    const key = growthKey(random(size))
    const { body, etag } = await must(server, 'GET', growthBucket, key)
    if (body.length !== smallBytes || etag !== `"${createHash('md5').update(body).digest('hex')}"`) throw new Error(`${key} came back with other bytes`)
  }
}
