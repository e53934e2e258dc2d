import fc from 'fast-check'
import { anyKey, oddKeys } from '../../support/listing-model.ts'
import { signedRequest, xmlTexts } from '../../support/raw.ts'
import { bucketName } from '../../support/s3.ts'
import { startServer } from '../../support/server.ts'
import { forgeriesOf } from '../hostile/forgeries.ts'
import { aws4Signer, openBotocore, type Ask, type Form, type SignedRequest, type Signer } from '../hostile/signers.ts'
import { codeOf, openWire, requestBytes, type Answered } from '../hostile/wire.ts'
import { randomOf } from '../journal/states.ts'
import type { Finding, PromiseOptions } from './runner/promise.ts'

export const row = 'only valid signatures'
export const promise = 'What an independent signer signed is accepted, and each change of what its signature covers is refused with the code of S3'
export const method = 'random requests signed by botocore and aws4 in every form (versions 4 and 2, headers and URLs, signed, unsigned and chunked bodies), then changed in one place each'

/** Codes that say that a signature, or what it covers, is not good. */
const refusals = new Set(['SignatureDoesNotMatch', 'AccessDenied', 'InvalidAccessKeyId', 'RequestTimeTooSkewed', 'AuthorizationHeaderMalformed', 'AuthorizationQueryParametersError', 'XAmzContentSHA256Mismatch', 'BadDigest', 'InvalidDigest', 'IncompleteBody', 'InvalidToken', 'InvalidURI', 'BadRequest', 'InvalidChunkSizeError', 'MalformedTrailerError'])

const value = fc.oneof(fc.constantFrom('', ' ', 'a b', 'a+b', 'a/b', 'a=b', 'a&b', '%', '%20', '~', 'é', '日本', '\u{1f600}', '*', "'", '(', '!', '\u0001', 'x'.repeat(300)), fc.string({ maxLength: 8 })).map((text) => text.toWellFormed().replaceAll('\0', ''))
const parameter = fc.tuple(fc.constantFrom('prefix', 'marker', 'delimiter', 'versionId', 'partNumber', 'response-content-type', 'response-content-disposition', 'x-id', 'a b', 'A', 'a', 'é', 'a/b', 'z~', 'tagging', 'acl', 'max-keys', '_', '-'), value)
const header = fc.tuple(fc.constantFrom('x-amz-meta-a', 'x-amz-meta-b-c', 'x-amz-meta-1', 'cache-control', 'content-type', 'content-language'), fc.constantFrom('a', 'one  two   three', '1', 'a,b', 'a;b=c', '"quoted"', 'x'.repeat(200), 'text/plain; charset=utf-8', '%20', '~*!\'()'))
const ask = (forms: readonly Form[]): fc.Arbitrary<Omit<Ask, 'bucket'>> => fc.record({
  form: fc.constantFrom(...forms), method: fc.constantFrom('GET', 'HEAD', 'PUT', 'PUT', 'PUT', 'DELETE', 'POST', 'GET'),
  key: fc.oneof({ weight: 4, arbitrary: anyKey }, { weight: 2, arbitrary: fc.constantFrom(...oddKeys.filter((key) => key.length < 500)) }, { weight: 1, arbitrary: fc.constant('') }),
  params: fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, fc.array(parameter, { maxLength: 3 })).map((pairs) => Object.fromEntries(pairs)),
  headers: fc.array(header, { maxLength: 3 }).map((pairs) => Object.fromEntries(pairs)), body: fc.oneof(fc.constantFrom('', 'hello'), fc.string({ minLength: 5, maxLength: 300 })), chunk: fc.constantFrom(5, 64, 1024 * 1024),
})

/** A case is one request, as it was signed or changed. */
export async function run({ seed, seconds, say }: PromiseOptions): Promise<Finding> {
  const server = await startServer()
  const wire = openWire(server.port, 32)
  const violations: string[] = []
  const random = randomOf(seed)
  const pick = (count: number): number => Math.floor(random() * count)
  const counts = new Map<string, number>()
  let cases = 0
  const send = ({ method: verb, path, headers, body }: SignedRequest): Promise<Answered> =>
    wire.send(requestBytes({ method: verb, path, headers: [...Object.entries(headers), ...(headers['content-length'] === undefined && (verb === 'PUT' || verb === 'POST' || body.length > 0) ? [['content-length', String(body.length)] as const] : [])], body }), verb === 'HEAD')
  const signers: Signer[] = []
  try {
    // A library that is not there is said by the test that calls this; the other signer is always there.
    signers.push(aws4Signer(server), await openBotocore(server))
    const bucket = bucketName()
    await signedRequest({ server, method: 'PUT', path: `/${bucket}` })
    const until = Date.now() + seconds * 1000
    for (let round = 0; (round === 0 || Date.now() < until) && violations.length < 20; round++) {
      await Promise.all(signers.map(async (signer) => {
        for (const each of fc.sample(ask(signer.forms), { seed: seed + round, numRuns: 60 })) {
          // The deletion of a bucket, or its making, is not what this is about.
          const asked: Ask = { ...each, bucket, ...(each.key === '' && each.method !== 'HEAD' ? { method: 'GET' } : {}) }
          const signed = await signer.sign(asked)
          const tell = (what: string): void => void violations.push(`${signer.name}, ${what}: ${JSON.stringify({ ...asked, path: signed.path, headers: signed.headers })}`)
          const answer = await send(signed)
          cases += 1
          counts.set(`${signer.name} ${asked.form}`, (counts.get(`${signer.name} ${asked.form}`) ?? 0) + 1)
          const code = answer === null ? 'closed' : codeOf(answer.body.toString('latin1'))
          if (answer === null || answer.status === 403 || answer.status >= 500 && answer.status !== 501 || refusals.has(code)) {
            tell(`what it signed is answered ${answer?.status} ${code}`)
            continue
          }
          const forgeries = forgeriesOf(signed, pick)
          const answers = await Promise.all(forgeries.map((forgery) => send(forgery.request)))
          cases += forgeries.length
          for (const [index, forgery] of forgeries.entries()) {
            const got = answers[index] ?? null
            const name = got === null ? 'closed' : codeOf(got.body.toString('latin1'))
            const right = forgery.request.method === 'HEAD' ? got !== null && (got.status === 403 || got.status === 400) : forgery.codes.includes(name)
            if (!right) tell(`${forgery.what} is answered ${got?.status} ${name} instead of ${forgery.codes.join(' or ')} (${forgery.request.method} ${forgery.request.path} ${JSON.stringify(forgery.request.headers)})`)
          }
        }
      }))
    }
    say(`${cases} requests; signed by ${[...counts].sort().map(([name, count]) => `${name}: ${count}`).join(', ')}`)
    const stray = xmlTexts((await signedRequest({ server, path: '/' })).text, 'Name').filter((name) => name !== bucket)
    if (stray.length > 0) violations.push(`buckets that nobody made: ${stray.join(', ')}`)
    return { cases, violations: violations.map((text) => `seed ${seed}: ${text}`) }
  } finally {
    for (const signer of signers) signer.close()
    wire.close()
    await server.remove()
  }
}
