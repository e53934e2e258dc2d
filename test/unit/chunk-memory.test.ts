import { createServer, type IncomingMessage } from 'node:http'
import { connect, type AddressInfo } from 'node:net'
import { Duplex } from 'node:stream'
import { expect, test } from 'vitest'
import { patterned } from './blobs-room.ts'

/** The memory of a body's chunks is freed as soon as they are copied: nobody else may be looking at it. */
test('a chunk of a body that fills its memory is the only one that does', async () => {
  const chunks: Buffer[] = []
  const server = createServer((incoming: IncomingMessage, outgoing) => {
    incoming.on('data', (chunk: Buffer) => {
      chunks.push(Buffer.from(chunk))
      if (chunk.byteLength === chunk.buffer.byteLength && chunk.buffer instanceof ArrayBuffer) chunk.buffer.transfer(0)
    })
    incoming.on('end', () => outgoing.end('good'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const body = patterned(400_000)
  const head = `PUT / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n`
  let answer = ''
  // What Node reads by itself, and what a stream (TLS is one) gives to its parser, in buffers that are still the stream's.
  await new Promise<void>((resolve, reject) => {
    const socket = connect((server.address() as AddressInfo).port, '127.0.0.1', () => void socket.write(Buffer.concat([Buffer.from(head), body])))
    socket.on('data', (data) => { answer += data.toString() }).on('end', resolve).on('error', reject)
  })
  expect(answer).toContain('good')
  expect(Buffer.concat(chunks.splice(0)).equals(body)).toBe(true)
  const pieces = [0, 100_000, 200_000, 300_000].map((at) => Uint8Array.from(body.subarray(at, at + 100_000)))
  await new Promise<void>((resolve) => {
    const stream = new Duplex({
      read: () => undefined,
      write(_data, _encoding, done) {
        done()
        resolve()
      },
    })
    server.emit('connection', stream)
    stream.push(head)
    for (const piece of pieces) stream.push(Buffer.from(piece.buffer))
  })
  expect(pieces.map((piece) => piece.length)).toEqual([100_000, 100_000, 100_000, 100_000])
  expect(Buffer.concat(chunks).equals(body)).toBe(true)
  server.close()
})
