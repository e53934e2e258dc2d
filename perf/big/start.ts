import { mkdtempSync, rmSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { descendantsOf } from '../processes.ts'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { median } from '../statistics.ts'
import { createFigures, must, powerName, say, smallBody, type Big, type Figures } from './bench.ts'
import { fillTo } from './growth-fill.ts'
import { loadBySockets } from '../sockets.ts'
import { runFlood } from './flood.ts'

const largestDefault = 1_000_000
const loadSecondsDefault = 15
const rounds = 3
const bucket = 'start'

/** From the start of the process to the first answer of 200 to a signed request. */
export const start: Big = {
  name: 'start',
  async run(options) {
    const figures = createFigures('start')
    const folder = makeDataFolder(options.dir)
    const objects = options.largest ?? largestDefault
    try {
      await empty(folder.path, figures)
      const dataDir = path.join(folder.path, 'filled')
      const first = await startHoldfast({ dataDir })
      say(`  filled with ${objects} objects in ${(await fillTo(first, dataDir, 0, objects)).toFixed(0)} s`)
      await must(first, 'PUT', bucket, '')
      await first.stop()
      const clean: number[] = []
      for (let round = 0; round < rounds; round++) {
        const server = await startHoldfast({ dataDir })
        clean.push(server.startSeconds)
        await server.stop()
      }
      figures.add(`${powerName(objects)} objects, after a clean stop`, 's', median(clean), 'less')
      await afterKills(dataDir, powerName(objects), options.loadSeconds ?? loadSecondsDefault, figures)
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

async function empty(parent: string, figures: Figures): Promise<void> {
  const seconds: number[] = []
  for (let round = 0; round < rounds; round++) {
    const dataDir = mkdtempSync(path.join(parent, 'empty-'))
    const server = await startHoldfast({ dataDir })
    seconds.push(server.startSeconds)
    await server.stop()
    rmSync(dataDir, { recursive: true })
  }
  figures.add('an empty folder', 's', median(seconds), 'less')
}

/** Everything is killed while 64 connections write; what was answered must be there afterwards. */
async function afterKills(dataDir: string, name: string, seconds: number, figures: Figures): Promise<void> {
  const starts: number[] = []
  let lost = 0
  for (let round = 0; round < rounds; round++) {
    const server = await startHoldfast({ dataDir })
    const { host, port, signer } = server
    const answered: string[] = []
    let index = 0
    const load = runFlood({
      host, port, connections: 64, seconds,
      next() {
        const key = `${round}/${index++}`
        const head = Buffer.from(`PUT ${signer.path('PUT', bucket, key)} HTTP/1.1\r\nHost: ${host}:${port}\r\nContent-Length: ${smallBody.length}\r\n\r\n`, 'latin1')
        return { isHead: false, head: Buffer.concat([head, smallBody]), body: null, answered: (status) => void (status === 200 && answered.push(key)) }
      },
    })
    // Before the flood ends by itself: requests are on the way.
    await sleep(seconds * 1000 - 500)
    kill(server)
    const { refused } = await load
    await server.stop()
    const again = await startHoldfast({ dataDir })
    starts.push(again.startSeconds)
    lost += await missing(again, answered.filter((_, at) => at % 7 === 0 || at > answered.length - 1000))
    say(`  round ${round}: ${answered.length} PUT before the kill (${refused} refused), start ${again.startSeconds.toFixed(2)} s`)
    await again.stop()
  }
  figures.add(`${name} objects, after kill -9 of everything under ${seconds} s of PUT`, 's', median(starts), 'less')
  figures.add(`${name} objects, after kill -9: the slowest of ${rounds}`, 's', Math.max(...starts), 'less')
  figures.add('answered PUTs that were lost', 'objects', lost, 'less')
}

/** The server and PostgreSQL, in one go. */
function kill(server: Server): void {
  const all = [server.pid, ...descendantsOf(server.pid).map(({ pid }) => pid)]
  for (const pid of all) {
    try {
      process.kill(pid, 'SIGKILL')
    } catch (error) {
      // A child of PostgreSQL may have ended by itself since the list was made.
      if (!(error instanceof Error && 'code' in error && error.code === 'ESRCH')) throw error
    }
  }
}

async function missing(server: Server, keys: readonly string[]): Promise<number> {
  const { host, port, signer } = server
  const paths = keys.map((key) => signer.path('GET', bucket, key))
  if (paths.length === 0) return 0
  const result = await loadBySockets({ host, port, method: 'GET', paths, body: null, connections: 32, seconds: 600, once: true })
  return paths.length - (result.requests - result.refused)
}
