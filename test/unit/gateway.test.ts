import net from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { s3App } from '../../src/gateway/app.ts'
import { createExchange } from '../../src/gateway/exchange.ts'
import { listen } from '../../src/gateway/server.ts'
import type { Reply, S3Request } from '../../src/protocol/request.ts'
import { createLog } from '../../src/telemetry/log.ts'

type Handle = (request: S3Request) => Promise<Reply> | Reply

const cleanups: (() => Promise<void>)[] = []
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup()
})

/** The real HTTP server and exchange in front of a handler that a test writes. */
async function gateway(handle: Handle) {
  const seen: S3Request[] = []
  const logged: string[] = []
  const exchange = createExchange({
    domain: null, secure: false, log: createLog('warn', (line) => logged.push(line), 'json'),
    handle: async (request) => {
      seen.push(request)
      return handle(request)
    },
  })
  const listener = await listen({ host: '127.0.0.1', port: 0, listener: s3App(exchange.serve), s3: true, drainMs: 30_000, answering: exchange.answering })
  const stop = async (): Promise<void> => {
    exchange.drain()
    await listener.stop()
    exchange.close()
  }
  cleanups.push(stop)
  return { port: listener.port, seen, logged, stop }
}

interface Answer {
  readonly status: number
  readonly head: string
  readonly body: string
}

/** Sends bytes as they are and returns everything that comes back until the other side closes, or `until` says enough. */
function raw(port: number, bytes: string | Buffer, until: (text: string) => boolean = () => false): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes))
    let text = ''
    socket.on('data', (chunk) => {
      text += chunk.toString('latin1')
      if (until(text)) socket.destroy()
    })
    socket.on('error', (error: NodeJS.ErrnoException) => (error.code === 'ECONNRESET' || error.code === 'EPIPE' ? resolve(text) : reject(error)))
    socket.on('close', () => resolve(text))
  })
}

function parse(text: string): Answer {
  const end = text.indexOf('\r\n\r\n')
  return { status: Number(text.slice(9, 12)), head: text.slice(0, end).toLowerCase(), body: text.slice(end + 4) }
}

const closing = 'Host: h\r\nConnection: close\r\n'
const get = (path: string, headers = ''): string => `GET ${path} HTTP/1.1\r\n${closing}${headers}\r\n`

function body(request: S3Request): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    request.stream.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.stream.on('end', () => resolve(Buffer.concat(chunks)))
    request.stream.on('error', reject)
  })
}

function reader(chunks: readonly (Uint8Array | Error)[], whole: Uint8Array | null = null) {
  const state = { closed: 0, at: 0 }
  const next = async (): Promise<Uint8Array | null> => {
    const chunk = chunks[state.at++]
    if (chunk instanceof Error) throw chunk
    return chunk ?? null
  }
  return { state, reader: { whole, next, close: () => void state.closed++ } }
}

describe('a reply', () => {
  test('carries the request id, the host id, a date and the server', async () => {
    const { port } = await gateway(() => ({ status: 200, headers: { etag: '"x"', absent: undefined }, body: '<A/>' }))
    const answer = parse(await raw(port, get('/')))
    expect(answer.head).toMatch(/x-amz-request-id: [0-9a-f]{16}\r\n/)
    expect(answer.head).toMatch(/x-amz-id-2: \S{20,}/)
    expect(answer.head).toMatch(/date: .* gmt/)
    expect(answer.head).toContain('server: holdfast')
    expect(answer.head).toContain('content-type: application/xml')
    expect(answer.head).toContain('content-length: 4')
    expect(answer.head).not.toContain('absent')
    expect(answer.body).toBe('<A/>')
  })

  test('without a body announces length 0; 204, 304 and HEAD announce none of their own', async () => {
    const { port } = await gateway((request) => ({ status: Number(request.rawPath.slice(1)), headers: request.method === 'HEAD' ? { 'content-length': '77' } : {}, body: request.method === 'HEAD' ? 'never sent' : undefined }))
    expect(parse(await raw(port, get('/200'))).head).toContain('content-length: 0')
    expect(parse(await raw(port, get('/204'))).head).not.toContain('content-length')
    expect(parse(await raw(port, get('/304'))).head).not.toContain('transfer-encoding')
    const head = parse(await raw(port, `HEAD /200 HTTP/1.1\r\n${closing}\r\n`))
    expect(head.head).toContain('content-length: 77')
    expect(head.body).toBe('')
  })

  test('streams a reader to its end and closes it', async () => {
    const source = reader([Buffer.alloc(100_000, 'a'), Buffer.alloc(50_000, 'b')])
    const { port } = await gateway(() => ({ status: 206, body: { kind: 'stream', length: 150_000, reader: source.reader } }))
    const answer = parse(await raw(port, get('/b/k')))
    expect(answer.status).toBe(206)
    expect(answer.head).toContain('content-length: 150000')
    expect(answer.body).toBe('a'.repeat(100_000) + 'b'.repeat(50_000))
    expect(source.state.closed).toBe(1)
  })

  test('writes a small body that is at hand at once', async () => {
    const source = reader([], Buffer.from('whole'))
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'stream', length: 5, reader: source.reader } }))
    expect(parse(await raw(port, get('/b/k'))).body).toBe('whole')
    expect(source.state.closed).toBe(1)
  })

  test('whose reader fails half-way breaks the connection instead of ending well', async () => {
    const source = reader([Buffer.alloc(10, 'a'), new S3Error('InternalError')])
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'stream', length: 20, reader: source.reader } }))
    const answer = parse(await raw(port, 'GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n'))
    expect(answer.head).toContain('content-length: 20')
    expect(answer.body.length).toBeLessThan(20)
    expect(source.state.closed).toBe(1)
  })

  test('for HEAD closes a reader unread', async () => {
    const source = reader([Buffer.alloc(10, 'a')])
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'stream', length: 10, reader: source.reader } }))
    expect(parse(await raw(port, `HEAD /b/k HTTP/1.1\r\n${closing}\r\n`)).body).toBe('')
    expect(source.state).toEqual({ closed: 1, at: 0 })
  })

  test('with a header that cannot be one is an internal error, not a broken connection', async () => {
    const { port, logged } = await gateway(() => ({ status: 200, headers: { 'x-amz-meta-a': 'a\r\nb' }, body: 'x' }))
    expect(parse(await raw(port, get('/b/k')))).toMatchObject({ status: 500, body: expect.stringContaining('<Code>InternalError</Code>') })
    expect(logged).toHaveLength(1)
  })

  test('that is ready soon is sent whole although it may take long', async () => {
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'keep-alive', result: Promise.resolve({ headers: { 'x-amz-version-id': 'v' }, body: '<?xml version="1.0"?>\n<R/>' }) } }))
    const answer = parse(await raw(port, get('/b/k')))
    expect(answer.head).toContain('x-amz-version-id: v')
    expect(answer.body).toContain('<R/>')
  })

  test('that fails soon although it may take long keeps its status', async () => {
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'keep-alive', result: Promise.reject(new S3Error('InvalidPart')) } }))
    expect(parse(await raw(port, get('/b/k')))).toMatchObject({ status: 400, body: expect.stringContaining('<Code>InvalidPart</Code>') })
  })

  test('that takes long is white space, then the document', async () => {
    const { port } = await gateway(() => ({ status: 200, body: { kind: 'keep-alive', result: new Promise((resolve) => setTimeout(() => resolve({ body: '<?xml version="1.0" encoding="UTF-8"?>\n<R/>' }), 11_000)) } }))
    const answer = parse(await raw(port, get('/b/k')))
    expect(answer.status).toBe(200)
    const text = answer.body.replace(/(^|\r\n)[0-9a-f]+\r\n/g, '').replace(/\r\n/g, '')
    expect(text).toMatch(/^<\?xml version="1.0" encoding="UTF-8"\?>\n +<R\/>/)
  })
})

describe('an error', () => {
  test('is a document with Resource, RequestId and HostId', async () => {
    const { port } = await gateway(() => Promise.reject(new S3Error('NoSuchKey', undefined, { fields: { Key: 'a&b' } })))
    const answer = parse(await raw(port, get('/b/a%26b?x=1')))
    expect(answer.status).toBe(404)
    expect(answer.head).toContain('content-type: application/xml')
    expect(answer.body).toContain('<Code>NoSuchKey</Code>')
    expect(answer.body).toContain('<Key>a&amp;b</Key>')
    expect(answer.body).toContain('<Resource>/b/a%26b</Resource>')
    const id = /x-amz-request-id: (\S+)/.exec(answer.head)?.[1]?.toUpperCase()
    expect(answer.body).toContain(`<RequestId>${id}</RequestId>`)
    expect(answer.body).toMatch(/<HostId>\S+<\/HostId>/)
  })

  test('of HEAD has no body', async () => {
    const { port } = await gateway(() => Promise.reject(new S3Error('NoSuchKey')))
    expect(parse(await raw(port, `HEAD /b/k HTTP/1.1\r\n${closing}\r\n`))).toMatchObject({ status: 404, body: '' })
  })

  test('that nobody foresaw tells the client nothing and the log everything', async () => {
    const { port, logged } = await gateway(() => Promise.reject(new TypeError('the secret of the house')))
    const answer = parse(await raw(port, get('/b/k')))
    expect(answer).toMatchObject({ status: 500, body: expect.stringContaining('<Code>InternalError</Code>') })
    expect(answer.body).not.toContain('secret of the house')
    expect(logged.join()).toContain('secret of the house')
  })

  test('before a long body was read reaches the client, and the connection closes', async () => {
    const { port } = await gateway(() => Promise.reject(new S3Error('AccessDenied')))
    const answer = parse(await raw(port, Buffer.concat([Buffer.from('PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4000000\r\n\r\n'), Buffer.alloc(4_000_000)])))
    expect(answer).toMatchObject({ status: 403, body: expect.stringContaining('AccessDenied') })
    expect(answer.head).toContain('connection: close')
  })

  test('before a short body was read leaves the connection usable', async () => {
    const { port } = await gateway((request) => (request.method === 'PUT' ? Promise.reject(new S3Error('AccessDenied')) : { status: 200, body: 'second' }))
    const text = await raw(port, `PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody${get('/')}`)
    expect(text).toContain('403')
    expect(text).toMatch(/second$/)
  })

  test('before permission to send the body closes the connection without asking for it', async () => {
    const { port } = await gateway(() => Promise.reject(new S3Error('AccessDenied')))
    const text = await raw(port, 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n', (seen) => seen.includes('</Error>'))
    expect(text).toMatch(/^HTTP\/1.1 403/)
    expect(parse(text).head).toContain('connection: close')
  })
})

describe('a request', () => {
  test('keeps its path, query and headers as they were sent', async () => {
    const { port, seen } = await gateway(() => ({ status: 200 }))
    await raw(port, get('/b//a/./..%2f%C3%A9\\x?b=2&a=1&a=%20', 'X-Amz-Meta-A:  one \r\nx-amz-meta-a: two\r\n__proto__: p\r\n'))
    expect(seen[0]).toMatchObject({ rawPath: '/b//a/./..%2f%C3%A9\\x', rawQuery: 'b=2&a=1&a=%20', target: { scope: 'object', bucket: 'b', key: '/a/./../é\\x' } })
    expect(seen[0]?.headers.get('x-amz-meta-a')).toBe('one,two')
    expect(seen[0]?.headers.get('__proto__')).toBe('p')
  })

  test('with Expect gets its permission when the operation gives it', async () => {
    const { port } = await gateway(async (request) => {
      request.sendContinue()
      request.sendContinue()
      return { status: 200, body: (await body(request)).toString() }
    })
    const text = await new Promise<string>((resolve) => {
      let seen = ''
      const socket = net.connect(port, '127.0.0.1', () => socket.write(`PUT /b/k HTTP/1.1\r\n${closing}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`))
      socket.on('data', (chunk) => {
        seen += chunk.toString()
        if (seen === 'HTTP/1.1 100 Continue\r\n\r\n') socket.write('bytes')
      })
      socket.on('close', () => resolve(seen))
    })
    expect(text).toMatch(/^HTTP\/1.1 100 Continue\r\n\r\nHTTP\/1.1 200/)
    expect(text).toMatch(/bytes$/)
  })

  test('whose client goes away is aborted', async () => {
    const aborted = Promise.withResolvers<void>()
    const { port } = await gateway((request) => new Promise((_resolve, reject) => {
      request.signal.addEventListener('abort', () => {
        aborted.resolve()
        reject(new S3Error('IncompleteBody'))
      })
      client.destroy()
    }))
    const client = net.connect(port, '127.0.0.1', () => client.write('GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n'))
    await aborted.promise
  })

  test.each(['InternalError of nobody', 'NoSuchUpload'])('whose client is gone before its long answer begins, which then fails (%s), harms nobody', async (what) => {
    const unhandled: unknown[] = []
    const note = (error: unknown): void => void unhandled.push(error)
    process.on('unhandledRejection', note)
    const answered = Promise.withResolvers<void>()
    const { port, logged } = await gateway(async (request) => {
      const gone = new Promise((resolve) => request.signal.addEventListener('abort', resolve))
      client.destroy()
      await gone
      setTimeout(answered.resolve, 20)
      return { status: 200, body: { kind: 'keep-alive', result: new Promise((_resolve, reject) => setTimeout(() => reject(what === 'NoSuchUpload' ? new S3Error(what) : new Error(what)), 5)) } }
    })
    const client = net.connect(port, '127.0.0.1', () => client.write('POST /b/k?uploadId=x HTTP/1.1\r\nHost: h\r\n\r\n'))
    await answered.promise
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
    // The client does not learn of it, so the log has to say what nobody foresaw.
    expect(logged.some((text) => text.includes(what))).toBe(what !== 'NoSuchUpload')
  })

  test('with an expectation that nobody knows is a request like any other', async () => {
    const { port, seen } = await gateway(() => ({ status: 200, body: 'fine' }))
    for (const expectation of ['something', '200-ok', '']) expect(parse(await raw(port, get('/b/k', `Expect: ${expectation}\r\n`)))).toMatchObject({ status: 200, body: 'fine' })
    expect(seen).toHaveLength(3)
  })

  test('with an absolute target is the same request', async () => {
    const { port, seen } = await gateway(() => ({ status: 200 }))
    await raw(port, get('http://h/b/k?acl'))
    expect(seen[0]).toMatchObject({ rawPath: '/b/k', rawQuery: 'acl' })
  })
})

describe('bytes that are no request', () => {
  const refused: readonly (readonly [string, string])[] = [
    ['Content-Length with Transfer-Encoding', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'],
    ['two lengths', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde'],
    ['two equal lengths', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd'],
    ['a list of lengths', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: 4, 4\r\n\r\nabcd'],
    ['a negative length', 'PUT /b/k HTTP/1.1\r\nHost: h\r\nContent-Length: -4\r\n\r\n'],
    ['a space before the colon', 'GET /b/k HTTP/1.1\r\nHost : h\r\n\r\n'],
    ['a folded header', 'GET /b/k HTTP/1.1\r\nHost: h\r\nX-A: a\r\n b\r\n\r\n'],
    ['a bare LF between headers', 'GET /b/k HTTP/1.1\nHost: h\n\n'],
    ['a bare LF inside the head', 'GET /b/k HTTP/1.1\r\nHost: h\nX-A: b\r\n\r\n'],
    ['a NUL in a header', 'GET /b/k HTTP/1.1\r\nHost: h\r\nX-A: a\0b\r\n\r\n'],
    ['a bare CR in a header', 'GET /b/k HTTP/1.1\r\nHost: h\r\nX-A: a\rb\r\n\r\n'],
    ['a space in the path', 'GET /b/k k HTTP/1.1\r\nHost: h\r\n\r\n'],
    ['another protocol', 'SSH-2.0-client\r\n\r\n'],
    ['no Host', 'GET /b/k HTTP/1.1\r\nConnection: close\r\n\r\n'],
    ['two Hosts', 'GET /b/k HTTP/1.1\r\nHost: h\r\nHost: i\r\nConnection: close\r\n\r\n'],
  ]
  test.each(refused)('%s: 400 BadRequest, and what follows on the connection is not seen', async (_name, bytes) => {
    const { port, seen } = await gateway(() => ({ status: 200, body: 'fine' }))
    const text = await raw(port, bytes.includes('Connection: close') ? bytes : bytes + get('/smuggled'))
    expect(parse(text)).toMatchObject({ status: 400, body: expect.stringContaining('<Code>BadRequest</Code>') })
    expect(parse(text).head).toContain('connection: close')
    expect(text.match(/HTTP\/1\.1 /g)).toHaveLength(1)
    expect(seen).toEqual([])
    expect(parse(await raw(port, get('/'))).body).toBe('fine')
  })

  test.each(['nonsense\r\n\r\n', 'GET /b/k HTTP/1.1\nHost: h\n\n'])('behind a request that is running do not take its answer away: %j', async (bytes) => {
    const slow = Promise.withResolvers<Reply>()
    const { port, seen } = await gateway(() => slow.promise)
    setTimeout(() => slow.resolve({ status: 200, body: 'done' }), 50)
    for (const connection of ['close', 'keep-alive']) {
      const text = await raw(port, `PUT /b/k HTTP/1.1\r\nHost: h\r\nConnection: ${connection}\r\nContent-Length: 5\r\n\r\nhello${bytes}`)
      expect(parse(text)).toMatchObject({ status: 200, body: expect.stringMatching(/^done/) })
    }
    expect(seen).toHaveLength(2)
  })

  test('20 KB of headers, and 9 KB', async () => {
    const { port, seen } = await gateway(() => ({ status: 200, body: 'fine' }))
    for (const bytes of [20_000, 9_000]) {
      const answer = parse(await raw(port, get('/b/k', `X-A: ${'a'.repeat(bytes)}\r\n`)))
      expect(answer).toMatchObject({ status: 400, body: expect.stringContaining('<Code>RequestHeaderSectionTooLarge</Code>') })
    }
    expect(seen).toEqual([])
    expect(parse(await raw(port, get('/b/k', `X-A: ${'a'.repeat(6_000)}\r\n`))).body).toBe('fine')
  })

  test('another transfer coding', async () => {
    const { port } = await gateway(() => ({ status: 200 }))
    expect(parse(await raw(port, `PUT /b/k HTTP/1.1\r\n${closing}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`))).toMatchObject({ status: 501, body: expect.stringContaining('NotImplemented') })
  })

  test('a broken chunk after the head: the operation sees a failed body, the client an error', async () => {
    const failed = Promise.withResolvers<void>()
    const { port } = await gateway(async (request) => {
      await body(request).catch((error: unknown) => {
        failed.resolve()
        throw new S3Error('IncompleteBody', undefined, { cause: error })
      })
      return { status: 200 }
    })
    const text = await raw(port, 'PUT /b/k HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nnonsense\r\n')
    await failed.promise
    expect(parse(text).status).toBe(400)
  })

  test('a key that is not UTF-8', async () => {
    const { port } = await gateway(() => ({ status: 200 }))
    expect(parse(await raw(port, get('/b/%ff')))).toMatchObject({ status: 400, body: expect.stringContaining('InvalidURI') })
  })
})

describe('stopping', () => {
  test('lets a running request finish and closes its connection', async () => {
    const started = Promise.withResolvers<void>()
    const finish = Promise.withResolvers<void>()
    const { port, stop } = await gateway(async () => {
      started.resolve()
      await finish.promise
      return { status: 200, body: 'late' }
    })
    const answered = raw(port, 'GET /b/k HTTP/1.1\r\nHost: h\r\n\r\n')
    await started.promise
    const stopped = stop()
    finish.resolve()
    await stopped
    expect(parse(await answered)).toMatchObject({ status: 200, body: 'late' })
    await expect(raw(port, get('/'))).rejects.toThrow('ECONNREFUSED')
  })
})
