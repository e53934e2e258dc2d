import { describe, expect, test } from 'vitest'
import { BootstrapError, parseBootstrap, type BootstrapRules } from '../../src/admin/bootstrap.ts'
import { managedPolicy, parsePolicy } from '../../src/auth/policy.ts'
import { keyPairProblem } from '../../src/config-fields.ts'

const rules: BootstrapRules = { parsePolicy, managedPolicy, keyProblem: (pair) => keyPairProblem(pair.accessKeyId, pair.secretAccessKey) }
const parse = (text: string) => parseBootstrap(text, 'accounts.yaml', rules)

const full = `
accounts:
  - root: true
    id: "111122223333"
    canonicalId: ${'a'.repeat(64)}
    displayName: Main
    email: main@example.com
    accessKeys:
      - accessKeyId: MAINKEY
        secretAccessKey: main-secret-1
    users:
      - name: reader
        path: /staff/
        accessKeys: [{ accessKeyId: READERKEY, secretAccessKey: reader-secret-1 }]
        policies:
          - name: read
            document: { Version: "2012-10-17", Statement: [{ Effect: Allow, Action: "s3:GetObject", Resource: "arn:aws:s3:::b/*" }] }
          - { Version: "2012-10-17", Statement: { Effect: Deny, Action: "s3:*", Resource: "*" } }
        groups: []
  - displayName: Second
`

describe('a bootstrap document', () => {
  test('becomes accounts with users, keys and policies', () => {
    const { accounts } = parse(full)
    expect(accounts[0]).toMatchObject({
      root: true, id: '111122223333', canonicalId: 'a'.repeat(64), displayName: 'Main', email: 'main@example.com',
      accessKeys: [{ accessKeyId: 'MAINKEY', secretAccessKey: 'main-secret-1' }],
    })
    expect(accounts[0]?.users[0]).toMatchObject({ name: 'reader', path: '/staff/', accessKeys: [{ accessKeyId: 'READERKEY' }] })
    expect(accounts[0]?.users[0]?.policies.map((policy) => policy.statements[0]?.effect)).toEqual(['Allow', 'Deny'])
  })

  test('that leaves ids out names the same accounts each time', () => {
    const [first, second] = [parse(full).accounts[1], parse(full).accounts[1]]
    expect(first).toEqual(second)
    expect(first?.id).toMatch(/^[1-9]\d{11}$/)
    expect(first?.canonicalId).toMatch(/^[0-9a-f]{64}$/)
  })

  test('may be JSON, and ids may be numbers', () => {
    expect(parse('{"accounts":[{"displayName":"A","id":444455556666}]}').accounts[0]?.id).toBe('444455556666')
  })

  test('may hold no accounts', () => {
    expect(parse('accounts: []').accounts).toEqual([])
  })
})

describe('is refused, naming the place, for', () => {
  test.each([
    ['an admin flag that is none', 'accounts: [{ displayName: A, accessKeys: [{ accessKeyId: SOMEKEY, secretAccessKey: some-secret-1, admin: maybe }] }]', 'accounts[0].accessKeys[0].admin: must be true or false'],
    ['an admin flag of what opens everything', 'accounts: [{ root: true, displayName: A, accessKeys: [{ accessKeyId: SOMEKEY, secretAccessKey: some-secret-1, admin: true }] }]', 'open the admin API already'],
    ['an unknown field', 'accounts: [{ displayName: A, buckets: [] }]', 'accounts[0].buckets: there is no such field'],
    ['groups', 'accounts: [{ displayName: A, users: [{ name: u, groups: [g] }] }]', 'groups are not supported'],
    ['a missing name', 'accounts: [{ id: "111122223333" }]', 'accounts[0].displayName: is missing'],
    ['a bad id', 'accounts: [{ displayName: A, id: "12" }]', 'accounts[0].id: "12" is not allowed'],
    ['a later root', 'accounts: [{ displayName: A }, { displayName: B, root: true }]', 'only the first account'],
    ['two accounts of one id', 'accounts: [{ displayName: A }, { displayName: A }]', 'is there more than once'],
    ['one key twice', 'accounts: [{ displayName: A, accessKeys: [{ accessKeyId: KEY1, secretAccessKey: secret-one }, { accessKeyId: KEY1, secretAccessKey: secret-two }] }]', 'accessKeyId KEY1'],
    ['a short secret', 'accounts: [{ displayName: A, accessKeys: [{ accessKeyId: KEY1, secretAccessKey: hush }] }]', 'accounts[0].accessKeys[0]: '],
    ['a policy with a condition', 'accounts: [{ displayName: A, users: [{ name: u, policies: [{ Statement: [{ Effect: Allow, Action: "*", Resource: "*", Condition: { Bool: { "aws:SecureTransport": true } } }] }] }] }]', 'accounts[0].users[0].policies[0]: '],
    ['something else altogether', '- 1', 'the document: must be a mapping'],
    ['broken YAML', 'accounts: [', 'accounts.yaml cannot be applied'],
  ])('%s', (_name, text, message) => {
    expect(() => parse(text)).toThrow(BootstrapError)
    expect(() => parse(text)).toThrow(message)
  })

  test('a secret, without repeating it', () => {
    expect(() => parse('accounts: [{ displayName: A, accessKeys: [{ accessKeyId: KEY1, secretAccessKey: hush }] }]')).not.toThrow(/hush/)
  })
})
