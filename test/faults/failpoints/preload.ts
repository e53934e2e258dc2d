import { readFileSync } from 'node:fs'
import type { Failpoint } from '../../../src/domain/failpoint.ts'

/**
 * Loaded into the server before everything else, in its threads too. The process kills itself where the file that FAILPOINT_FILE
 * names says: `step\nof\nk` is the k-th time that a thread reaches this step for something whose name contains `of`.
 */
const file = process.env['FAILPOINT_FILE']
let armed = ''
let count = 0

const die: Failpoint = (step, of = '') => {
  const text = armedNow()
  if (text !== armed) count = 0
  armed = text
  const [wanted, part = '', at] = text.split('\n')
  if (wanted !== step || !of.includes(part)) return
  count += 1
  if (count >= Number(at)) process.kill(process.pid, 'SIGKILL')
}

function armedNow(): string {
  try {
    return readFileSync(file ?? '', 'utf8')
  } catch {
    return ''
  }
}

if (file !== undefined) Object.assign(globalThis, { holdfastFailpoint: die })
