import { fchmodSync, writeSync } from 'node:fs'
import { realpath, stat } from 'node:fs/promises'
import path from 'node:path'
import type { LimitsPart } from './admin/limits-routes.ts'
import { yaml } from './domain/yaml.ts'
import type { Admission } from './gateway/admission.ts'
import { durably } from './storage/backend.ts'

/**
 * The limits as the admin API shows and changes them. A change goes to the file that HOLDFAST_LIMITS_FILE names, durably, and from there
 * to every process and replica that shares it, as a change by hand does: so it is also there after the next start.
 */
export function limitsPart(admission: Admission): LimitsPart {
  return {
    show: () => ({ document: admission.document, source: admission.source() }),
    async replace(file, document) {
      // A link stays one: what it leads to is replaced.
      const real = await realpath(file)
      const { mode } = await stat(real)
      const text = Buffer.from(real.endsWith('.json') ? `${JSON.stringify(document, null, 2)}\n` : yaml().stringify(document))
      const folder = path.dirname(real)
      await durably({ root: folder, tmp: folder, path: path.basename(real), replaces: true }, async (fd) => {
        for (let done = 0; done < text.length;) done += writeSync(fd, text, done)
        fchmodSync(fd, mode & 0o777)
        return true
      })
      admission.look()
    },
  }
}
