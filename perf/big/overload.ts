import type { OpenLoopResult } from '../open-loop.ts'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { createFigures, createRandom, fill, keyOf, say, smallBytes, untilQuiet, type Big, type Figures } from './bench.ts'
import type { FloodResult } from './flood.ts'
import { generate, type WireRequest } from './generator.ts'

const bucket = 'overload'
const objects = 20_000
const largeBytes = 16 * 1024 ** 2
const secondsDefault = 8
const goodPerSecond = 50

/** What floods the server, and how many connections saturate it: more bring no more answers. */
const floods = [
  { name: 'PUT 4 KiB', saturating: 256 },
  { name: 'GET 4 KiB', saturating: 64 },
  { name: 'LIST 1,000', saturating: 8 },
  { name: 'PUT 16 MiB', saturating: 8 },
] as const
type FloodName = (typeof floods)[number]['name']

/** A good client that asks at a low, fixed rate, beside others that ask for all that they can get, and for twice that. */
export const overload: Big = {
  name: 'overload',
  async run(options) {
    const figures = createFigures('overload')
    const seconds = options.loadSeconds ?? secondsDefault
    const folder = makeDataFolder(options.dir)
    try {
      const server = await startHoldfast({ dataDir: folder.path, env: { HOLDFAST_SWEEP_GRACE_SECONDS: '1', HOLDFAST_SWEEP_INTERVAL_SECONDS: '5' } })
      try {
        await fill(server, bucket, objects)
        const alone = await good(server, seconds)
        figures.add(`good client alone: p50`, 'ms', alone.p50Ms, 'less')
        figures.add(`good client alone: p99`, 'ms', alone.p99Ms, 'less')
        for (const flood of floods) await beside(server, flood, seconds, figures)
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

async function beside(server: Server, { name, saturating }: (typeof floods)[number], seconds: number, figures: Figures): Promise<void> {
  for (const times of [1, 2]) {
    await untilQuiet(server.pid, 15_000)
    const connections = saturating * times
    const flooding = generate<FloodResult>({
      kind: 'flood', host: server.host, port: server.port, connections, seconds: seconds + 3, requests: floodRequests(server, name),
    })
    const [calm, flood] = await Promise.all([good(server, seconds, 2000), flooding])
    const title = `${name} x ${connections}`
    say(`  ${title}: good client p50 ${calm.p50Ms.toFixed(1)}, p99.9 ${calm.p999Ms.toFixed(1)} ms; flood p50 ${flood.good.p50Ms.toFixed(1)}, p99 ${flood.good.p99Ms.toFixed(1)} ms`)
    figures.add(`${title}: good client p99`, 'ms', calm.p99Ms, 'less')
    figures.add(`${title}: good client refused or without an answer`, 'requests', calm.refused + calm.broken, 'less')
    figures.add(`${title}: good answers`, '1/s', flood.good.count / flood.seconds, 'more')
    figures.add(`${title}: SlowDown`, '1/s', flood.slowDown.count / flood.seconds, 'less')
    if (flood.slowDown.count > 0) figures.add(`${title}: SlowDown came within (p99)`, 'ms', flood.slowDown.p99Ms, 'less')
    figures.add(`${title}: other answers, broken connections`, 'requests', flood.refused + flood.broken, 'less')
  }
}

function floodRequests({ signer }: Server, name: FloodName): WireRequest[] {
  const random = createRandom(3)
  switch (name) {
    case 'PUT 4 KiB':
      return Array.from({ length: 20_000 }, (_, index) => ({ method: 'PUT', path: signer.path('PUT', bucket, `flood/${index}`), bodyBytes: smallBytes }))
    case 'GET 4 KiB':
      return Array.from({ length: 20_000 }, () => ({ method: 'GET', path: signer.path('GET', bucket, keyOf(random(objects))), bodyBytes: 0 }))
    case 'LIST 1,000':
      return Array.from({ length: 500 }, () => ({
        method: 'GET', bodyBytes: 0, path: signer.path('GET', bucket, '', { 'list-type': '2', 'max-keys': '1000', 'start-after': keyOf(random(objects - 2000)) }),
      }))
    case 'PUT 16 MiB':
      return Array.from({ length: 64 }, (_, index) => ({ method: 'PUT', path: signer.path('PUT', bucket, `large/${index}`), bodyBytes: largeBytes }))
  }
}

/** 45 % GET, 30 % PUT, 15 % HEAD, 10 % LIST of 100. */
async function good({ host, port, signer }: Server, seconds: number, afterMs = 0): Promise<OpenLoopResult> {
  const random = createRandom(4)
  const requests = Array.from({ length: goodPerSecond * seconds }, (_, index): WireRequest => {
    const place = index % 20
    if (place < 9) return { method: 'GET', path: signer.path('GET', bucket, keyOf(random(objects))), bodyBytes: 0 }
    if (place < 15) return { method: 'PUT', path: signer.path('PUT', bucket, `good/${index}`), bodyBytes: smallBytes }
    if (place < 18) return { method: 'HEAD', path: signer.path('HEAD', bucket, keyOf(random(objects))), bodyBytes: 0 }
    return { method: 'GET', path: signer.path('GET', bucket, '', { 'list-type': '2', 'max-keys': '100', 'start-after': keyOf(random(objects - 1000)) }), bodyBytes: 0 }
  })
  await new Promise((resolve) => setTimeout(resolve, afterMs))
  return generate<OpenLoopResult>({ kind: 'open', host, port, connections: 50, perSecond: goodPerSecond, seconds, requests })
}
