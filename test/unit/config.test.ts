import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { fields } from '../../src/config-fields.ts'
import { ConfigError, helpText, loadConfig } from '../../src/config.ts'

const folder = mkdtempSync(path.join(tmpdir(), 'holdfast config '))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function configFile(text: string): string {
  const file = path.join(folder, `${Math.random().toString(36).slice(2)}.yaml`)
  writeFileSync(file, text)
  return file
}

function problemsOf(env: Record<string, string>, argv: string[] = []): readonly string[] {
  try {
    loadConfig(env, argv)
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
  return []
}

describe('defaults', () => {
  test('are those of the manual, and frozen', () => {
    const config = loadConfig({})
    expect(config).toMatchObject({
      dataDir: path.resolve('data'), host: '127.0.0.1', port: 9000, controlPort: 9001, rootAccessKey: null, rootSecretKey: null, databaseUrl: null,
      region: 'us-east-1', signatureV2: 'on', domain: null, publicUrl: null, bootstrapFile: null, lifecycleDaySeconds: 86_400, processes: 1, smallBodyBytesMax: 131_072, durability: 'strict',
    })
    expect(Object.isFrozen(config)).toBe(true)
  })

  test('an empty variable counts as not set', () => {
    expect(loadConfig({ HOLDFAST_PORT: '', HOLDFAST_DOMAIN: '' })).toMatchObject({ port: 9000, domain: null })
  })

  test('variables of other programs are nobody’s business', () => {
    expect(loadConfig({ PATH: '/bin', HOLD: 'x' }).port).toBe(9000)
  })
})

describe('the file that HOLDFAST_CONFIG names', () => {
  test('has the same fields in camelCase, and the environment wins', () => {
    const file = configFile('port: 9100\nregion: eu-central-1\nsignatureV2: off\ndomain: S3.Example.com\n')
    expect(loadConfig({ HOLDFAST_CONFIG: file, HOLDFAST_PORT: '9200' })).toMatchObject({ port: 9200, region: 'eu-central-1', signatureV2: 'off', domain: 's3.example.com' })
  })

  test('may be empty', () => {
    expect(loadConfig({ HOLDFAST_CONFIG: configFile('') }).port).toBe(9000)
  })

  test('names a field that does not exist', () => {
    const file = configFile('prot: 9100\n')
    expect(problemsOf({ HOLDFAST_CONFIG: file })).toEqual([`prot in ${file}: there is no such field; did you mean port?`])
  })

  test('is missing, is no mapping, or is no YAML', () => {
    expect(problemsOf({ HOLDFAST_CONFIG: path.join(folder, 'nowhere.yaml') })[0]).toContain('cannot be read')
    expect(problemsOf({ HOLDFAST_CONFIG: configFile('- a\n- b\n') })[0]).toContain('must be a YAML mapping')
    expect(problemsOf({ HOLDFAST_CONFIG: configFile('a: [') })[0]).toContain('cannot be read')
  })

  test('holds a list where a value belongs', () => {
    expect(problemsOf({ HOLDFAST_CONFIG: configFile('port: [1]\n') })[0]).toContain('must be a text or a number')
  })
})

describe('problems', () => {
  test('are told all at once, with the variable, the value and what is allowed', () => {
    expect(problemsOf({ HOLDFAST_PORT: '70000', HOLDFAST_SIGNATURE_V2: 'yes', HOLDFAST_PROT: '1' }, ['--prot'])).toEqual([
      '--prot: unknown argument; --help shows what there is',
      'HOLDFAST_PROT: there is no such variable; did you mean HOLDFAST_PORT?',
      'HOLDFAST_PORT="70000": allowed: 0 to 65535',
      'HOLDFAST_SIGNATURE_V2="yes": allowed: on or off',
    ])
  })

  test('never repeat a secret', () => {
    const problems = problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: 'someone', HOLDFAST_ROOT_SECRET_KEY: 'hush', HOLDFAST_MASTER_KEY: 'hush2', HOLDFAST_DATABASE_URL: 'mysql://u:hush3@h/d' })
    expect(problems).toHaveLength(3)
    expect(problems.join('\n')).not.toContain('hush')
  })

  test.each(['minioadmin', 'admin', 'MinioAdmin'])('the well-known access key %s is refused', (key) => {
    expect(problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: key, HOLDFAST_ROOT_SECRET_KEY: 'long-enough-secret' })[0]).toContain('well-known')
  })

  test('a well-known secret is refused, a short test pair is not', () => {
    expect(problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: 'someone', HOLDFAST_ROOT_SECRET_KEY: 'minioadmin' })[0]).toContain('well-known')
    expect(problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: 'testkey', HOLDFAST_ROOT_SECRET_KEY: 'testsecret12' })).toEqual([])
  })

  test('one half of the root key pair', () => {
    expect(problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: 'someone' })[0]).toContain('set both or neither')
  })

  test('a secret that is the access key', () => {
    expect(problemsOf({ HOLDFAST_ROOT_ACCESS_KEY: 'someone-else', HOLDFAST_ROOT_SECRET_KEY: 'someone-else' })[0]).toContain('must differ')
  })

  test('one port for both', () => {
    expect(problemsOf({ HOLDFAST_PORT: '9001' })[0]).toContain('is the S3 port already')
    expect(problemsOf({ HOLDFAST_PORT: '0', HOLDFAST_CONTROL_PORT: '0' })).toEqual([])
  })

  test('no process, and more than anybody needs', () => {
    expect(problemsOf({ HOLDFAST_PROCESSES: '0' })[0]).toContain('allowed: 1 to ')
    expect(problemsOf({ HOLDFAST_PROCESSES: '65' })[0]).toContain('allowed: 1 to ')
  })

  test.each(['ftp://host', 'http://host/path', 'host', 'https://user:pw@host'])('the public URL %s', (url) => {
    expect(problemsOf({ HOLDFAST_PUBLIC_URL: url })).toHaveLength(1)
  })
})

test('a public URL loses its trailing slash', () => {
  expect(loadConfig({ HOLDFAST_PUBLIC_URL: 'https://S3.example.com:8443/' }).publicUrl).toBe('https://s3.example.com:8443')
})

test('--help names every field with its default', () => {
  const text = helpText()
  for (const field of fields) {
    expect(text).toContain(`${field.variable} [${field.name}]`)
    expect(text).toContain(`Default: ${field.initial ?? field.whenUnset}.`)
  }
})
