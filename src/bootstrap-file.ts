import { readFile } from 'node:fs/promises'
import { parseBootstrap } from './admin/bootstrap.ts'
import type { KeyPair } from './admin/keys.ts'
import { managedPolicy, parsePolicy } from './auth/policy.ts'
import { keyPairProblem } from './config-fields.ts'
import type { Config } from './config.ts'
import type { Bootstrap } from './metadata/store.ts'

/** The accounts of the file that HOLDFAST_BOOTSTRAP_FILE names; none without one. */
export async function readBootstrap({ bootstrapFile }: Pick<Config, 'bootstrapFile'>): Promise<Bootstrap> {
  if (bootstrapFile === null) return { accounts: [] }
  const keyProblem = ({ accessKeyId, secretAccessKey }: KeyPair): string | null => keyPairProblem(accessKeyId, secretAccessKey)
  return parseBootstrap(await readFile(bootstrapFile, 'utf8'), bootstrapFile, { parsePolicy, managedPolicy, keyProblem })
}
