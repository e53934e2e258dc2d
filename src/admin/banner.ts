export interface BannerFacts {
  /** URL of the S3 port. */
  readonly endpoint: string
  readonly controlEndpoint: string
  readonly version: string
  readonly region: string
  readonly accessKeyId: string
  /** Null: not shown, `secretKeptIn` says where it is. */
  readonly secretAccessKey: string | null
  readonly secretKeptIn: string
  readonly dataDir: string
  readonly database: string
  readonly durability: 'strict' | 'relaxed'
  readonly startedMs: number
}

/** What a terminal shows once the server is ready. `colour`: with ANSI escapes. */
export function banner(facts: BannerFacts, colour: boolean): string {
  const paint = (code: number) => (text: string): string => (colour ? `\x1b[${code}m${text}\x1b[0m` : text)
  const bold = paint(1)
  const dim = paint(2)
  const accent = paint(36)
  const warning = paint(33)
  const secret = facts.secretAccessKey ?? '<secret>'
  const rows: readonly (readonly [string, string])[] = [
    ['S3 endpoint', accent(facts.endpoint)],
    ['Control', facts.controlEndpoint],
    ['Access key', bold(facts.accessKeyId)],
    ['Secret key', facts.secretAccessKey === null ? dim(facts.secretKeptIn) : `${bold(facts.secretAccessKey)}  ${dim(`shown this once; kept ${facts.secretKeptIn}`)}`],
    ['Data', facts.dataDir],
    ['Metadata', facts.database],
    ...(facts.durability === 'relaxed' ? [['Durability', warning('RELAXED: a loss of power can take the last objects that were answered with 200')] as const] : []),
  ]
  const lines = [
    '',
    `  ${bold('Holdfast')} ${facts.version}  ${dim(`ready in ${(facts.startedMs / 1000).toFixed(1)} s`)}`,
    '',
    ...rows.map(([name, value]) => `  ${dim(name.padEnd(12))} ${value}`),
    '',
    `  ${dim('Try it:')}`,
    `  AWS_ACCESS_KEY_ID=${facts.accessKeyId} AWS_SECRET_ACCESS_KEY=${secret} AWS_DEFAULT_REGION=${facts.region} aws --endpoint-url ${facts.endpoint} s3 mb s3://first`,
    `  rclone mkdir :s3,provider=Other,access_key_id=${facts.accessKeyId},secret_access_key=${secret},region=${facts.region},endpoint='"${facts.endpoint}"':first`,
    `  python3 -c "import boto3; print(boto3.client('s3', endpoint_url='${facts.endpoint}', region_name='${facts.region}', aws_access_key_id='${facts.accessKeyId}', `
    + `aws_secret_access_key='${secret}').list_buckets()['Buckets'])"`,
    '',
  ]
  return `${lines.join('\n')}\n`
}

/** `http://host:port`, or https; an address that means "all of them" is shown as the one that works from this machine. */
export function endpointOf(host: string, port: number, tls: boolean): string {
  const shown = host === '0.0.0.0' ? '127.0.0.1' : host === '::' ? '[::1]' : host.includes(':') ? `[${host}]` : host
  return `http${tls ? 's' : ''}://${shown}:${port}`
}
