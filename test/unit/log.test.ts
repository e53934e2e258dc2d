import { describe, expect, test } from 'vitest'
import { createAccessLog, type Access, type AccessLogOptions } from '../../src/telemetry/access-log.ts'
import { createLog, type LogFormat } from '../../src/telemetry/log.ts'
import { isSecretField, redacted } from '../../src/telemetry/redact.ts'

const secret = 'wJalrXUtnFEMIbPxRfiCYEXAMPLEKEY'
const signature = 'fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024'
const sessionToken = 'IQoJb3JpZ2luX2VjEJrEXAMPLETOKEN//////////wEaCXVzLWVhc3QtMSJHMEUCIQ=='

/** The list: what could stand in a log, what must not be left of it, and what must. */
const cases: readonly (readonly [what: string, text: string, hidden: string, kept: string])[] = [
  ['Authorization, version 4', `authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260102/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=${signature}`, signature, 'Credential=AKIDEXAMPLE/***'],
  ['Authorization, version 2', 'Authorization: AWS AKIDEXAMPLE:frJIUN8DYpKDtOLCwo//yllqDzg=', 'frJIUN8DYpKDtOLCwo', 'AWS AKIDEXAMPLE:***'],
  ['a bearer token', 'Authorization: Bearer eyJhbGciOi.J9-abc_def', 'eyJhbGciOi', 'Bearer ***'],
  ['basic authentication', 'Authorization: Basic dXNlcjpwYXNzd29yZA==', 'dXNlcjpwYXNz', 'Basic ***'],
  ['X-Amz-Signature', `GET /a/b?X-Amz-Expires=60&X-Amz-Signature=${signature}&x=1`, signature, '&x=1'],
  ['X-Amz-Credential', 'GET /a/b?X-Amz-Credential=AKIDEXAMPLE%2F20260102%2Fus-east-1%2Fs3%2Faws4_request&x=1', 'us-east-1', 'AKIDEXAMPLE/***&x=1'],
  ['X-Amz-Security-Token in a query', `GET /a?X-Amz-Security-Token=${encodeURIComponent(sessionToken)}&x=1`, 'IQoJb3JpZ2lu', '&x=1'],
  ['x-amz-security-token in a header', `x-amz-security-token: ${sessionToken}`, 'IQoJb3JpZ2lu', 'x-amz-security-token: ***'],
  ['Signature of version 2 in a query', 'GET /a?AWSAccessKeyId=AKIDEXAMPLE&Expires=1&Signature=vjbyPxybdZaNmGa%2ByT272YEAiv4%3D', 'vjbyPxybdZaNmGa', 'AWSAccessKeyId=AKIDEXAMPLE'],
  ['the password of a database URL', `connect ECONNREFUSED postgres://holdfast:${secret}@db.example:5432/holdfast?sslmode=require`, secret, 'postgres://holdfast:***@db.example:5432/holdfast?sslmode=require'],
  ['the password of an encoded database URL', 'postgresql://h:p%40ss%2Fword@db/x', 'p%40ss', 'postgresql://h:***@db/x'],
  ['a password in a connection string', `host=db password=${secret} user=h`, secret, 'user=h'],
]

describe('redaction', () => {
  test.each(cases)('%s', (_, text, hidden, kept) => {
    expect(redacted(text)).not.toContain(hidden)
    expect(redacted(text)).toContain(kept)
    // As it is once it stands in a JSON text.
    expect(redacted(JSON.stringify({ text }))).not.toContain(hidden)
    expect((JSON.parse(redacted(JSON.stringify({ text }))) as { text: string }).text).toContain(kept)
  })

  test('leaves what is no secret', () => {
    for (const text of ['http://127.0.0.1:9000/bucket/key', 'The Signature is wrong', 'a:b@c', 'path=/AWS/notes', 'SignedHeaders=host', 'password reset', '2026-01-02T03:04:05.678Z']) expect(redacted(text)).toBe(text)
  })

  test('fields that are secrets by their name, however it is spelled', () => {
    for (const name of ['authorization', 'Authorization', 'secretAccessKey', 'secret_key', 'x-amz-security-token', 'sessionToken', 'masterKey', 'password', 'PGPASSWORD']) expect([name, isSecretField(name)]).toEqual([name, true])
    for (const name of ['key', 'accessKeyId', 'path', 'tokens', 'requestId']) expect([name, isSecretField(name)]).toEqual([name, false])
  })

  test.each(['json', 'pretty'] as const)('reaches messages, fields at any depth, and errors with their causes (%s)', (format: LogFormat) => {
    const lines: string[] = []
    const log = createLog('info', (line) => lines.push(line), format)
    const cause = new Error(`postgres://h:${secret}@db/x does not answer`)
    log.error(`at ${cases[4]?.[1]}`, { headers: { authorization: secret, list: [{ secretAccessKey: secret }] }, error: new Error('failed', { cause }), url: `postgres://h:${secret}@db/x` })
    expect(lines).toHaveLength(1)
    expect(lines[0]).not.toContain(secret)
    expect(lines[0]).not.toContain(signature)
    expect(lines[0]).toContain('does not answer')
  })
})

describe('the log', () => {
  test('is one JSON document a line, and keeps its format', () => {
    const lines: string[] = []
    createLog('info', (line) => lines.push(line), 'json').warn('Something\nhappened', { count: 1, big: 2n })
    expect(lines[0]?.indexOf('\n')).toBe((lines[0]?.length ?? 0) - 1)
    expect(JSON.parse(lines[0] ?? '')).toEqual({ time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/), level: 'warn', message: 'Something\nhappened', count: 1, big: '2' })
  })

  test('is for people, with colours only where asked', () => {
    const lines: string[] = []
    createLog('info', (line) => lines.push(line), 'pretty').info('Ready', { port: 9000 })
    createLog('info', (line) => lines.push(line), 'pretty', true).error('Broken')
    expect(lines[0]).toMatch(/^\d\d:\d\d:\d\d\.\d{3} info {2}Ready port=9000\n$/)
    expect(lines[1]).toContain('\x1b[31merror\x1b[0m')
  })

  test('changes its level while it is used', () => {
    const lines: string[] = []
    const log = createLog('warn', (line) => lines.push(line), 'json')
    log.info('not yet')
    log.level = 'debug'
    log.debug('now')
    log.level = 'error'
    log.warn('no more')
    expect([log.level, ...lines.map((line) => (JSON.parse(line) as { message: string }).message)]).toEqual(['error', 'now'])
  })
})

describe('the access log', () => {
  const access: Access = {
    requestId: 'F00D', operation: 'GetObject', method: 'GET', path: '/first/%22quoted%22', status: 200, code: undefined, milliseconds: 1.25, bytesIn: 0, bytesOut: 4096,
    accountId: '123456789012', user: undefined, accessKeyId: 'AKID', remoteAddress: '127.0.0.1', userAgent: 'evil"\n\x1b[2J', traceId: undefined,
  }
  const opened = (more: Partial<AccessLogOptions> = {}) => {
    const written: string[] = []
    const log = createAccessLog({
      share: 1, format: 'json', colour: false, chunkChars: 4000, writeLast: (text) => void written.push(text),
      write(text, done) {
        written.push(text)
        setImmediate(done)
      },
      ...more,
    })
    return { log, written }
  }

  test('has one JSON document for each request, whatever clients send', () => {
    const { log, written } = opened()
    log.add(access)
    log.add({ ...access, status: 0, code: 'NoSuchKey', user: 'Zoë' })
    log.close()
    const lines = written.join('').trimEnd().split('\n').map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(lines).toMatchObject([
      { level: 'info', message: 'request', requestId: 'F00D', operation: 'GetObject', path: '/first/%22quoted%22', status: 200, milliseconds: 1.25, bytesOut: 4096, userAgent: 'evil"\n\x1b[2J' },
      { status: 0, code: 'NoSuchKey', user: 'Zoë' },
    ])
  })

  test('sends no escapes of a client to a terminal', () => {
    const { log, written } = opened({ format: 'pretty' })
    log.add({ ...access, path: '/a\x1b[2Jb' })
    log.close()
    expect(written.join('')).not.toContain('\x1b')
  })

  test('tells an even share', () => {
    const { log } = opened({ share: 0.25 })
    expect(Array.from({ length: 100 }, () => log.wants()).filter((wanted) => wanted)).toHaveLength(25)
    const none = opened({ share: 0 }).log
    expect(Array.from({ length: 100 }, () => none.wants())).not.toContain(true)
  })

  test('writes whole lines, in order, in chunks no larger than a pipe takes at once', async () => {
    const { log, written } = opened()
    for (let index = 0; index < 200; index++) log.add({ ...access, requestId: String(index) })
    await expect.poll(() => written.join('').split('\n').length).toBe(201)
    for (const chunk of written) expect([chunk.length <= 4000, chunk.endsWith('}\n')]).toEqual([true, true])
    expect(written.join('').trimEnd().split('\n').map((line) => (JSON.parse(line) as { requestId: string }).requestId)).toEqual(Array.from({ length: 200 }, (_, index) => String(index)))
  })

  test('drops lines, and counts them, when nobody reads', () => {
    const { log } = opened({ write: () => undefined })
    for (let index = 0; index < 30_000; index++) log.add(access)
    expect(log.dropped).toBeGreaterThan(1000)
  })
})
