import type { PolicyDocument } from '../domain/model.ts'

/**
 * Identity policies. Pure. Only what is evaluated here is accepted, so that no statement is ever half honoured.
 * Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements reference".
 */

type Statement = PolicyDocument['statements'][number]

const documentFields: ReadonlySet<string> = new Set(['Version', 'Id', 'Statement'])
const statementFields: ReadonlySet<string> = new Set(['Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource'])

function objectOf(json: unknown, what: string): Record<string, unknown> {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw new Error(`${what} must be an object`)
  return { ...json }
}

function assertFields(fields: Record<string, unknown>, known: ReadonlySet<string>, what: string): void {
  for (const name of Object.keys(fields)) {
    if (!known.has(name)) throw new Error(`${what}: ${name} is not supported`)
  }
}

/** One string or a list of them, never empty. */
function stringsOf(json: unknown, what: string): string[] {
  const list: unknown[] = Array.isArray(json) ? json : [json]
  if (list.length === 0) throw new Error(`${what} must not be empty`)
  return list.map((item) => {
    if (typeof item !== 'string' || item === '') throw new Error(`${what} must be a string or a list of strings`)
    return item
  })
}

/** The value of `name` or of `Not` + name: exactly one of the two must be there. */
function eitherOf(fields: Record<string, unknown>, name: string, what: string): { list: string[]; not: boolean } {
  const not = fields[`Not${name}`] !== undefined
  if (not === (fields[name] !== undefined)) throw new Error(`${what} needs either ${name} or Not${name}`)
  return { list: stringsOf(fields[not ? `Not${name}` : name], `${what}: ${not ? 'Not' : ''}${name}`), not }
}

function parseAction(action: string, what: string): string {
  if (action !== '*' && !/^[A-Za-z0-9*?-]+:[A-Za-z0-9*?]+$/.test(action)) {
    throw new Error(`${what}: "${action}" is not an action such as s3:GetObject`)
  }
  return action.toLowerCase()
}

function parseResource(resource: string, what: string): string {
  if (resource.includes('${')) throw new Error(`${what}: policy variables as in "${resource}" are not supported`)
  if (resource !== '*' && (!resource.startsWith('arn:') || resource.split(':').length < 6)) {
    throw new Error(`${what}: "${resource}" is not an ARN`)
  }
  return resource
}

function parseStatement(json: unknown, index: number): Statement {
  const what = `Statement ${index + 1}`
  const fields = objectOf(json, what)
  assertFields(fields, statementFields, what)
  if (fields.Sid !== undefined && typeof fields.Sid !== 'string') throw new Error(`${what}: Sid must be a string`)
  if (fields.Effect !== 'Allow' && fields.Effect !== 'Deny') throw new Error(`${what}: Effect must be Allow or Deny`)
  const actions = eitherOf(fields, 'Action', what)
  const resources = eitherOf(fields, 'Resource', what)
  return {
    effect: fields.Effect,
    actions: actions.list.map((action) => parseAction(action, what)),
    notActions: actions.not,
    resources: resources.list.map((resource) => parseResource(resource, what)),
    notResources: resources.not,
  }
}

/**
 * Reads an identity policy (parsed JSON). Throws an Error with a plain message for whatever could not be honoured: conditions,
 * principals, policy variables, unknown fields.
 */
export function parsePolicy(json: unknown): PolicyDocument {
  const fields = objectOf(json, 'A policy')
  assertFields(fields, documentFields, 'Policy')
  if (fields.Version !== undefined && fields.Version !== '2012-10-17' && fields.Version !== '2008-10-17') {
    throw new Error('Policy: Version must be 2012-10-17 or 2008-10-17')
  }
  if (fields.Id !== undefined && typeof fields.Id !== 'string') throw new Error('Policy: Id must be a string')
  if (fields.Statement === undefined) throw new Error('Policy: Statement is missing')
  const statements: unknown[] = Array.isArray(fields.Statement) ? fields.Statement : [fields.Statement]
  if (statements.length === 0) throw new Error('Policy: Statement must not be empty')
  return { statements: statements.map(parseStatement) }
}

/**
 * AWS's managed policies that speak of S3, by name. Source: AWS managed policy reference; what they allow of other services means
 * nothing here.
 */
const managedActions: ReadonlyMap<string, readonly string[]> = new Map([
  ['AdministratorAccess', ['*']],
  ['AmazonS3FullAccess', ['s3:*', 's3-object-lambda:*']],
  ['AmazonS3ReadOnlyAccess', ['s3:Get*', 's3:List*', 's3:Describe*', 's3-object-lambda:Get*', 's3-object-lambda:List*']],
])

/** A managed policy by its name or its ARN. Throws an Error that lists the known names. */
export function managedPolicy(nameOrArn: string): PolicyDocument {
  const actions = managedActions.get(nameOrArn.replace(/^arn:aws:iam::aws:policy\//, ''))
  if (actions === undefined) throw new Error(`there is no managed policy ${JSON.stringify(nameOrArn)}; known: ${[...managedActions.keys()].join(', ')}`)
  return parsePolicy({ Statement: { Effect: 'Allow', Action: actions, Resource: '*' } })
}

/**
 * `*` stands for any run of characters, `?` for one. A failed match goes back to the last star only, since an earlier star could
 * not do better: the cost is at most the text's length times the longest piece between two stars, however many stars there are.
 */
export function matchesWildcard(pattern: string, text: string): boolean {
  let at = 0
  let star = -1
  let starText = 0
  let index = 0
  while (index < text.length) {
    if (pattern[at] === '*') {
      star = at++
      starText = index
    } else if (at < pattern.length && (pattern[at] === '?' || pattern[at] === text[index])) {
      at++
      index++
    } else if (star >= 0) {
      at = star + 1
      index = ++starText
    } else {
      return false
    }
  }
  while (pattern[at] === '*') at++
  return at === pattern.length
}

/** The five colon-separated fields of an ARN and the rest: a wildcard does not reach across a field, only through the rest. */
function arnFields(arn: string): string[] {
  const fields = arn.split(':')
  return [...fields.slice(0, 5), fields.slice(5).join(':')]
}

function matchesResource(pattern: string, resource: string): boolean {
  if (pattern === '*') return true
  const wanted = arnFields(pattern)
  const given = arnFields(resource)
  return wanted.every((field, index) => matchesWildcard(field, given[index] ?? ''))
}

function applies(statement: Statement, action: string, resource: string): boolean {
  const inActions = statement.actions.some((pattern) => matchesWildcard(pattern.toLowerCase(), action))
  if (inActions === statement.notActions) return false
  return statement.resources.some((pattern) => matchesResource(pattern, resource)) !== statement.notResources
}

/** Whether the policies allow `action` (as `s3:GetObject`, in any case) on `resource` (an ARN). A Deny wins; silence denies. */
export function isAllowed(policies: readonly PolicyDocument[], action: string, resource: string): boolean {
  const lowerAction = action.toLowerCase()
  let allowed = false
  for (const policy of policies) {
    for (const statement of policy.statements) {
      if (!applies(statement, lowerAction, resource)) continue
      if (statement.effect === 'Deny') return false
      allowed = true
    }
  }
  return allowed
}
