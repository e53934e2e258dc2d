import http from 'node:http'
import { signRequest, type Endpoint } from '../../support/raw.ts'

/** A reader that stops after the first bytes: `rest` lets it go on. */
export interface SlowReader {
  readonly status: number
  readonly headers: http.IncomingHttpHeaders
  /** All bytes; rejects when the answer breaks off. */
  rest(): Promise<Buffer>
}

export async function slowReader(server: Endpoint, path: string, more: Readonly<Record<string, string>> = {}, agent?: http.Agent): Promise<SlowReader> {
  const { headers } = signRequest({ server, path, headers: more })
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    http.get(server.url + path, { headers, agent: agent ?? false }, resolve).once('error', reject)
  })
  // It may break off while nobody reads.
  let broken: Error | null = null
  response.on('error', (error) => { broken = error })
  const chunks: Buffer[] = []
  await new Promise<void>((resolve) => {
    response.once('data', (chunk: Buffer) => {
      response.pause()
      chunks.push(chunk)
      resolve()
    }).once('end', resolve).once('error', () => resolve())
  })
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    rest: () => new Promise((resolve, reject) => {
      if (broken !== null) reject(broken)
      else if (response.readableEnded) resolve(Buffer.concat(chunks))
      response.on('data', (chunk: Buffer) => chunks.push(chunk)).once('end', () => resolve(Buffer.concat(chunks))).once('error', reject).resume()
    }),
  }
}
