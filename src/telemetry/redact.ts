/**
 * What never stands in a log: the list, in one place. Messages, fields and the stacks of errors go through it as the last thing
 * before they are written, so that whoever logs a URL or a header by mistake logs no secret.
 */

/** Fields whose value is a secret, whatever it holds. Names as they are once lower-cased and freed of `-` and `_`. */
const secretFields: ReadonlySet<string> = new Set([
  'authorization', 'cookie', 'password', 'pgpassword', 'secret', 'secretkey', 'secretaccesskey', 'rootsecretkey', 'masterkey', 'privatekey', 'token', 'sessiontoken',
  'securitytoken', 'signature', 'signingkey', 'xamzsecuritytoken', 'xamzsignature', 'awssecretaccesskey', 'holdfastrootsecretkey', 'holdfastmasterkey',
])

const hidden = '***'

/** A value ends where a URL, a header, a JSON text or a connection string would end it. */
const patterns: readonly (readonly [RegExp, string])[] = [
  // Query parameters of presigned URLs, of both versions. The access key id stays: it tells whose request it was.
  [/(X-Amz-(?:Signature|Security-Token)=)[^&\s"'\\<>,;]+/gi, `$1${hidden}`],
  [/(X-Amz-Credential=[^&/%\s"'\\<>,;]+)(?:\/|%2F)[^&\s"'\\<>,;]+/gi, `$1/${hidden}`],
  [/([?&]Signature=)[^&\s"'\\<>,;]+/g, `$1${hidden}`],
  // The Authorization header: version 4, version 2, tokens.
  [/(\bCredential=[^/%&\s"'\\,]+)\/[^&\s"'\\,]+/g, `$1/${hidden}`],
  [/(\bSignature=)[0-9a-fA-F]{16,}/g, `$1${hidden}`],
  [/(\bAWS [A-Za-z0-9._-]{3,128}:)[A-Za-z0-9+/=]{8,}/g, `$1${hidden}`],
  [/(\b(?:Bearer|Basic) )[A-Za-z0-9._~+/=-]{8,}/g, `$1${hidden}`],
  [/(x-amz-security-token["']?\s*[:=]\s*["']?)[^\s"'\\,&]+/gi, `$1${hidden}`],
  // Connection strings, as a URL and as parameters.
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/?#@"'\\]*):[^\s/?#"'\\]*@/gi, `$1:${hidden}@`],
  [/(\b(?:pg)?password=)(?:'[^']*'|[^&\s"'\\]+)/gi, `$1${hidden}`],
]

/** The text without secrets. */
export function redacted(text: string): string {
  let result = text
  for (const [pattern, replacement] of patterns) result = result.replace(pattern, replacement)
  return result
}

/** Whether the value of a field of this name is a secret. */
export function isSecretField(name: string): boolean {
  return secretFields.has(name.replace(/[-_]/g, '').toLowerCase())
}

export { hidden as redactedText }
