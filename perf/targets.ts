/** What one row of the goals asks of one figure. */
export interface Check {
  /** As samples.ts names it; of a long run, what its name begins with up to the numbers in it. */
  readonly figure: string | RegExp
  readonly unit?: string
  readonly ours?: 'holdfast' | 'holdfast-relaxed'
  /** A ratio to this peer, or to the best of these in the same round; none: the value itself. */
  readonly against?: readonly string[]
  /** `against` are all known peers of this class. */
  readonly bestOf?: 'S' | 'R'
  /** Null: nothing is asked at this step. */
  readonly must: number | null
  readonly aim: number | null
  readonly better: 'more' | 'less'
}

export interface Target {
  readonly label: string
  readonly checks: readonly Check[]
}

const minio = ['minio']
const relaxedPeers = ['versitygw', 'garage']
const strictPeers = ['minio', 'garage-fsync']

const more = (figure: string, against: readonly string[], must: number | null, aim: number | null): Check => ({ figure, against, must, aim, better: 'more' })
/** "Best" is the best of the peers in the same class: asked of Holdfast in both. */
const best = (figure: string, must: number | null, aim: number | null): Check[] => [
  { ...more(figure, strictPeers, must, aim), bestOf: 'S' }, { ...more(figure, relaxedPeers, must, aim), bestOf: 'R', ours: 'holdfast-relaxed' },
]
const atMost = (figure: string | RegExp, unit: string, must: number | null, aim: number | null): Check => ({ figure, unit, must, aim, better: 'less' })

/** What the project wants to reach: `must` always, `aim` or a reason why not. */
export const targets: readonly Target[] = [
  { label: 'PUT 4 KiB, class S, 64 connections', checks: [more('put 64: requests/s', minio, 5, 12)] },
  { label: 'PUT 4 KiB, class S, 1 connection', checks: [more('put 1: requests/s', minio, 1.3, 2.5)] },
  { label: 'PUT 4 KiB, class R, 64 connections', checks: best('put 64: requests/s', 2, 6).slice(1) },
  { label: 'GET 4 KiB, 64 connections', checks: [more('get 64: requests/s', minio, 3, 8), ...best('get 64: requests/s', 2, 6)] },
  { label: 'HEAD, 64 connections', checks: [more('head 64: requests/s', minio, 3, 8), ...best('head 64: requests/s', 1.5, 4)] },
  { label: 'LIST, 1,000 keys a page', checks: [more('list 4: keys/s', minio, 4, 10), ...best('list 4: keys/s', 0.8, 2)] },
  { label: 'LIST by delimiter', checks: [more('list-delimiter 4: pages/s', minio, 1, null), ...best('list-delimiter 4: pages/s', null, 1)] },
  { label: 'DELETE single', checks: [more('delete 64: requests/s', minio, 3, 8)] },
  { label: 'DeleteObjects of 1,000', checks: [more('delete-many 4: keys/s', minio, 10, 30)] },
  { label: 'PUT 64 MiB', checks: [...best('put-large 1: MB/s', 1, null), ...best('put-large 8: MB/s', 1, 1.3)] },
  {
    label: 'GET 64 MiB',
    checks: [
      ...best('get-large 1: MB/s', 1, 1.3), ...best('get-large 8: MB/s', 1, 1.3),
      more('get-large 1: MB/CPU-second', minio, 1, 2), more('get-large 8: MB/CPU-second', minio, 1, 2),
    ],
  },
  { label: 'mixed 45/30/15/10, open loop, 800/s', checks: [{ figure: 'mixed-800 64: p99', against: minio, must: 0.7, aim: 0.3, better: 'less' }] },
  { label: 'mixed 45/30/15/10, open loop, 4,000/s', checks: [atMost('mixed-4000 256: p99', 'ms', 25, 10)] },
  { label: 'memory', checks: [atMost('memory idle', 'MB', 250, 150), atMost('memory under PUT load', 'MB', 450, 300)] },
  { label: 'start to the first signed answer, clean', checks: [atMost('start in an empty folder', 's', 1.5, 0.8), atMost('start with data', 's', 1.5, 0.8)] },
  {
    label: 'metadata on disk, key of 40 bytes',
    checks: [atMost('fill: metadata bytes/object', 'bytes', 400, 250), atMost(/^growth: metadata at 10\^7 per object/, 'bytes', 400, 250)],
  },
  { label: 'LIST by delimiter, 1,000 prefixes over 10^7 keys', checks: [atMost(/^growth: LIST by delimiter, .* over 10\^7 keys, 4 connections: p99$/, 'ms', 100, 30)] },
  { label: 'growth 10^4 to 10^7 objects, CPU of each operation', checks: [atMost(/^growth: CPU of .* at 10\^7 to that at 10\^4/, 'x', 1.5, 1.15)] },
  { label: 'start after kill -9 with 10^6 objects', checks: [atMost(/^start: 10\^6 objects, after kill -9 of everything/, 's', 5, 1.5)] },
  { label: 'multipart of 5 GiB', checks: [atMost(/^multipart: CompleteMultipartUpload of 5 GiB in [0-9]+ parts$/, 'ms', 100, 10), atMost(/^multipart: CopyObject of 5 GiB in [0-9]+ parts$/, 'ms', 100, 10)] },
  {
    label: '10,000 connections uploading 4 KiB, 3,000/s open loop',
    checks: [
      atMost(/^connections: .*open loop.*(?:answers other than 2xx|without an answer)$/, 'requests', 0, 0),
      atMost(/^connections: .*open loop.*: mean$/, 'ms', 15, 5), atMost(/^connections: most memory/, 'MB', 1200, 600),
    ],
  },
  // Asked under every scenario; the worst counts.
  { label: 'event-loop delay p99.9, the worst scenario', checks: [atMost(/: event loop p99\.9$/, 'ms', 50, 10)] },
  // Flat is a judgement: the table of figures has both beside each other.
  { label: 'p99 of a good client beside a load that saturates, and twice that', checks: [atMost('saturated 256: p99', 'ms', null, null), atMost('saturated 512: p99', 'ms', null, null)] },
]
