import { spawn } from 'node:child_process'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { parse, stringify } from 'yaml'
import { parseBootstrap } from '../../src/admin/bootstrap.ts'
import { managedPolicy, parsePolicy } from '../../src/auth/policy.ts'
import { fields, keyPairProblem } from '../../src/config-fields.ts'
import { ConfigError, loadConfig } from '../../src/config.ts'
import { secretsApi } from './cluster.ts'
import { configSchema } from './config-schema.ts'
import { danglingReferences, environmentOf, golden, manifestsOf, podsOf, restrictedProblems, type Manifest } from './manifests.ts'
import { findHelm, findValidator, run, ToolMissing, type Ran } from './tools.ts'

/**
 * `npm run check:helm`: lints the chart, renders each values file of helm/holdfast/ci, and looks at what comes out: against Kubernetes'
 * schemas, the restricted pod security standard, the program's own configuration, and the golden files in helm/golden.
 */

const root = fileURLToPath(new URL('../..', import.meta.url))
const chart = path.join(root, 'helm', 'holdfast')
const goldenFolder = path.join(root, 'helm', 'golden')
const schemaFile = path.join(chart, 'values.schema.json')
const own = (name: string): string => path.join(root, 'scripts', 'helm', name)
/** A helm that Go built says that it knows an old Kubernetes only. */
const kubeVersion = '1.37.0'

let [passed, failed] = [0, 0]

function report(name: string, problems: readonly string[]): void {
  if (problems.length === 0) passed += 1
  else failed += 1
  process.stdout.write(`${name}: ${problems.length === 0 ? 'ok' : `failed\n${problems.map((problem) => `  ${problem}`).join('\n')}`}\n`)
}

/** Makes the part of the schema that the program decides anew; the text that the file should have. */
function wantedSchema(): string {
  const schema = JSON.parse(readFileSync(schemaFile, 'utf8')) as { properties: Record<string, unknown> }
  schema.properties['config'] = configSchema(fields)
  return `${JSON.stringify(schema, null, 2)}\n`
}

/** What the program says to the environment and the files that a pod would start it with. */
function configurationProblems(manifests: readonly Manifest[], folder: string): string[] {
  return podsOf(manifests).flatMap(({ of, spec }) => spec.containers.flatMap((container) => {
    const stand = (variable: string): string => ({ HOLDFAST_DATABASE_URL: 'postgres://a:b@c/d', HOLDFAST_MASTER_KEY: 'a'.repeat(64) })[variable] ?? `stand-in-for-${variable}`
    const environment = environmentOf(container, manifests, stand)
    const config = manifests.find(({ kind, metadata }) => kind === 'ConfigMap' && metadata.name.endsWith('-config'))
    const file = path.join(folder, 'holdfast.yaml')
    writeFileSync(file, config?.data?.['holdfast.yaml'] ?? '')
    try {
      loadConfig({ ...environment, HOLDFAST_CONFIG: file })
      return []
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      return error.problems.map((problem) => `${of}: ${problem}`)
    }
  }))
}

function bootstrapProblems(manifests: readonly Manifest[]): string[] {
  return manifests.flatMap(({ kind, data }) => {
    const encoded = kind === 'Secret' ? data?.['bootstrap.yaml'] : undefined
    if (encoded === undefined) return []
    try {
      parseBootstrap(Buffer.from(encoded, 'base64').toString(), 'bootstrap.yaml', { parsePolicy, managedPolicy, keyProblem: (pair) => keyPairProblem(pair.accessKeyId, pair.secretAccessKey) })
      return []
    } catch (error) {
      return [String(error)]
    }
  })
}

/** Names of objects that the values say are there already. */
function givenNames(value: unknown): Set<string> {
  const names = new Set<string>()
  const visit = (item: unknown): void => {
    if (typeof item !== 'object' || item === null) return
    for (const [name, inner] of Object.entries(item)) {
      if (/^(?:existing\w+|\w+Secret)$/.test(name) && typeof inner === 'string') names.add(inner)
      visit(inner)
    }
  }
  visit(value)
  return names
}

function compareGolden(name: string, rendered: string, update: boolean): string[] {
  const file = path.join(goldenFolder, `${name}.yaml`)
  const now = golden(rendered)
  if (update) writeFileSync(file, now)
  if (!existsSync(file)) return [`${path.relative(root, file)} is missing; -- --update writes it`]
  const [was, is] = [readFileSync(file, 'utf8').split('\n'), now.split('\n')]
  const at = is.findIndex((line, index) => line !== was[index])
  if (at < 0 && is.length === was.length) return []
  const line = at < 0 ? is.length : at
  return [`${path.relative(root, file)}:${line + 1}: was: ${was[line] ?? '(the end)'}`, `${' '.repeat(6)}is: ${is[line] ?? '(the end)'}; -- --update writes it`]
}

/** As `run`, while this process serves what the command asks. */
function runBeside(command: string, args: readonly string[], env: Readonly<Record<string, string>>): Promise<Ran> {
  const child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let [stdout, stderr] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => void (stdout += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => void (stderr += text))
  return new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code) => resolve({ code: code ?? 1, stdout, stderr }))
  })
}

/** What was generated at the install is there after an upgrade, byte for byte; what was not there yet is added. */
async function upgradeProblems(helm: string, folder: string): Promise<string[]> {
  const generated = (rendered: string): Map<string, Manifest> => new Map(manifestsOf(rendered).filter(({ kind }) => kind === 'Secret').map((secret) => [secret.metadata.name, secret]))
  const values = ['--set', 'metrics.enabled=true']
  const installed = run(helm, ['template', 'demo', chart, '--kube-version', kubeVersion, ...values])
  if (installed.code !== 0) return [installed.stderr]
  const before = generated(installed.stdout)
  const problems = [...before.values()].filter(({ metadata }) => metadata.name.endsWith('-auth') && metadata.annotations?.['helm.sh/resource-policy'] !== 'keep').map(({ metadata }) => `${metadata.name} goes with the release`)
  const api = await secretsApi(before)
  const kubeconfig = path.join(folder, 'kubeconfig')
  writeFileSync(kubeconfig, api.kubeconfig)
  const upgraded = await runBeside(helm, ['template', 'demo', chart, '--kube-version', kubeVersion, '--is-upgrade', '--dry-run=server', '--namespace', 'default', ...values], { KUBECONFIG: kubeconfig })
  await api.close()
  if (upgraded.code !== 0) return [...problems, upgraded.stderr.trim()]
  const after = generated(upgraded.stdout)
  if (before.size < 2) problems.push('fewer Secrets than there should be')
  for (const [name, secret] of before) if (JSON.stringify(after.get(name)?.data) !== JSON.stringify(secret.data)) problems.push(`${name} is another one after an upgrade`)
  return problems
}

function checkCase(helm: string, folder: string, values: string, update: boolean): string | null {
  const name = path.basename(values).replace(/-values\.yaml$/, '')
  const { code, stdout, stderr } = run(helm, ['template', 'demo', chart, '--kube-version', kubeVersion, '-f', values])
  if (code !== 0) {
    report(`${name}: renders`, [stderr.trim()])
    return null
  }
  const manifests = manifestsOf(stdout)
  report(`${name}: pod security`, podsOf(manifests).flatMap(restrictedProblems))
  report(`${name}: references`, danglingReferences(manifests, givenNames(parse(readFileSync(values, 'utf8')))))
  report(`${name}: the program takes its configuration`, [...configurationProblems(manifests, folder), ...bootstrapProblems(manifests)])
  report(`${name}: as in the golden file`, compareGolden(name, stdout, update))
  const file = path.join(folder, `${name}.yaml`)
  writeFileSync(file, stdout)
  return file
}

async function main(argv: readonly string[]): Promise<void> {
  const update = argv.includes('--update')
  const unknown = argv.filter((argument) => argument !== '--update')
  if (unknown.length > 0) throw new ToolMissing(`${unknown.join(' ')}: unknown; there is only --update`)
  if (update) writeFileSync(schemaFile, wantedSchema())
  report('the schema has the program’s fields', readFileSync(schemaFile, 'utf8') === wantedSchema() ? [] : ['values.schema.json differs from src/config-fields.ts; -- --update writes it'])

  const helm = findHelm()
  const python = findValidator()
  const folder = mkdtempSync(path.join(tmpdir(), 'holdfast-check-helm-'))
  try {
    const lint = run(helm, ['lint', '--strict', '--quiet', '--kube-version', kubeVersion, chart])
    report('lint', lint.code === 0 ? [] : [lint.stdout.trim(), lint.stderr.trim()])

    const cases = readdirSync(path.join(chart, 'ci')).filter((name) => name.endsWith('-values.yaml')).sort()
    mkdirSync(goldenFolder, { recursive: true })
    const files = cases.map((name) => checkCase(helm, folder, path.join(chart, 'ci', name), update)).filter((file) => file !== null)
    const stale = readdirSync(goldenFolder).filter((name) => !cases.includes(name.replace(/\.yaml$/, '-values.yaml')))
    if (update) for (const name of stale) rmSync(path.join(goldenFolder, name))
    else report('no golden file without values', stale)

    const validated = run(python, [own('validate.py'), own('crds'), ...files])
    const lines = validated.stdout.trim().split('\n')
    const documents = lines.filter((line) => line === 'document').length
    const problems = [...lines.filter((line) => line.startsWith('problem ')), ...validated.code === 0 && documents > 0 ? [] : [`exit code ${validated.code}: ${validated.stderr.trim()}`]]
    report(`${documents} manifests by the schemas of Kubernetes ${lines[0]?.replace('versions ', '').replaceAll(' ', ', ')} and of the custom resources`, problems)

    for (const { values, says } of parse(readFileSync(own('refused.yaml'), 'utf8')) as { values: unknown; says: string }[]) {
      const file = path.join(folder, 'refused.yaml')
      writeFileSync(file, stringify(values))
      const { code, stderr } = run(helm, ['template', 'demo', chart, '--kube-version', kubeVersion, '-f', file])
      report(`refused: ${JSON.stringify(values)}`, code !== 0 && stderr.includes(says) ? [] : [code === 0 ? 'it was accepted' : stderr.trim()])
    }
    report('generated secrets survive an upgrade', await upgradeProblems(helm, folder))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

try {
  await main(process.argv.slice(2))
} catch (error) {
  if (!(error instanceof ToolMissing)) throw error
  process.stdout.write(`${error.message}\n`)
  process.exit(2)
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exit(failed === 0 ? 0 : 1)
