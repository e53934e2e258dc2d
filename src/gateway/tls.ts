import { randomBytes, X509Certificate } from 'node:crypto'
import { readFileSync } from 'node:fs'
import type { IncomingMessage, RequestListener } from 'node:http'
import { createServer, type Server, type ServerOptions } from 'node:https'
import { createSecureContext, type TLSSocket } from 'node:tls'
import type { Log } from '../telemetry/log.ts'
import { tlsHandshakeMs, tlsLookMs } from './limits.ts'
import { watchFiles } from './watched-files.ts'

/** HTTPS from files that may change while the server runs. */

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
  const { certFile, keyFile, clientCaFile } = files
  const servers = new Set<Server>()
  let notAfter = ''
  const watched = watchFiles({
    paths: [certFile, keyFile, ...clientCaFile === null ? [] : [clientCaFile]],
    everyMs: tlsLookMs,
    read: () => readPems(files),
    apply(pems, before) {
      notAfter = check(pems)
      // Who resumes a session does not show its certificate again: with other authorities nobody may.
      const ticketKeys = before?.ca?.equals(pems.ca ?? Buffer.alloc(0)) === false ? { ticketKeys: randomBytes(48) } : {}
      for (const server of servers) server.setSecureContext({ ...pems, ...protocol, ...ticketKeys })
    },
    renewed: () => log.info('The TLS certificate was read anew', { certFile, notAfter }),
    refused: (reason) => log.error('The new TLS files are refused, the certificate that was there before stays in use', { reason, notAfter }),
  })

  return {
    createServer(options, listener, asksClients) {
      const all = asksClients === 'all'
      const pems = watched.state.content
      const server = createServer(
        { ...options, ...pems, ...protocol, handshakeTimeout: tlsHandshakeMs, requestCert: pems.ca !== undefined, rejectUnauthorized: all },
        all || pems.ca === undefined ? listener : withCertificate(listener),
      )
      servers.add(server)
      server.once('close', () => servers.delete(server))
      return server
    },
    close: () => watched.close(),
  }
}

const protocol = { minVersion: 'TLSv1.2' } as const

function readPems({ certFile, keyFile, clientCaFile }: TlsFiles): Pems {
  return { cert: readFileSync(certFile), key: readFileSync(keyFile), ...clientCaFile === null ? {} : { ca: readFileSync(clientCaFile) } }
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
