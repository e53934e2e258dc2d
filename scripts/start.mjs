#!/usr/bin/env node
/** `npm start`: installs what is missing, then becomes the server on the pinned Node. */
import module from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { ensureInstalled, root } from './install.mjs'
import { isPinned, runNode, serverEnvironment, serverFlags } from './pinned.mjs'

await ensureInstalled({ development: false })
const main = path.join(root, 'src', 'main.ts')
const compileCache = path.join(root, 'node_modules', '.cache', 'holdfast')
if (isPinned()) {
  // The same process goes on as the server: one process less to hold in memory and to pass signals through.
  module.enableCompileCache(compileCache)
  // Worker threads look at the variable only. Without it each of them strips and compiles for itself, which takes 13 MB a thread.
  Object.assign(process.env, serverEnvironment(process.env), { NODE_COMPILE_CACHE: compileCache })
  process.argv.splice(1, 1, main)
  await import(pathToFileURL(main).href)
} else {
  process.exit(await runNode([...serverFlags, main, ...process.argv.slice(2)], { env: { ...serverEnvironment(process.env), NODE_COMPILE_CACHE: compileCache } }))
}
