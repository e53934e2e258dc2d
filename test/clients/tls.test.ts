import { writeFile } from 'node:fs/promises'
import path from 'node:path'
import { expect, test } from 'vitest'
import { makeAuthority } from '../support/authority.ts'
import { startServer } from '../support/server.ts'
import { awsEnvironment, bucketName, findTool, hashFile, makeWorkplace, tool, writeNoise } from '../support/tools.ts'

test('aws-cli and curl over HTTPS with an authority of our own', async () => {
  const place = await makeWorkplace('tls')
  const authority = makeAuthority(place.folder, 'authority')
  const pair = authority.sign('server')
  const server = await startServer({ env: { HOLDFAST_TLS_CERT_FILE: pair.certFile, HOLDFAST_TLS_KEY_FILE: pair.keyFile } })
  try {
    const trusting = ['--endpoint-url', server.endpoint, '--ca-bundle', authority.caFile, 's3']
    const s3 = tool(findTool('aws', 'awscli'), awsEnvironment(place, server), trusting)
    const bucket = bucketName('tls')
    await s3(['mb', `s3://${bucket}`])
    const [large, back] = [path.join(place.folder, 'large'), path.join(place.folder, 'back')]
    await writeNoise(large, 20_000_000, 'over tls')
    await s3(['cp', large, `s3://${bucket}/large`])
    await s3(['cp', `s3://${bucket}/large`, back])
    expect(await hashFile(back)).toBe(await hashFile(large))
    const distrusting = tool(findTool('aws', 'awscli'), awsEnvironment(place, server), ['--endpoint-url', server.endpoint, 's3'])
    expect((await distrusting(['ls'], { status: 'any' })).stderr).toContain('SSL validation failed')
    const small = path.join(place.folder, 'small')
    await writeFile(small, 'presigned')
    await s3(['cp', small, `s3://${bucket}/small`])
    const { stdout: url } = await s3(['presign', `s3://${bucket}/small`])
    const curl = tool(findTool('curl'), place.env, ['--silent', '--show-error', '--cacert', authority.caFile])
    expect((await curl([url.trim()])).stdout).toBe('presigned')
  } finally {
    await server.remove()
    await place.remove()
  }
})
