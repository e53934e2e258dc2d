import { readFileSync } from 'node:fs'
import { XMLParser } from 'fast-xml-parser'
import type { RawResponse } from './raw.ts'

/** Answers against the wire model of botocore: what a client's generated parser looks for, and nothing that it would not know. */

interface Member {
  readonly type?: string
  readonly shape?: string
  readonly enum?: readonly string[]
  readonly format?: string
  readonly in?: 'header' | 'headers' | 'statusCode' | 'attribute'
  readonly as?: string
  readonly flattened?: boolean
}

interface Shape {
  readonly kind: 'structure' | 'list' | 'map'
  readonly members?: Readonly<Record<string, Member>>
  readonly required?: readonly string[]
  readonly payload?: string
  readonly flattened?: boolean
  readonly member?: Member
}

interface Model {
  readonly operations: Readonly<Record<string, { readonly root?: string; readonly output?: string }>>
  readonly shapes: Readonly<Record<string, Shape>>
}

const model = JSON.parse(readFileSync(new URL('../unit/fixtures/s3-outputs.json', import.meta.url), 'utf8')) as Model

/** Names of the operations that the fixture has. */
export const modelledOperations: readonly string[] = Object.keys(model.operations)

/** Sent with every answer, or with answers about a bucket; AWS sends them too and the model does not name them. */
const commonHeaders = new Set(['x-amz-request-id', 'x-amz-id-2', 'x-amz-bucket-region'])

interface XmlTree {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: readonly XmlTree[]
  readonly text: string
}

const parser = new XMLParser({ preserveOrder: true, ignoreAttributes: false, parseTagValue: false, parseAttributeValue: false, trimValues: false, attributeNamePrefix: '' })

type Parsed = Readonly<Record<string, unknown>>

function treeOf(parsed: Parsed): XmlTree {
  const name = Object.keys(parsed).find((key) => key !== ':@') ?? ''
  const inside = parsed[name] as readonly Parsed[]
  return {
    name,
    attributes: (parsed[':@'] ?? {}) as Record<string, string>,
    children: inside.filter((child) => !('#text' in child)).map(treeOf),
    text: inside.map((child) => String(child['#text'] ?? '')).join(''),
  }
}

/** The faults of an answer by the operation's output shape, in words; none when it is as the model has it. */
export function wireFaults(operation: string, answer: RawResponse): string[] {
  const { root, output } = model.operations[operation] ?? {}
  const shape: Shape = output === undefined ? { kind: 'structure' } : shapeOf(output)
  const faults = headerFaults(shape, answer)
  if (shape.payload !== undefined && shape.members?.[shape.payload]?.shape === undefined) return faults
  if (root === undefined) return answer.body.length === 0 ? faults : [...faults, `a body of ${answer.body.length} bytes where there is none`]
  if (!answer.text.startsWith('<?xml version="1.0" encoding="UTF-8"?>')) faults.push('no XML declaration')
  if (answer.headers['content-type']?.startsWith('application/xml') !== true) faults.push(`content-type ${answer.headers['content-type']}`)
  const top = (parser.parse(answer.text) as readonly Parsed[]).map(treeOf).find((tree) => !tree.name.startsWith('?'))
  if (top === undefined || top.name !== root) return [...faults, `root ${top?.name}, not ${root}`]
  if (top.attributes['xmlns'] !== 'http://s3.amazonaws.com/doc/2006-03-01/') faults.push(`namespace ${top.attributes['xmlns']}`)
  // The one answer whose root element is itself the member.
  if (operation === 'GetBucketLocation') return top.children.length === 0 ? faults : [...faults, 'elements inside LocationConstraint']
  const payload = shape.payload === undefined ? undefined : shape.members?.[shape.payload]?.shape
  return [...faults, ...structureFaults(payload === undefined ? bodyOf(shape) : shapeOf(payload), top, root)]
}

function shapeOf(name: string): Shape {
  const shape = model.shapes[name]
  if (shape === undefined) throw new Error(`${name} is shown, but nothing of that kind can be configured`)
  return shape
}

/** An output without the members that travel as headers. */
function bodyOf(shape: Shape): Shape {
  return { ...shape, members: Object.fromEntries(Object.entries(shape.members ?? {}).filter(([, member]) => member.in === undefined)) }
}

function headerFaults(shape: Shape, answer: RawResponse): string[] {
  const faults: string[] = []
  const bound = new Map<string, Member>()
  const prefixes: string[] = []
  for (const [name, member] of Object.entries(shape.members ?? {})) {
    if (member.in === 'header') bound.set((member.as ?? name).toLowerCase(), member)
    if (member.in === 'headers') prefixes.push((member.as ?? '').toLowerCase())
  }
  for (const name of ['x-amz-request-id', 'x-amz-id-2', 'date', 'server']) if (answer.headers[name] === undefined) faults.push(`no ${name}`)
  for (const [name, value] of Object.entries(answer.headers)) {
    const member = bound.get(name)
    if (member !== undefined) faults.push(...scalarFaults({ format: 'rfc822', ...member }, value, name))
    else if (name.startsWith('x-amz-') && !commonHeaders.has(name) && !prefixes.some((prefix) => name.startsWith(prefix))) faults.push(`unknown header ${name}`)
  }
  return faults
}

function structureFaults(shape: Shape, tree: XmlTree, at: string): string[] {
  const faults: string[] = []
  const members = Object.entries(shape.members ?? {}).map(([name, member]) => ({ name, member, wire: wireName(name, member) }))
  const seen = new Map<string, number>()
  for (const child of tree.children) {
    const known = members.find(({ wire, member }) => wire === child.name && member.in !== 'attribute')
    if (known === undefined) {
      faults.push(`unknown element ${at}/${child.name}`)
      continue
    }
    seen.set(child.name, (seen.get(child.name) ?? 0) + 1)
    if ((seen.get(child.name) ?? 0) > 1 && !isFlat(known.member)) faults.push(`${at}/${child.name} more than once`)
    faults.push(...memberFaults(known.member, child, `${at}/${child.name}`))
  }
  for (const { name, member, wire } of members) {
    const present = member.in === 'attribute' ? tree.attributes[wire] !== undefined : seen.has(wire)
    if (shape.required?.includes(name) === true && !present) faults.push(`no ${at}/${wire}`)
    if (member.in === 'attribute' && present) faults.push(...scalarFaults(member, tree.attributes[wire] ?? '', `${at}@${wire}`))
  }
  if (tree.children.length > 0 && tree.text.trim() !== '') faults.push(`text between the elements of ${at}`)
  return faults
}

const isFlat = (member: Member): boolean => member.flattened === true || (member.shape !== undefined && model.shapes[member.shape]?.flattened === true)

/** A flattened list stands under its own name: botocore takes the member's, else the one of the list's elements. */
function wireName(name: string, member: Member): string {
  return member.as ?? (isFlat(member) && member.shape !== undefined ? flatName(name, shapeOf(member.shape)) : name)
}

function flatName(name: string, list: Shape): string {
  return list.member?.as === undefined || list.member.as === 'member' ? name : list.member.as
}

function memberFaults(member: Member, tree: XmlTree, at: string): string[] {
  if (member.shape === undefined) return tree.children.length > 0 ? [`elements inside ${at}`] : scalarFaults({ format: 'iso8601', ...member }, tree.text, at)
  const shape = shapeOf(member.shape)
  if (shape.kind === 'structure') return structureFaults(shape, tree, at)
  const item = shape.member ?? {}
  if (isFlat(member)) return memberFaults(item, tree, at)
  return tree.children.flatMap((child) => (child.name === (item.as ?? 'member') ? memberFaults(item, child, `${at}/${child.name}`) : [`unknown element ${at}/${child.name}`]))
}

const timestamps: Readonly<Record<string, RegExp>> = {
  iso8601: /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/,
  rfc822: /^(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} (?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec) \d{4} \d{2}:\d{2}:\d{2} GMT$/,
}

/** Faults of one value: a number, a boolean, a time in its format, one of the names that the model lists. */
function scalarFaults(member: Member, text: string, at: string): string[] {
  const allowed = {
    integer: /^-?\d+$/, long: /^-?\d+$/, boolean: /^(?:true|false)$/, timestamp: timestamps[member.format ?? 'iso8601'] ?? /^$/,
  }[member.type ?? 'string']
  if (allowed !== undefined && !allowed.test(text)) return [`${at} is no ${member.type}: ${text}`]
  return member.enum === undefined || member.enum.includes(text) ? [] : [`${at} is none of the model's: ${text}`]
}
