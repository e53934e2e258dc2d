import type { Statement } from './connect.ts'
import type { GroupNeeds } from './group-read.ts'
import { lockStatement } from './locks.ts'

const begin: Statement = { name: 'begin', text: 'BEGIN', values: [] }
/** How each transaction of a group begins. */
export const opening = ({ locks }: GroupNeeds): Statement[] => [begin, lockStatement(locks)]
export const commit: Statement = { name: 'commit', text: 'COMMIT', values: [] }
export const rollback: Statement = { name: 'rollback', text: 'ROLLBACK', values: [] }
