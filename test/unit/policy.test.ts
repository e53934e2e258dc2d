import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isAllowed, managedPolicy, matchesWildcard, parsePolicy } from '../../src/auth/policy.ts'

const allow = (Action: unknown, Resource: unknown) => ({ Effect: 'Allow', Action, Resource })
const policy = (...Statement: unknown[]) => [parsePolicy({ Version: '2012-10-17', Statement })]
const key = (name: string) => `arn:aws:s3:::bucket/${name}`

describe('a decision', () => {
  test('is no without policies', () => expect(isAllowed([], 's3:GetObject', key('a'))).toBe(false))

  test('is yes for a named action and resource, and only for them', () => {
    const policies = policy(allow('s3:GetObject', key('a')))
    expect(isAllowed(policies, 's3:GetObject', key('a'))).toBe(true)
    expect(isAllowed(policies, 's3:PutObject', key('a'))).toBe(false)
    expect(isAllowed(policies, 's3:GetObject', key('A'))).toBe(false)
    expect(isAllowed(policies, 's3:GetObjectVersion', key('a'))).toBe(false)
  })

  test('does not mind the case of actions', () => {
    expect(isAllowed(policy(allow('S3:GETobject', '*')), 's3:GetObject', key('a'))).toBe(true)
  })

  test('follows wildcards', () => {
    const policies = policy(allow(['s3:Get*', 's3:List?ucket'], ['arn:aws:s3:::buck?t/dir/*', 'arn:aws:s3:::bucket']))
    expect(isAllowed(policies, 's3:GetObjectTagging', key('dir/a/b'))).toBe(true)
    expect(isAllowed(policies, 's3:ListBucket', 'arn:aws:s3:::bucket')).toBe(true)
    expect(isAllowed(policies, 's3:GetObject', key('other/a'))).toBe(false)
    expect(isAllowed(policies, 's3:GetObject', 'arn:aws:s3:::buckt/dir/a')).toBe(false)
  })

  test('a Deny wins, wherever it stands', () => {
    const deny = { Effect: 'Deny', Action: 's3:*', Resource: key('secret/*') }
    for (const policies of [policy(deny, allow('*', '*')), policy(allow('*', '*'), deny), [...policy(allow('*', '*')), ...policy(deny)]]) {
      expect(isAllowed(policies, 's3:GetObject', key('secret/a'))).toBe(false)
      expect(isAllowed(policies, 's3:GetObject', key('open/a'))).toBe(true)
    }
  })

  test('NotAction and NotResource turn the match round', () => {
    const policies = policy({ Effect: 'Allow', NotAction: 's3:Delete*', NotResource: key('secret/*') })
    expect(isAllowed(policies, 's3:GetObject', key('a'))).toBe(true)
    expect(isAllowed(policies, 's3:DeleteObject', key('a'))).toBe(false)
    expect(isAllowed(policies, 's3:GetObject', key('secret/a'))).toBe(false)
  })

  test('a wildcard stays inside its field of the ARN, so that a key cannot look like a bucket', () => {
    const policies = policy(allow('s3:*', 'arn:aws:s3:*:*:bucket/*'))
    expect(isAllowed(policies, 's3:GetObject', key('a:b'))).toBe(true)
    expect(isAllowed(policies, 's3:GetObject', 'arn:aws:s3:::other/x:y:bucket/z')).toBe(false)
  })

  test('a policy with 34 stars is decided, not searched', () => {
    const policies = policy(allow('s3:*', `arn:aws:s3:::${'*a'.repeat(34)}*c`))
    expect(isAllowed(policies, 's3:GetObject', `arn:aws:s3:::${'a'.repeat(1000)}b`)).toBe(false)
    expect(isAllowed(policies, 's3:GetObject', `arn:aws:s3:::${'a'.repeat(1000)}c`)).toBe(true)
  })
})

test('the matcher agrees with a naive one', () => {
  const naive = (pattern: string, text: string): boolean => {
    if (pattern === '') return text === ''
    if (pattern[0] === '*') return naive(pattern.slice(1), text) || (text !== '' && naive(pattern, text.slice(1)))
    return text !== '' && (pattern[0] === '?' || pattern[0] === text[0]) && naive(pattern.slice(1), text.slice(1))
  }
  const word = (letters: string[], maxLength: number) => fc.array(fc.constantFrom(...letters), { maxLength }).map((parts) => parts.join(''))
  fc.assert(fc.property(word(['a', 'b', '*', '?'], 8), word(['a', 'b'], 10), (pattern, text) => {
    expect(matchesWildcard(pattern, text)).toBe(naive(pattern, text))
  }), { numRuns: 3000 })
})

describe('a policy is refused', () => {
  const good = allow('s3:GetObject', '*')
  const cases: Record<string, unknown> = {
    'that is no object': 'Allow',
    'without statements': { Version: '2012-10-17' },
    'with an empty list of statements': { Statement: [] },
    'of another version': { Version: '2020-01-01', Statement: good },
    'with an unknown field': { Statement: good, Extra: 1 },
    'with an unknown field in a statement': { Statement: { ...good, Extra: 1 } },
    'with a condition': { Statement: { ...good, Condition: {} } },
    'with a principal': { Statement: { ...good, Principal: '*' } },
    'without an effect': { Statement: { Action: 's3:*', Resource: '*' } },
    'with an effect in the wrong case': { Statement: { ...good, Effect: 'allow' } },
    'without an action': { Statement: { Effect: 'Allow', Resource: '*' } },
    'with Action and NotAction': { Statement: { ...good, NotAction: 's3:*' } },
    'without a resource': { Statement: { Effect: 'Allow', Action: 's3:*' } },
    'with an empty list of actions': { Statement: allow([], '*') },
    'with an action that is no string': { Statement: allow([1], '*') },
    'with an action without a service': { Statement: allow('GetObject', '*') },
    'with a resource that is no ARN': { Statement: allow('s3:*', 'bucket/*') },
    'with a short ARN': { Statement: allow('s3:*', 'arn:aws:s3:*') },
    'with a policy variable': { Statement: allow('s3:*', 'arn:aws:s3:::home/${aws:username}/*') },
  }
  for (const [name, json] of Object.entries(cases)) {
    test(name, () => expect(() => parsePolicy(json)).toThrow())
  }

  test('with a message that names the statement and the field', () => {
    expect(() => parsePolicy({ Statement: [good, { ...good, Condition: {} }] })).toThrow('Statement 2: Condition is not supported')
  })
})

describe('managed policies', () => {
  test('are known by name and by ARN', () => {
    const reads = [managedPolicy('arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess')]
    expect(isAllowed(reads, 's3:GetObject', 'arn:aws:s3:::bucket/key')).toBe(true)
    expect(isAllowed(reads, 's3:PutObject', 'arn:aws:s3:::bucket/key')).toBe(false)
    for (const name of ['AmazonS3FullAccess', 'AdministratorAccess']) expect(isAllowed([managedPolicy(name)], 's3:DeleteBucket', 'arn:aws:s3:::bucket')).toBe(true)
  })

  test('that are not there are told with those that are', () => {
    expect(() => managedPolicy('PowerUserAccess')).toThrow('known: AdministratorAccess, AmazonS3FullAccess, AmazonS3ReadOnlyAccess')
  })
})
