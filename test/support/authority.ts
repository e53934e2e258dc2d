import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import path from 'node:path'

/** A certificate and its key, as PEM files. */
export interface Pair {
  readonly certFile: string
  readonly keyFile: string
  readonly cert: Buffer
  readonly key: Buffer
}

/** An authority of openssl's own making, below a folder that the test removes. */
export interface Authority {
  readonly caFile: string
  readonly ca: Buffer
  /** Signs a new certificate for this machine. */
  sign(name: string): Pair
}

export function makeAuthority(folder: string, name: string): Authority {
  const at = (file: string): string => path.join(folder, file)
  const openssl = (...args: readonly string[]): void => void execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2']
  const caFile = at(`${name}.pem`)
  openssl('req', '-x509', ...curve, '-keyout', at(`${name}.key`), '-out', caFile, '-subj', `/CN=${name}`)
  writeFileSync(at('names.cnf'), 'subjectAltName=IP:127.0.0.1,DNS:localhost\n')
  return {
    caFile,
    ca: readFileSync(caFile),
    sign(subject) {
      const [certFile, keyFile, request] = [at(`${subject}.pem`), at(`${subject}.key`), at(`${subject}.csr`)]
      openssl('req', ...curve, '-keyout', keyFile, '-out', request, '-subj', `/CN=${subject}`)
      openssl('x509', '-req', '-in', request, '-CA', caFile, '-CAkey', at(`${name}.key`), '-CAcreateserial', '-days', '2', '-out', certFile, '-extfile', at('names.cnf'))
      return { certFile, keyFile, cert: readFileSync(certFile), key: readFileSync(keyFile) }
    },
  }
}
