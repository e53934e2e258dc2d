import { parseAllDocuments } from 'yaml'

/** What a rendering holds, and rules that no schema knows. Pure. */

export interface Manifest {
  readonly apiVersion: string
  readonly kind: string
  readonly metadata: { readonly name: string; readonly labels?: Labels; readonly annotations?: Labels }
  readonly data?: Labels
  readonly spec?: unknown
}

type Labels = Readonly<Record<string, string>>

interface Container {
  readonly name: string
  readonly env?: readonly EnvironmentVariable[]
  readonly securityContext?: Readonly<Record<string, unknown>>
  readonly ports?: readonly { readonly name: string }[]
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly readOnly?: boolean }[]
}

interface EnvironmentVariable {
  readonly name: string
  readonly value?: string
  readonly valueFrom?: { readonly secretKeyRef?: { readonly name: string; readonly key: string } }
}

interface Volume {
  readonly name: string
  readonly secret?: { readonly secretName: string; readonly optional?: boolean; readonly items?: readonly { readonly key: string }[] }
  readonly configMap?: { readonly name: string }
  readonly persistentVolumeClaim?: { readonly claimName: string }
  readonly [kind: string]: unknown
}

export interface Pod {
  readonly of: string
  readonly labels: Labels
  readonly spec: {
    readonly automountServiceAccountToken?: boolean
    readonly enableServiceLinks?: boolean
    readonly securityContext?: Readonly<Record<string, unknown>>
    readonly containers: readonly Container[]
    readonly initContainers?: readonly Container[]
    readonly volumes?: readonly Volume[]
  }
  /** Names of the volumes that a StatefulSet makes. */
  readonly claims: readonly string[]
}

export function manifestsOf(rendered: string): Manifest[] {
  // Helm and Kubernetes read YAML 1.1.
  return parseAllDocuments(rendered, { version: '1.1' }).map((document) => document.toJS() as Manifest | null).filter((manifest) => manifest !== null)
}

export function podsOf(manifests: readonly Manifest[]): Pod[] {
  return manifests.flatMap((manifest) => {
    const of = `${manifest.kind}/${manifest.metadata.name}`
    if (manifest.kind === 'Pod') return [{ of, labels: manifest.metadata.labels ?? {}, spec: manifest.spec as Pod['spec'], claims: [] }]
    const spec = manifest.spec as {
      template?: { metadata: { labels: Labels }; spec: Pod['spec'] }
      volumeClaimTemplates?: { metadata: { name: string } }[]
    } | undefined
    return spec?.template === undefined ? [] : [{ of, labels: spec.template.metadata.labels, spec: spec.template.spec, claims: (spec.volumeClaimTemplates ?? []).map((claim) => claim.metadata.name) }]
  })
}

const volumeKinds = ['configMap', 'csi', 'downwardAPI', 'emptyDir', 'ephemeral', 'persistentVolumeClaim', 'projected', 'secret']

/** Where a pod falls short of the standard. Source: Kubernetes documentation, "Pod Security Standards", Restricted; and what the chart promises beyond it. */
export function restrictedProblems({ of, spec }: Pod): string[] {
  const problems: string[] = []
  const demand = (holds: boolean, what: string): void => void (holds || problems.push(`${of}: ${what}`))
  const pod = spec.securityContext ?? {}
  demand(pod['runAsNonRoot'] === true, 'runAsNonRoot is not true')
  demand(Number.isInteger(pod['runAsUser']) && Number(pod['runAsUser']) > 0, 'runAsUser is no number above 0')
  demand((pod['seccompProfile'] as { type?: string } | undefined)?.type === 'RuntimeDefault', 'seccompProfile is not RuntimeDefault')
  demand(spec.automountServiceAccountToken === false, 'the token of the service account is mounted')
  demand(spec.enableServiceLinks === false, 'enableServiceLinks is not false: a Service named holdfast would set HOLDFAST_PORT')
  for (const host of ['hostNetwork', 'hostPID', 'hostIPC']) demand(!(host in spec), host)
  for (const volume of spec.volumes ?? []) demand(Object.keys(volume).every((key) => key === 'name' || volumeKinds.includes(key)), `volume ${volume.name} is of a kind that is not allowed`)
  for (const { name, securityContext = {}, volumeMounts = [] } of [...spec.containers, ...spec.initContainers ?? []]) {
    const capabilities = securityContext['capabilities'] as { drop?: string[]; add?: string[] } | undefined
    demand(securityContext['allowPrivilegeEscalation'] === false, `${name}: allowPrivilegeEscalation is not false`)
    demand(securityContext['privileged'] !== true, `${name}: privileged`)
    demand(capabilities?.drop?.includes('ALL') === true && capabilities.add === undefined, `${name}: capabilities are not dropped`)
    demand(securityContext['readOnlyRootFilesystem'] === true, `${name}: the root file system can be written to`)
    demand(volumeMounts.filter((mount) => mount.readOnly !== true).every((mount) => ['/data', '/tmp'].includes(mount.mountPath)), `${name}: more than /data and /tmp can be written to`)
  }
  return problems
}

/** References that lead nowhere: to objects which the chart should have rendered, to ports and pods which are not there. `given`: names that the values bring. */
export function danglingReferences(manifests: readonly Manifest[], given: ReadonlySet<string>): string[] {
  const pods = podsOf(manifests)
  const made = new Map(manifests.map((manifest) => [`${manifest.kind}/${manifest.metadata.name}`, manifest]))
  // A Secret that cert-manager makes.
  const certificates = new Set(manifests.filter(({ kind }) => kind === 'Certificate').map(({ spec }) => (spec as { secretName: string }).secretName))
  const lost = (kind: string, name: string, keys: readonly string[]): boolean => {
    if (given.has(name) || (kind === 'Secret' && certificates.has(name))) return false
    const data = made.get(`${kind}/${name}`)?.data ?? {}
    return !made.has(`${kind}/${name}`) || keys.some((key) => !(key in data))
  }
  const problems: string[] = []
  for (const { of, spec, claims } of pods) {
    const volumes = spec.volumes ?? []
    for (const { name, secret, configMap, persistentVolumeClaim: claim } of volumes) {
      if (secret && lost('Secret', secret.secretName, (secret.items ?? []).map((item) => item.key))) problems.push(`${of}: volume ${name}: Secret ${secret.secretName} is not there, or a key of it`)
      if (configMap && lost('ConfigMap', configMap.name, [])) problems.push(`${of}: volume ${name}: ConfigMap ${configMap.name} is not there`)
      if (claim && lost('PersistentVolumeClaim', claim.claimName, [])) problems.push(`${of}: volume ${name}: claim ${claim.claimName} is not there`)
    }
    for (const { env = [], volumeMounts = [] } of spec.containers) {
      for (const { name, valueFrom } of env) {
        const ref = valueFrom?.secretKeyRef
        if (ref && lost('Secret', ref.name, [ref.key])) problems.push(`${of}: ${name}: Secret ${ref.name} with ${ref.key} is not there`)
      }
      for (const { name } of volumeMounts) if (!volumes.some((volume) => volume.name === name) && !claims.includes(name)) problems.push(`${of}: volume ${name} is mounted but not there`)
      const names = env.map(({ name }) => name)
      for (const name of new Set(names.filter((name, index) => names.indexOf(name) !== index))) problems.push(`${of}: ${name} is set twice`)
    }
  }
  for (const { kind, metadata, spec } of manifests) {
    if (kind !== 'Service') continue
    const { selector, ports } = spec as { selector: Labels; ports: { targetPort: string }[] }
    const chosen = pods.filter(({ labels }) => Object.entries(selector).every(([name, value]) => labels[name] === value))
    if (chosen.length !== 1) problems.push(`Service/${metadata.name}: selects ${chosen.length} kinds of pods`)
    for (const { targetPort } of ports) {
      if (!chosen.every((pod) => pod.spec.containers.some((container) => container.ports?.some((port) => port.name === targetPort)))) problems.push(`Service/${metadata.name}: port ${targetPort} is none of the pod's`)
    }
  }
  return problems
}

/** The environment that a container starts with; Secrets that the values bring are stood in for by `stand`. */
export function environmentOf(container: Container, manifests: readonly Manifest[], stand: (variable: string) => string): Record<string, string> {
  const secrets = new Map(manifests.filter(({ kind }) => kind === 'Secret').map((secret) => [secret.metadata.name, secret.data ?? {}]))
  return Object.fromEntries((container.env ?? []).map(({ name, value, valueFrom }) => {
    const ref = valueFrom?.secretKeyRef
    if (ref === undefined) return [name, value ?? '']
    const encoded = secrets.get(ref.name)?.[ref.key]
    return [name, encoded === undefined ? stand(name) : Buffer.from(encoded, 'base64').toString()]
  }))
}

/**
 * A rendering as it is kept: what is drawn anew by each is named, and what comes as it stands from a file of the chart is left out,
 * so that a golden file changes when the chart does.
 */
export function golden(rendered: string): string {
  return rendered.split(/^---\n/m).map((document) => {
    const generated = document.includes('kind: Secret\n')
      ? document.replace(/^( {2}(?:root-access-key|root-secret-key|master-key|metrics-token): )([A-Za-z0-9+/=]+)$/gm, (line: string, head: string, encoded: string) => {
        const text = Buffer.from(encoded, 'base64').toString()
        const drawn = /^(?:HF[A-Z0-9]{18}|[A-Za-z0-9]{40}|[0-9a-f]{64})$/.test(text)
        return drawn ? `${head}(${text.length} characters, generated)` : line
      })
      : document
    if (document.includes('kind: PrometheusRule\n')) return generated.replace(/^spec:\n[^]*/m, 'spec: (files/alerts.yaml)\n')
    return document.includes('-dashboard\n') ? generated.replace(/^ {2}holdfast\.json: \|\n[^]*/m, '  holdfast.json: (files/dashboard.json)\n') : generated
  }).join('---\n')
}
