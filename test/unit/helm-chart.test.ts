import { readdirSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { configSchema, setByTheChart, type Schema } from '../../scripts/helm/config-schema.ts'
import { danglingReferences, manifestsOf, podsOf, restrictedProblems, type Pod } from '../../scripts/helm/manifests.ts'
import { fields } from '../../src/config-fields.ts'

/** What needs no helm: values, schema and golden files against each other and against the program. `npm run check:helm` does the rest. */

const root = fileURLToPath(new URL('../..', import.meta.url))
const text = (...parts: readonly string[]): string => readFileSync(path.join(root, 'helm', ...parts), 'utf8')
const schema = JSON.parse(text('holdfast', 'values.schema.json')) as { properties: Record<string, Schema>; $defs: Record<string, Schema> }
const values = parse(text('holdfast', 'values.yaml')) as Record<string, unknown>
const goldenNames = readdirSync(path.join(root, 'helm', 'golden')).sort()
const templates = readdirSync(path.join(root, 'helm', 'holdfast', 'templates'), { recursive: true, encoding: 'utf8' }).filter((name) => /\.(?:ya?ml|tpl|txt)$/.test(name))
const templateText = templates.map((name) => text('holdfast', 'templates', name)).join('\n')

/** `a.b.c` of everything below a mapping; a value that is none ends a path. */
function leaves(value: unknown, at: string): string[] {
  const inner = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.entries(value) : []
  return inner.length === 0 ? [at] : inner.flatMap(([name, item]) => leaves(item, at === '' ? name : `${at}.${name}`))
}

describe('the configuration of the chart', () => {
  test('has the fields of the program, no other and none forgotten (npm run check:helm -- --update writes the schema)', () => {
    expect(schema.properties['config']).toEqual(configSchema(fields))
  })

  test('leaves to the chart only variables that the program has', () => {
    const known = ['HOLDFAST_CONFIG', ...fields.map((field) => field.variable)]
    expect(Object.keys(setByTheChart).filter((variable) => !known.includes(variable))).toEqual([])
  })

  test('allows what the program allows: bounds and choices', () => {
    const taken = (name: string, value: unknown): boolean => 'value' in (fields.find((field) => field.name === name)?.parse(String(value)) ?? {})
    const { properties } = schema.properties['config'] as { properties: Record<string, { type?: string; minimum?: number; maximum?: number; enum?: (string | boolean)[] }> }
    for (const [name, { type, minimum, maximum, enum: choices }] of Object.entries(properties)) {
      // Of processes the program's bound depends on the system that this test runs on.
      if (minimum !== undefined && maximum !== undefined && name !== 'processes') {
        const below = minimum === 0 ? [] : [minimum - 1]
        expect([name, type, [minimum, maximum, ...below, maximum + 1].map((value) => taken(name, value))]).toEqual([name, type, [true, true, ...below.map(() => false), false]])
      }
      for (const choice of choices ?? []) if (typeof choice === 'string') expect([name, choice, taken(name, choice)]).toEqual([name, choice, true])
    }
  })
})

describe('the values', () => {
  const used = (name: string): boolean => {
    const [last = '', section = ''] = name.split('.').reverse()
    // As it stands, as a whole section, or inside a `with` of its section.
    return new RegExp(`[.$]v?(?:Values)?\\.${name.replaceAll('.', '\\.')}\\b`).test(templateText)
      || (section !== '' && new RegExp(`(?:with|toYaml|:=) (?:\\$?\\.Values\\.)(?:\\w+\\.)*${section}\\b`).test(templateText) && new RegExp(`\\.${last}\\b|toYaml [^}]*\\.${section}\\b`).test(templateText))
  }

  test('are all in the schema, and the schema knows no other', () => {
    const names = (properties: Record<string, Schema>, at: string): string[] => Object.entries(properties).flatMap(([name, value]) => {
      const own = at === '' ? name : `${at}.${name}`
      const inner = value['properties'] as Record<string, Schema> | undefined
      return inner === undefined || name === 'config' ? [own] : names(inner, own)
    })
    const open = ['global', 'config', 'resources', 'metrics.dashboard.labels']
    const plain = (list: readonly string[]): string[] => list.filter((name) => !open.some((prefix) => name === prefix || name.startsWith(`${prefix}.`))).sort()
    expect(plain(leaves(values, ''))).toEqual(plain(names(schema.properties, '')))
  })

  test('are all used: none is accepted and ignored', () => {
    expect(leaves(values, '').filter((name) => !name.startsWith('metrics.dashboard.labels') && !name.startsWith('resources') && !used(name))).toEqual([])
  })

  test('are there for all that the templates read', () => {
    const read = [...templateText.matchAll(/\.Values\.([A-Za-z][\w.]*)/g)].map((match) => match[1] ?? '')
    const paths = leaves(values, '')
    // Which fields the configuration has, the schema says.
    expect([...new Set(read)].filter((name) => !name.startsWith('config') && !paths.some((known) => known === name || known.startsWith(`${name}.`)))).toEqual([])
  })

  test('name the version of the program', () => {
    const { version } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }
    expect(parse(text('holdfast', 'Chart.yaml'))).toMatchObject({ appVersion: version })
  })
})

describe('the golden files', () => {
  const manifests = (name: string) => manifestsOf(text('golden', name))

  test('are one for each values file', () => {
    const cases = readdirSync(path.join(root, 'helm', 'holdfast', 'ci')).map((name) => name.replace(/-values\.yaml$/, '.yaml')).sort()
    expect(goldenNames).toEqual(cases)
  })

  test.each(goldenNames)('%s: pods keep the restricted standard, and set only variables that the program has', (name) => {
    const pods = podsOf(manifests(name))
    expect(pods.length).toBe(2)
    expect(pods.flatMap(restrictedProblems)).toEqual([])
    const known = ['HOLDFAST_CONFIG', ...fields.map((field) => field.variable)]
    const set = pods.flatMap(({ spec }) => spec.containers.flatMap(({ env = [] }) => env.map((variable) => variable.name)))
    expect(set.filter((variable) => variable.startsWith('HOLDFAST_') && !known.includes(variable))).toEqual([])
  })

  test('show no generated secret', () => {
    expect(goldenNames.flatMap((name) => [...text('golden', name).matchAll(/^ {2}(?:master-key|metrics-token): (?!\()\S+/gm)].map((match) => `${name}: ${match[0]}`))).toEqual([])
  })
})

describe('the check itself', () => {
  const [pod] = podsOf(manifestsOf(text('golden', 'single.yaml')))

  test.each<[string, (spec: Record<string, unknown>, container: Record<string, unknown>) => void]>([
    ['root', (spec) => void (spec['securityContext'] = { ...spec['securityContext'] as object, runAsUser: 0 })],
    ['no seccomp profile', (spec) => void (spec['securityContext'] = { ...spec['securityContext'] as object, seccompProfile: undefined })],
    ['service links', (spec) => void delete spec['enableServiceLinks']],
    ['the host’s network', (spec) => void (spec['hostNetwork'] = true)],
    ['a folder of the host', (spec) => void (spec['volumes'] as unknown[]).push({ name: 'host', hostPath: { path: '/' } })],
    ['a capability', (_, container) => void (container['securityContext'] = { ...container['securityContext'] as object, capabilities: { drop: ['ALL'], add: ['NET_ADMIN'] } })],
    ['a writable root', (_, container) => void (container['securityContext'] = { ...container['securityContext'] as object, readOnlyRootFilesystem: false })],
    ['a third place to write to', (_, container) => void (container['volumeMounts'] as unknown[]).push({ name: 'tmp', mountPath: '/var' })],
  ])('finds %s', (_name, change) => {
    const copy = structuredClone(pod) as unknown as { spec: Record<string, unknown> }
    change(copy.spec, (copy.spec['containers'] as Record<string, unknown>[])[0] ?? {})
    expect(restrictedProblems(copy as unknown as Pod)).toHaveLength(1)
  })

  test('finds a Secret, a key and a port that are not there', () => {
    const rendered = text('golden', 'single.yaml')
    expect(danglingReferences(manifestsOf(rendered), new Set())).toEqual([])
    expect(danglingReferences(manifestsOf(rendered.replaceAll('  master-key: ', '  other-key: ')), new Set())).toEqual(['StatefulSet/demo-holdfast: HOLDFAST_MASTER_KEY: Secret demo-holdfast-auth with master-key is not there'])
    expect(danglingReferences(manifestsOf(rendered.replace('targetPort: control', 'targetPort: admin')), new Set())).toEqual(['Service/demo-holdfast-control: port admin is none of the pod\'s'])
  })
})
