import { availableParallelism } from 'node:os'
import path from 'node:path'
import { scrubBytesPerSecondDefault, smallBodyBytesMaxDefault, sweepGraceMs, sweepIntervalMs } from './domain/limits.ts'

/** The whole configuration. Units are last in a name; null means "not set". */
export interface Config {
  /** Absolute path. */
  readonly dataDir: string
  readonly host: string
  readonly port: number
  readonly controlPort: number
  /** Absolute paths of PEM files; the first two are set both or not at all. */
  readonly tlsCertFile: string | null
  readonly tlsKeyFile: string | null
  readonly tlsClientCaFile: string | null
  readonly rootAccessKey: string | null
  readonly rootSecretKey: string | null
  /** 64 hex digits. */
  readonly masterKey: string | null
  readonly databaseUrl: string | null
  readonly dataShared: boolean
  readonly region: string
  readonly signatureV2: 'on' | 'off'
  /** Lower case, without port. */
  readonly domain: string | null
  /** Origin: scheme, host and port, no trailing slash. */
  readonly publicUrl: string | null
  /** Absolute path. */
  readonly bootstrapFile: string | null
  readonly lifecycleDaySeconds: number
  readonly processes: number
  readonly smallBodyBytesMax: number
  readonly durability: 'strict' | 'relaxed'
  readonly sweepGraceSeconds: number
  readonly sweepIntervalSeconds: number
  readonly scrubBytesPerSecond: number
  /** Absolute path. */
  readonly limitsFile: string | null
  readonly drainDelaySeconds: number
  readonly drainSeconds: number
  readonly metricsAuth: 'required' | 'none'
  /** Absolute path. */
  readonly metricsTokenFile: string | null
  readonly otlpEndpoint: string | null
  /** 0 to 1. */
  readonly tracesShare: number
  readonly serviceName: string
  /** 0 to 1. */
  readonly accessLog: number
  readonly logFormat: 'auto' | 'json' | 'pretty'
  readonly logLevel: 'debug' | 'info' | 'warn' | 'error'
}

export type Parsed = { readonly value: unknown } | { readonly problem?: string }

export interface Field {
  readonly name: keyof Config
  readonly variable: string
  /** Why it exists and what it does, for `--help`. */
  readonly reason: string
  /** What a value may be, for `--help` and for errors. */
  readonly allowed: string
  readonly unit?: string
  /** The default as its text; null: not set, and `whenUnset` says what that means. */
  readonly initial: string | null
  readonly whenUnset?: string
  /** Secrets are never repeated in an error. */
  readonly secret?: boolean
  readonly parse: (text: string) => Parsed
}

const whole = (min: number, max: number) => (text: string): Parsed =>
  /^[0-9]{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max ? { value: Number(text) } : {}
const matching = (pattern: RegExp, change: (text: string) => string = (text) => text) => (text: string): Parsed =>
  pattern.test(text) ? { value: change(text) } : {}
const share = (text: string): Parsed => (/^(?:0|1|0?\.[0-9]{1,9}|[01]\.[0-9]{1,9})$/.test(text) && Number(text) <= 1 ? { value: Number(text) } : {})
const oneOf = (...values: readonly string[]) => (text: string): Parsed => (values.includes(text) ? { value: text } : {})

/** Keys that everybody knows from manuals and default installations; a server that has them is an open one. */
const wellKnownAccessKeys = new Set(['minioadmin', 'minio', 'rustfsadmin', 'admin', 'root', 'accesskey', 'access-key'])
const wellKnownSecrets = new Set([
  'minioadmin', 'minio123', 'minio-secret', 'rustfsadmin', 'password', 'password123', 'changeme', 'changeit', 'secretkey', 'secret-key', 'admin123', '12345678', '123456789',
])

const accessKeyAllowed = '3 to 128 characters of A-Z a-z 0-9 . _ -'
const secretKeyAllowed = '8 to 256 printable ASCII characters without spaces'

function accessKey(text: string): Parsed {
  if (!/^[A-Za-z0-9._-]{3,128}$/.test(text)) return {}
  return wellKnownAccessKeys.has(text.toLowerCase()) ? { problem: 'is a well-known key and refused; choose another one' } : { value: text }
}

function secretKey(text: string): Parsed {
  // Every printable ASCII character: what a client can put into a header, a shell and a YAML file without trouble.
  if (!/^[\x21-\x7e]{8,256}$/.test(text)) return {}
  return wellKnownSecrets.has(text.toLowerCase()) ? { problem: 'is a well-known secret and refused; choose another one' } : { value: text }
}

/** Why an access key pair is refused, null when it is fine; the secret is not part of the answer. For pairs that come from elsewhere. */
export function keyPairProblem(accessKeyId: string, secretAccessKey: string): string | null {
  const id = accessKey(accessKeyId)
  if (!('value' in id)) return `the access key ${JSON.stringify(accessKeyId)} ${id.problem ?? `is not allowed; allowed: ${accessKeyAllowed}`}`
  const secret = secretKey(secretAccessKey)
  if (!('value' in secret)) return `the secret of ${accessKeyId} ${secret.problem ?? `is not allowed; allowed: ${secretKeyAllowed}`}`
  return null
}

function publicUrl(text: string): Parsed {
  const match = /^(https?:\/\/)([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\/?$/.exec(text)
  return match ? { value: `${match[1]}${match[2]?.toLowerCase()}${match[3] ?? ''}` } : {}
}

/** One port for several processes needs a system that spreads connections over them. */
const processesMax = process.platform === 'linux' ? 64 : 1
const processesDefault = Math.min(processesMax, Math.max(1, Math.floor(availableParallelism() / 2)))

/** Every field once: parsing, errors, `--help` and the manual come from this table. */
export const fields: readonly Field[] = [
  {
    name: 'dataDir', variable: 'HOLDFAST_DATA_DIR', reason: 'Folder of everything that must last: blobs, the embedded PostgreSQL, generated keys.',
    allowed: 'a path', initial: './data', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'host', variable: 'HOLDFAST_HOST', reason: 'Address that both ports listen on. The default serves this machine only; 0.0.0.0 serves the network.',
    allowed: 'an IP address or host name', initial: '127.0.0.1', parse: matching(/^[A-Za-z0-9.:_-]{1,255}$/),
  },
  {
    name: 'port', variable: 'HOLDFAST_PORT', reason: 'Port of the S3 API. 0 takes a free one and prints it.',
    allowed: '0 to 65535', initial: '9000', parse: whole(0, 65_535),
  },
  {
    name: 'controlPort', variable: 'HOLDFAST_CONTROL_PORT', reason: 'Port for health checks and administration, apart from the S3 port because any path there can be a bucket.',
    allowed: '0 to 65535', initial: '9001', parse: whole(0, 65_535),
  },
  {
    name: 'tlsCertFile', variable: 'HOLDFAST_TLS_CERT_FILE',
    reason: 'PEM file of the certificate (with those between it and its root) for both ports, which then speak HTTPS. It is read again when it changes, and no connection is dropped.',
    allowed: 'a path', initial: null, whenUnset: 'plain HTTP', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'tlsKeyFile', variable: 'HOLDFAST_TLS_KEY_FILE', reason: 'PEM file of the private key of that certificate.',
    allowed: 'a path', initial: null, whenUnset: 'plain HTTP', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'tlsClientCaFile', variable: 'HOLDFAST_TLS_CLIENT_CA_FILE',
    reason: 'PEM file of authorities: every client of both ports must show a certificate that one of them has signed; only the two health checks need none.',
    allowed: 'a path', initial: null, whenUnset: 'no certificate is asked for', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'rootAccessKey', variable: 'HOLDFAST_ROOT_ACCESS_KEY', reason: 'Access key of the root account. A pair given here replaces the one given or generated before.',
    allowed: accessKeyAllowed, initial: null, whenUnset: 'generated at the first start', parse: accessKey,
  },
  {
    name: 'rootSecretKey', variable: 'HOLDFAST_ROOT_SECRET_KEY', reason: 'Secret of that access key. A generated one is shown once and kept in the data folder.',
    allowed: secretKeyAllowed, initial: null, whenUnset: 'generated at the first start', secret: true, parse: secretKey,
  },
  {
    name: 'masterKey', variable: 'HOLDFAST_MASTER_KEY', reason: 'Key that encrypts the secrets in the database; set it to keep it apart from the data folder.',
    allowed: '64 hex digits', initial: null, whenUnset: 'generated at the first start, kept in the data folder', secret: true,
    parse: matching(/^[0-9a-fA-F]{64}$/, (text) => text.toLowerCase()),
  },
  {
    name: 'databaseUrl', variable: 'HOLDFAST_DATABASE_URL', reason: 'An external PostgreSQL (15 or later) for the metadata instead of the embedded one.',
    allowed: 'postgres://user:password@host:port/database', initial: null, whenUnset: 'embedded', secret: true, parse: matching(/^postgres(ql)?:\/\/\S+$/),
  },
  {
    name: 'dataShared', variable: 'HOLDFAST_DATA_SHARED',
    reason: 'on: several servers (replicas) work on this data folder and this database at once, each set to on. Needs HOLDFAST_DATABASE_URL and a file system that '
      + 'shows each replica at once what another one has written. off: the folder is one server\'s alone, and a second one is refused.',
    allowed: 'on or off', initial: 'off', parse: (text): Parsed => (text === 'on' || text === 'off' ? { value: text === 'on' } : {}),
  },
  {
    name: 'region', variable: 'HOLDFAST_REGION', reason: 'Region of signatures and of LocationConstraint; clients must be set to the same one.',
    allowed: '1 to 63 characters of a-z 0-9 -', initial: 'us-east-1', parse: matching(/^[a-z0-9-]{1,63}$/),
  },
  {
    name: 'signatureV2', variable: 'HOLDFAST_SIGNATURE_V2', reason: 'Whether requests signed by signature version 2, which old clients still presign with, are verified or refused.',
    allowed: 'on or off', initial: 'on', parse: oneOf('on', 'off'),
  },
  {
    name: 'domain', variable: 'HOLDFAST_DOMAIN', reason: 'Domain for virtual-host addressing: BUCKET.domain is then the bucket. Path style works always.',
    allowed: 'a domain name without port', initial: null, whenUnset: 'none',
    parse: matching(/^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/, (text) => text.toLowerCase()),
  },
  {
    name: 'publicUrl', variable: 'HOLDFAST_PUBLIC_URL', reason: 'URL that clients use, and therefore sign, when a proxy in front changes the Host header.',
    allowed: 'http:// or https:// with host and port, without a path', initial: null, whenUnset: 'none', parse: publicUrl,
  },
  {
    name: 'bootstrapFile', variable: 'HOLDFAST_BOOTSTRAP_FILE', reason: 'YAML or JSON file of accounts, users and access keys, applied at every start; applying it again changes nothing.',
    allowed: 'a path', initial: null, whenUnset: 'none', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'lifecycleDaySeconds', variable: 'HOLDFAST_LIFECYCLE_DAY_SECONDS', reason: 'Length of a day for lifecycle rules, so that they can be tried out in minutes.',
    allowed: '1 to 86400', unit: 'seconds', initial: '86400', parse: whole(1, 86_400),
  },
  {
    name: 'processes', variable: 'HOLDFAST_PROCESSES',
    reason: 'Server processes that share the S3 port, the data folder and the database. By default one for each two cores of this machine, because the database needs '
      + 'some too. With more than one, a further process supervises them.',
    allowed: `1 to ${processesMax}`, initial: String(processesDefault), parse: whole(1, processesMax),
  },
  {
    name: 'smallBodyBytesMax', variable: 'HOLDFAST_SMALL_BODY_BYTES_MAX', reason: 'Bodies up to this size are packed in segments and committed in groups; larger ones get a file of their own.',
    allowed: '0 to 1048576', unit: 'bytes', initial: String(smallBodyBytesMaxDefault), parse: whole(0, 1_048_576),
  },
  {
    name: 'durability', variable: 'HOLDFAST_DURABILITY',
    reason: 'strict: an answer of 200 survives a loss of power. relaxed: the bytes of objects are not synced before the answer, so it survives the death of any process, '
      + 'but a loss of power can take the bytes written in the last half minute or so, whose reads then fail; metadata is synced in both.',
    allowed: 'strict or relaxed', initial: 'strict', parse: oneOf('strict', 'relaxed'),
  },
  {
    name: 'sweepGraceSeconds', variable: 'HOLDFAST_SWEEP_GRACE_SECONDS',
    reason: 'Time between the deletion of an object and the removal of its bytes, so that whoever was reading finishes. Shorter frees a full disk sooner; 0 is for tests.',
    allowed: '0 to 604800', unit: 'seconds', initial: String(sweepGraceMs / 1000), parse: whole(0, 604_800),
  },
  {
    name: 'sweepIntervalSeconds', variable: 'HOLDFAST_SWEEP_INTERVAL_SECONDS', reason: 'Time between two looks for bytes that can be removed.',
    allowed: '1 to 86400', unit: 'seconds', initial: String(sweepIntervalMs / 1000), parse: whole(1, 86_400),
  },
  {
    name: 'scrubBytesPerSecond', variable: 'HOLDFAST_SCRUB_BYTES_PER_SECOND',
    reason: 'How fast a running server reads everything that is stored, over and over, to find what is damaged; a small object counts as 16 KiB. 0: never.',
    allowed: '0 to 10737418240', unit: 'bytes per second', initial: String(scrubBytesPerSecondDefault), parse: whole(0, 10 * 1024 ** 3),
  },
  {
    name: 'limitsFile', variable: 'HOLDFAST_LIMITS_FILE',
    reason: 'YAML or JSON file of limits: requests and bytes per second by address, access key, account and bucket, requests at once. It is read again when it changes; '
      + 'what is beyond a limit is answered 503 SlowDown.',
    allowed: 'a path', initial: null, whenUnset: 'no limits', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'drainDelaySeconds', variable: 'HOLDFAST_DRAIN_DELAY_SECONDS',
    reason: 'How long a server that was told to stop still serves, not ready any more and closing connections with their next answer, so that load balancers notice. '
      + 'Behind one: twice the time between its health checks.',
    allowed: '0 to 3600', unit: 'seconds', initial: '0', parse: whole(0, 3600),
  },
  {
    name: 'drainSeconds', variable: 'HOLDFAST_DRAIN_SECONDS', reason: 'How long running requests may take to finish after that, before their connections are cut.',
    allowed: '1 to 86400', unit: 'seconds', initial: '30', parse: whole(1, 86_400),
  },
  {
    name: 'metricsAuth', variable: 'HOLDFAST_METRICS_AUTH',
    reason: 'Whether /metrics on the control port wants credentials: the token of HOLDFAST_METRICS_TOKEN_FILE, or a signature by root keys. none opens it to whoever reaches the port; names of buckets are in it.',
    allowed: 'required or none', initial: 'required', parse: oneOf('required', 'none'),
  },
  {
    name: 'metricsTokenFile', variable: 'HOLDFAST_METRICS_TOKEN_FILE',
    reason: 'File with the bearer token that opens /metrics and nothing else, of 16 characters or more; read anew by each request, so that it can be changed.',
    allowed: 'a path', initial: null, whenUnset: 'no token', parse: (text) => ({ value: path.resolve(text) }),
  },
  {
    name: 'otlpEndpoint', variable: 'OTEL_EXPORTER_OTLP_ENDPOINT',
    reason: 'Collector of traces: OTLP over HTTP with JSON is sent to /v1/traces below it. Without it nothing is traced.',
    allowed: 'http:// or https:// with host, port and perhaps a path', initial: null, whenUnset: 'no traces', parse: matching(/^https?:\/\/[A-Za-z0-9.:[\]-]+(\/[^\s?#]*)?$/),
  },
  {
    name: 'tracesShare', variable: 'OTEL_TRACES_SAMPLER_ARG', reason: 'Share of the requests that are traced; one that comes with a traceparent is traced when its caller traces it.',
    allowed: '0 to 1', initial: '0.01', parse: share,
  },
  {
    name: 'serviceName', variable: 'OTEL_SERVICE_NAME', reason: 'What the server is called in traces.',
    allowed: '1 to 128 characters of A-Z a-z 0-9 . _ -', initial: 'holdfast', parse: matching(/^[A-Za-z0-9._-]{1,128}$/),
  },
  {
    name: 'accessLog', variable: 'HOLDFAST_ACCESS_LOG',
    reason: 'Share of the requests that get a line in the log. A line costs the server little, but twenty thousand a second are 7 MB that somebody has to read and keep. '
      + 'Requests that fail by a fault of the server are always told.',
    allowed: '0 (none) to 1 (each); 0.01 is one in a hundred', initial: '0', parse: share,
  },
  {
    name: 'logFormat', variable: 'HOLDFAST_LOG_FORMAT', reason: 'json: a JSON document a line; pretty: for people; auto: pretty on a terminal, else json.',
    allowed: 'auto, json or pretty', initial: 'auto', parse: oneOf('auto', 'json', 'pretty'),
  },
  {
    name: 'logLevel', variable: 'HOLDFAST_LOG_LEVEL', reason: 'Least important messages that are written to standard error. The control port changes it while the server runs.',
    allowed: 'debug, info, warn or error', initial: 'info', parse: oneOf('debug', 'info', 'warn', 'error'),
  },
]
