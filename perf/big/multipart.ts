import { randomBytes } from 'node:crypto'
import { makeDataFolder, startHoldfast, type Server } from '../server.ts'
import { median } from '../statistics.ts'
import { createFigures, must, say, type Big, type Figures } from './bench.ts'

const bucket = 'multipart'
const rounds = 5
const objectBytes = 5 * 1024 ** 3
/** As tools cut it: large parts, and the 8 MiB that the AWS CLI takes. */
const partBytesOf = [64 * 1024 ** 2, 8 * 1024 ** 2]

/** An object of 5 GiB. Its parts are copies of two objects in turn, which share their bytes: what is measured moves none either. */
export const multipart: Big = {
  name: 'multipart',
  async run(options) {
    const figures = createFigures('multipart')
    const folder = makeDataFolder(options.dir)
    try {
      const server = await startHoldfast({ dataDir: folder.path })
      try {
        await must(server, 'PUT', bucket, '')
        for (const partBytes of partBytesOf) await measure(server, partBytes, figures)
      } finally {
        await server.stop()
      }
    } finally {
      folder.remove()
    }
    return figures.all
  },
}

async function measure(server: Server, partBytes: number, figures: Figures): Promise<void> {
  const sources = [randomBytes(partBytes), randomBytes(partBytes)]
  for (const [index, body] of sources.entries()) await must(server, 'PUT', bucket, `source-${index}`, {}, body)
  const parts = objectBytes / partBytes
  const name = `5 GiB in ${parts} parts`
  const [complete, copy, copyPart]: [number[], number[], number[]] = [[], [], []]
  for (let round = 0; round < rounds; round++) {
    const key = `whole-${parts}-${round}`
    const upload = /<UploadId>([^<]+)</.exec((await must(server, 'POST', bucket, key, { uploads: '' })).body.toString())?.[1] ?? ''
    const etags: string[] = []
    for (let part = 1; part <= parts; part++) {
      const reply = await must(server, 'PUT', bucket, key, { partNumber: String(part), uploadId: upload, 'x-amz-copy-source': `/${bucket}/source-${part % 2}` })
      copyPart.push(reply.ms)
      etags.push(/<ETag>([^<]+)</.exec(reply.body.toString())?.[1] ?? '')
    }
    const document = `<CompleteMultipartUpload>${etags.map((etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${etag}</ETag></Part>`).join('')}</CompleteMultipartUpload>`
    complete.push((await must(server, 'POST', bucket, key, { uploadId: upload }, Buffer.from(document))).ms)
    copy.push((await must(server, 'PUT', bucket, `${key}-copy`, { 'x-amz-copy-source': `/${bucket}/${key}` })).ms)
    for (const whole of [key, `${key}-copy`]) await checkRanges(server, whole, sources, partBytes)
  }
  figures.add(`UploadPartCopy of ${partBytes / 1024 ** 2} MiB`, 'ms', median(copyPart), 'less')
  figures.add(`CompleteMultipartUpload of ${name}`, 'ms', median(complete), 'less')
  figures.add(`CompleteMultipartUpload of ${name}: the slowest of ${rounds}`, 'ms', Math.max(...complete), 'less')
  figures.add(`CopyObject of ${name}`, 'ms', median(copy), 'less')
  figures.add(`CopyObject of ${name}: the slowest of ${rounds}`, 'ms', Math.max(...copy), 'less')
  say('  ranges across the borders of parts came back right')
}

/** Ranges over the borders between parts, and the last bytes. Throws when one is wrong. */
async function checkRanges(server: Server, key: string, sources: readonly Buffer[], partBytes: number): Promise<void> {
  const parts = objectBytes / partBytes
  for (const border of [1, Math.floor(parts / 2), parts - 1]) {
    const [start, end] = [border * partBytes - 1000, border * partBytes + 1000]
    const body = await range(server, key, start, end)
    const expected = Buffer.concat([sources[border % 2]?.subarray(-1000) ?? Buffer.alloc(0), sources[(border + 1) % 2]?.subarray(0, 1000) ?? Buffer.alloc(0)])
    if (!body.equals(expected)) throw new Error(`${key}: bytes ${start} to ${end} are wrong`)
  }
  const last = await range(server, key, objectBytes - 500, objectBytes)
  if (!last.equals(sources[parts % 2]?.subarray(-500) ?? Buffer.alloc(0))) throw new Error(`${key}: the last bytes are wrong`)
}

/** Range is no header that has to be signed. */
async function range({ host, port, signer }: Server, key: string, start: number, end: number): Promise<Buffer> {
  const response = await fetch(`http://${host}:${port}${signer.path('GET', bucket, key)}`, { headers: { range: `bytes=${start}-${end - 1}` } })
  if (response.status !== 206) throw new Error(`${key}: a range was answered by ${response.status}`)
  return Buffer.from(await response.arrayBuffer())
}
