import { createHash } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { xmlBlocks, xmlText } from '../support/raw.ts'
import { bucketSender, newBucket, outcome, s3Client, setVersioning } from '../support/s3.ts'
import { commandSequences, emptyModel, type Real } from '../support/s3-model.ts'
import { sharedServer } from '../support/server.ts'

const server = sharedServer()
const client = s3Client(server)

/** Sequences in all; raise it by HOLDFAST_TEST_SEQUENCES for a long search. */
const sequences = Number(process.env['HOLDFAST_TEST_SEQUENCES'] ?? 320)
/** Sequences at once, each in a bucket of its own: the server commits in groups. */
const lanes = 8

async function realBucket(): Promise<Real> {
  const bucket = await newBucket(client)
  const send = bucketSender(server, bucket)
  const rows = async (query: string, pageSize: number): Promise<string[]> => {
    const found: string[] = []
    let marker = ''
    for (;;) {
      const { text } = await send('GET', `?${query}&max-keys=${pageSize}${marker}`)
      for (const [, kind, row = ''] of text.matchAll(/<(Version|DeleteMarker|Contents)>([\s\S]*?)<\/\1>/g)) {
        const etag = xmlText(row, 'ETag') ?? ''
        const id = kind === 'Contents' ? '' : ` ${xmlText(row, 'VersionId')}${xmlText(row, 'IsLatest') === 'true' ? ' latest' : ''}`
        found.push(`${xmlText(row, 'Key')} ${kind === 'DeleteMarker' ? 'marker' : kind === 'Version' ? `version ${etag}` : etag}${id}`)
      }
      if (xmlText(text, 'IsTruncated') !== 'true') return found
      marker = `&key-marker=${encodeURIComponent(xmlText(text, 'NextKeyMarker') ?? '')}&version-id-marker=${xmlText(text, 'NextVersionIdMarker') ?? ''}`
      expect(xmlBlocks(text, 'Version').length + xmlBlocks(text, 'DeleteMarker').length).toBe(pageSize)
    }
  }
  return {
    send(method, target, options = {}) {
      const source = options.headers?.['x-amz-copy-source']
      const headers = source === undefined ? options.headers ?? {} : { ...options.headers, 'x-amz-copy-source': source.replace('BUCKET', bucket) }
      return send(method, target, { ...options, headers })
    },
    setVersioning: (status) => setVersioning(client, bucket, status),
    etag: (body) => `"${createHash('md5').update(body).digest('hex')}"`,
    outcome,
    listVersions: (pageSize) => rows('versions', pageSize),
    listObjects: () => rows('list-type=2', 1000),
  }
}

test(`any history of puts, copies, deletes and versioning is what the user guide says (${sequences} sequences)`, { timeout: 1_800_000 }, async () => {
  const seed = Number(process.env['HOLDFAST_TEST_SEED'] ?? Date.now() % 2 ** 31)
  await Promise.all(Array.from({ length: lanes }, (_, lane) => fc.assert(fc.asyncProperty(commandSequences(), async (commands) => {
    const real = await realBucket()
    await fc.asyncModelRun(() => ({ model: emptyModel(), real }), commands)
  }), { numRuns: Math.ceil(sequences / lanes), seed: seed + lane, interruptAfterTimeLimit: 1_700_000, markInterruptAsFailure: true })))
})
