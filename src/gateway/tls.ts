import { createHash, randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import type { IncomingMessage, RequestListener } from 'node:http'
import { createServer, type Server, type ServerOptions } from 'node:https'
import { createSecureContext, type TLSSocket } from 'node:tls'
import type { Log } from '../telemetry/log.ts'
import { tlsHandshakeMs, tlsLookMs } from './limits.ts'

/** HTTPS from files that may change while the server runs: cert-manager and Kubernetes swap a link, certbot writes new files. */

/** Paths of PEM files. */
export interface TlsFiles {
  /** The server's certificate and those between it and its root. */
  readonly certFile: string
  readonly keyFile: string
  /** Authorities whose certificates clients must show; null: clients show none. */
  readonly clientCaFile: string | null
}

export interface Tls {
  /** A server over the present certificate; each later one is used for connections made from then on, and none is dropped. */
  createServer(options: ServerOptions, listener: RequestListener, asksClients: 'all' | 'all but health'): Server
  /** Looks at the files now, not at the next time. */
  look(): void
  /** Stops looking at the files. */
  close(): void
}

interface Pems {
  readonly cert: Buffer
  readonly key: Buffer
  readonly ca?: Buffer
}

/** @throws when the files cannot be read or do not fit together; the message is for an operator. */
export function openTls(files: TlsFiles, log: Pick<Log, 'info' | 'error'>): Tls {
  const paths = [files.certFile, files.keyFile, ...files.clientCaFile === null ? [] : [files.clientCaFile]]
  const servers = new Set<Server>()
  let stats = statsOf(paths)
  let pems = readPems(files)
  let notAfter = check(pems)
  let digest = digestOf(pems)
  let refused: string | null = null

  function look(): void {
    try {
      const now = statsOf(paths)
      // A pair that was refused is looked at again: its other half may have come since.
      if (now === stats && refused === null) return
      const next = readPems(files)
      const nextDigest = digestOf(next)
      stats = now
      if (nextDigest === digest) {
        refused = null
        return
      }
      notAfter = check(next)
      // Who resumes a session does not show its certificate again: with other authorities nobody may.
      const ticketKeys = pems.ca?.equals(next.ca ?? Buffer.alloc(0)) === false ? { ticketKeys: randomBytes(48) } : {}
      pems = next
      digest = nextDigest
      refused = null
      for (const server of servers) server.setSecureContext({ ...pems, ...protocol, ...ticketKeys })
      log.info('The TLS certificate was read anew', { certFile: files.certFile, notAfter })
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      if (reason === refused) return
      refused = reason
      log.error('The new TLS files are refused, the certificate that was there before stays in use', { reason, notAfter })
    }
  }

  const timer = setInterval(look, tlsLookMs).unref()
  return {
    createServer(options, listener, asksClients) {
      const all = asksClients === 'all'
      const server = createServer(
        { ...options, ...pems, ...protocol, handshakeTimeout: tlsHandshakeMs, requestCert: pems.ca !== undefined, rejectUnauthorized: all },
        all || pems.ca === undefined ? listener : withCertificate(listener),
      )
      servers.add(server)
      server.once('close', () => servers.delete(server))
      return server
    },
    look,
    close: () => clearInterval(timer),
  }
}

const protocol = { minVersion: 'TLSv1.2' } as const

/** By what `stat` says of what the path leads to now: links are followed, so that one that is swapped shows. */
function statsOf(paths: readonly string[]): string {
  return paths.map((path) => {
    const { dev, ino, size, mtimeNs, ctimeNs } = statSync(path, { bigint: true })
    return `${dev}.${ino}.${size}.${mtimeNs}.${ctimeNs}`
  }).join(' ')
}

function readPems({ certFile, keyFile, clientCaFile }: TlsFiles): Pems {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ...clientCaFile === null ? {} : { ca: readFileSync(clientCaFile) } }
}

function digestOf({ cert, key, ca }: Pems): string {
  const hash = createHash('sha256')
  for (const part of [cert, key, ca ?? Buffer.alloc(0)]) hash.update(`${part.length}:`).update(part)
  return hash.digest('hex')
}

/** Throws when this is no pair that a server can use; gives the last day of the certificate. */
function check(pems: Pems): string {
  // Node says of a key that does not fit only "key values mismatch", and of authorities that are none nothing at all.
  if (pems.ca !== undefined && !isCertificate(pems.ca)) throw new Error('HOLDFAST_TLS_CLIENT_CA_FILE holds no PEM certificate.')
  try {
    createSecureContext({ ...pems, ...protocol })
    return new X509Certificate(pems.cert).validTo
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new Error(`HOLDFAST_TLS_CERT_FILE and HOLDFAST_TLS_KEY_FILE cannot be used together: ${reason}`, { cause: error })
  }
}

function isCertificate(pem: Buffer): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}

/** Health is asked for by those who have no certificate: Kubernetes' probes. All else needs one. */
function withCertificate(listener: RequestListener): RequestListener {
  return (incoming, outgoing) => {
    if ((incoming.socket as TLSSocket).authorized || isHealth(incoming)) return listener(incoming, outgoing)
    outgoing.writeHead(403, { 'content-type': 'application/json', connection: 'close' })
    outgoing.end(JSON.stringify({ error: 'a client certificate is needed' }))
  }
}

function isHealth({ url = '' }: IncomingMessage): boolean {
  return url === '/health/live' || url === '/health/ready'
}
