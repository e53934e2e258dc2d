import { isSea } from 'node:sea'

/** What an operator types before a command, for help texts: the executable by the name that it was started by, else npm's way to it. */
export const calledBy = isSea() ? process.argv0 : 'npm run holdfast --'
