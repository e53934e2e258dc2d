import { bucket, fillBucket, fillKey, newKeys, newStamp, takeDeletable, type Bench } from './bench.ts'
import type { LoadResult } from './load.ts'
import { openLoop, type OpenLoopResult } from './open-loop.ts'
import { createRandom } from './random.ts'
import { hasWrk, loadByWrk } from './wrk.ts'
import { loadBySockets } from './sockets.ts'
import { requestBytes, stamped } from './wire.ts'

/** Of a hundred requests. */
const shares = { GET: 45, PUT: 30, HEAD: 15, DELETE: 10 }
const drainSeconds = 10

/** GET, PUT, HEAD and DELETE of 4 KiB at a fixed rate, whatever the answers do. */
export async function prepareMixed(bench: Bench, perSecond: number, connections: number): Promise<() => Promise<LoadResult>> {
  const { server: { host, port, signer }, seconds } = bench
  const random = createRandom()
  const total = Math.floor(perSecond * seconds)
  const putKeys = newKeys(bench, total)
  const stamp = newStamp()
  const deleteKeys = await takeDeletable(bench, Math.ceil(total * 0.15))
  let [puts, deletes] = [0, 0]
  const requests = Array.from({ length: total }, () => {
    const at = random() * 100
    const reading = (method: string) => ({ host, port, method, path: signer.path(method, fillBucket, fillKey(bench, Math.floor(random() * bench.objects))) })
    if (at < shares.GET) return requestBytes(reading('GET'))
    if (at < shares.GET + shares.PUT) return requestBytes({ host, port, method: 'PUT', path: signer.path('PUT', bucket, putKeys[puts++] ?? ''), body: stamped(bench.bodies.small, stamp, puts) })
    if (at < shares.GET + shares.PUT + shares.HEAD) return requestBytes(reading('HEAD'))
    return requestBytes({ host, port, method: 'DELETE', path: signer.path('DELETE', bucket, deleteKeys[deletes++] ?? '') })
  })
  return async () => {
    const startedAt = performance.now()
    const result = await openLoop({ host, port, connections, perSecond, seconds, drainSeconds, request: (index) => requests[index] ?? Buffer.alloc(0) })
    bench.deletable.push(...putKeys.slice(0, result.broken > 0 ? 0 : puts))
    return loadResultOf(result, (performance.now() - startedAt) / 1000)
  }
}

const probesPerSecond = 200
const probeConnections = 8
/** Signatures that are made before: more than any server answers. */
const saturatingPutsPerSecond = 20_000

/**
 * PUT of 4 KiB over so many connections that the server is at its limit (or past it), and beside them one client that asks for
 * little. The times are those of the one; requests and refusals those of the many, where a refusal is what past the limit means.
 */
export async function prepareSaturated(bench: Bench, connections: number): Promise<() => Promise<LoadResult>> {
  const { server: { host, port, signer }, seconds } = bench
  const paths = newKeys(bench, Math.ceil(seconds * saturatingPutsPerSecond)).map((key) => signer.path('PUT', bucket, key))
  const total = Math.floor(probesPerSecond * seconds)
  const probeKeys = newKeys(bench, total)
  // A read, a look and a write in turn.
  const probeStamp = newStamp()
  const probes = probeKeys.map((key, index) => {
    const read = fillKey(bench, (index * 7919) % bench.objects)
    const [method, bucketName, name] = index % 3 === 0 ? ['GET', fillBucket, read] as const : index % 3 === 1 ? ['HEAD', fillBucket, read] as const : ['PUT', bucket, key] as const
    return requestBytes({ host, port, method, path: signer.path(method, bucketName, name), body: method === 'PUT' ? stamped(bench.bodies.small, probeStamp, index) : null })
  })
  const load = { host, port, method: 'PUT', paths, body: bench.bodies.small, connections, seconds, once: true, stamp: newStamp() } as const
  return async () => {
    const [many, one] = await Promise.all([
      await hasWrk() ? loadByWrk(load) : loadBySockets(load),
      openLoop({ host, port, connections: probeConnections, perSecond: probesPerSecond, seconds, drainSeconds, request: (index) => probes[index] ?? Buffer.alloc(0) }),
    ])
    const { p50Ms, p99Ms, p999Ms, maxMs } = one
    return { ...many, p50Ms, p99Ms, p999Ms, maxMs, broken: many.broken + one.broken, probeRefused: one.refused }
  }
}

function loadResultOf({ answered, refused, broken, p50Ms, p99Ms, p999Ms, maxMs }: OpenLoopResult, seconds: number): LoadResult {
  return { requests: answered, seconds, bytes: 0, refused, broken, p50Ms, p99Ms, p999Ms, maxMs, exhausted: true }
}
