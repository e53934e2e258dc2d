/** The way from the executable's launcher into the unpacked program: from here on everything is files, as in a checkout. */
const fs = require('node:fs')
const module_ = require('node:module')
const path = require('node:path')
const { pathToFileURL } = require('node:url')

/** `tree`: where the program lies; `file`: what a server process runs, null for the program itself; `compiled`: where compiled code is kept. */
module.exports = ({ tree, file, compiled }) => {
  module_.enableCompileCache(compiled)
  // Worker threads look at the variable only.
  process.env.NODE_COMPILE_CACHE = compiled
  process.env.UV_THREADPOOL_SIZE ??= '16'
  const main = path.join(tree, file ?? path.join('src', 'main.ts'))
  // The executable gives every process its flags by itself, and would take these for arguments of the program.
  process.execArgv.length = 0
  // So that a server process that is started after an upgrade has replaced the file is of the same program as its supervisor.
  const self = `/proc/${process.pid}/exe`
  if (fs.existsSync(self)) process.execPath = self
  // [executable, executable, ...arguments] or [executable, executable, file, ...arguments]
  process.argv.splice(1, file === null ? 1 : 2, main)
  import(pathToFileURL(main).href).catch((error) => {
    process.stderr.write(`Holdfast could not start: ${error.stack}\n`)
    process.exit(1)
  })
}
