import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { VersioningStatus } from '../../src/domain/model.ts'
import { parseVersionId, planDelete, planDeleteVersion, planPut, versionIdOf, type CurrentFate, type PutPlan } from '../../src/versioning/versions.ts'

const nonce = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n })

describe('version ids', () => {
  it('are 32 hex digits and give sequence and nonce back', () => {
    fc.assert(fc.property(fc.maxSafeNat(), nonce, (seq, random) => {
      const id = versionIdOf(seq, random)
      expect(id).toMatch(/^[0-9a-f]{32}$/)
      expect(parseVersionId(id)).toEqual({ seq, nonce: random })
    }))
  })

  it('null is the null version', () => expect(parseVersionId('null')).toBe('null'))

  it.each(['', 'NULL', 'abc', 'A'.repeat(32), '0'.repeat(31), '0'.repeat(33), `${'0'.repeat(31)}g`, `${'0'.repeat(31)}\n`,
    `ff${'0'.repeat(30)}`])('%j is none', (text) => {
    expect(parseVersionId(text)).toBeUndefined()
  })
})

interface Row {
  readonly id: number
  readonly isNull: boolean
  readonly isDeleteMarker: boolean
}

/** A key by the rules of the plans: one current row, older ones newest first, and what was removed. */
interface Key {
  current: Row | null
  noncurrent: Row[]
}

const noncurrentNull = (key: Key): boolean => key.noncurrent.some((row) => row.isNull)

function applyPut(key: Key, plan: PutPlan, id: number, isDeleteMarker: boolean): void {
  expect(plan.current === 'none').toBe(key.current === null)
  if (plan.removeNoncurrentNull) key.noncurrent = key.noncurrent.filter((row) => !row.isNull)
  if (plan.current === 'demote' && key.current) key.noncurrent.unshift(key.current)
  key.current = { id, isNull: plan.isNull, isDeleteMarker }
}

/** A key as the user guide tells it: one list of versions, newest first. */
function putInList(list: Row[], versioning: VersioningStatus, id: number, isDeleteMarker: boolean): Row[] {
  const isNull = versioning !== 'enabled'
  return [{ id, isNull, isDeleteMarker }, ...list.filter((row) => !(isNull && row.isNull))]
}

const step = fc.oneof(
  fc.constant({ kind: 'put' as const }), fc.constant({ kind: 'delete' as const }), fc.record({ kind: fc.constant('delete-version' as const),
    which: fc.nat(9) }),
  fc.record({ kind: fc.constant('versioning' as const), status: fc.constantFrom('enabled' as const, 'suspended' as const) }),
)

describe('plans', () => {
  it('do what the user guide tells, for any history of a key', () => {
    fc.assert(fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
      let versioning: VersioningStatus = 'off'
      const key: Key = { current: null, noncurrent: [] }
      let list: Row[] = []
      for (const [id, one] of steps.entries()) {
        if (one.kind === 'versioning') {
          versioning = one.status
        } else if (one.kind === 'put') {
          applyPut(key, planPut(versioning, key.current, noncurrentNull(key)), id, false)
          list = putInList(list, versioning, id, false)
        } else if (one.kind === 'delete') {
          deleteCurrent(key, versioning, id)
          list = versioning === 'off' ? [] : putInList(list, versioning, id, true)
        } else {
          const target = list[one.which]
          deleteVersion(key, target?.id)
          list = list.filter((row) => row !== target)
        }
        expect([...key.current ? [key.current] : [], ...key.noncurrent]).toEqual(list)
        expect(list.filter((row) => row.isNull).length).toBeLessThanOrEqual(1)
      }
    }), { numRuns: 1000 })
  })

  it('tell what becomes of the current row', () => {
    const fates: [VersioningStatus, boolean | null, CurrentFate][] = [
      ['off', null, 'none'], ['off', true, 'remove'], ['enabled', true, 'demote'], ['enabled', false, 'demote'], ['suspended', true, 'remove'],
        ['suspended', false, 'demote'],
    ]
    for (const [versioning, isNull, fate] of fates) {
      expect(planPut(versioning, isNull === null ? null : { isNull, isDeleteMarker: false }, false).current).toBe(fate)
    }
  })

  it('a delete marks even a key that never was, once versioning was on', () => {
    expect(planDelete('off', null, false)).toEqual({ kind: 'nothing' })
    expect(planDelete('enabled', null, false)).toEqual({ kind: 'marker', put: { isNull: false, current: 'none', removeNoncurrentNull: false } })
    expect(planDelete('suspended', null, true)).toEqual({ kind: 'marker', put: { isNull: true, current: 'none', removeNoncurrentNull: true } })
  })
})

function deleteCurrent(key: Key, versioning: VersioningStatus, id: number): void {
  const plan = planDelete(versioning, key.current, noncurrentNull(key))
  if (plan.kind === 'marker') applyPut(key, plan.put, id, true)
  else if (plan.kind === 'remove-current') key.current = null
}

function deleteVersion(key: Key, id: number | undefined): void {
  const row = [key.current, ...key.noncurrent].find((one) => one?.id === id && id !== undefined)
  const plan = planDeleteVersion(row ? { where: row === key.current ? 'current' : 'noncurrent', isDeleteMarker: row.isDeleteMarker } : null,
    key.noncurrent.length > 0)
  if (plan.kind === 'nothing') return
  expect(plan.deleteMarker).toBe(row?.isDeleteMarker)
  if (plan.kind === 'remove-noncurrent') key.noncurrent = key.noncurrent.filter((one) => one !== row)
  else key.current = plan.promote ? key.noncurrent.shift() ?? null : null
}
