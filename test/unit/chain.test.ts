import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { chainHash, verifyChain, type ChainedVersion, type ChainLink } from '../../src/versioning/chain.ts'

const version: fc.Arbitrary<ChainedVersion> = fc.record({
  bucketId: fc.nat(), key: fc.string(), seq: fc.maxSafeNat(), versionId: fc.string(), isDeleteMarker: fc.boolean(), etag: fc.string(),
    size: fc.maxSafeNat(), lastModified: fc.maxSafeNat(),
})

function chain(versions: readonly ChainedVersion[]): ChainLink[] {
  let previousHash: Uint8Array | null = null
  return versions.map((one) => {
    const link: ChainLink = { ...one, previousHash, hash: chainHash(previousHash, one) }
    previousHash = link.hash
    return link
  })
}

const versions = fc.array(version, { minLength: 2, maxLength: 6 }).map((list) => list.map((one, i) => ({ ...one, versionId: `v${i}` })))

describe('the hash chain', () => {
  it('has no fault as it was written', () => {
    fc.assert(fc.property(versions, (list) => {
      expect(verifyChain(chain(list))).toEqual([])
    }))
  })

  it('shows any field that was changed', () => {
    const changes: Partial<ChainedVersion>[] = [
      { key: 'other' }, { seq: -1 }, { etag: 'other' }, { size: -1 }, { lastModified: -1 }, { bucketId: -1 },
    ]
    fc.assert(fc.property(versions, fc.nat(), fc.constantFrom(...changes), (list, which, change) => {
      const links = chain(list)
      const at = which % links.length
      const before = links[at]
      if (!before || Object.entries(change).every(([name, value]) => before[name as keyof ChainLink] === value)) return
      expect(verifyChain(links.with(at, { ...before, ...change }))).toEqual([{ kind: 'changed', versionId: `v${at}` }])
    }))
  })

  it('shows a version that is missing in the middle or at the start', () => {
    fc.assert(fc.property(versions, (list) => {
      expect(verifyChain(chain(list).toSpliced(0, 1))).toEqual([{ kind: 'gap', versionId: 'v1' }])
    }))
  })

  it('keeps fields apart', () => {
    const base: ChainedVersion = { bucketId: 1, key: 'ab', seq: 1, versionId: 'c', isDeleteMarker: false, etag: '', size: 0, lastModified: 0 }
    expect(chainHash(null, base)).not.toEqual(chainHash(null, { ...base, key: 'a', versionId: 'bc' }))
    expect(chainHash(null, base)).not.toEqual(chainHash(new Uint8Array(0), base))
    expect(chainHash(null, base)).toHaveLength(32)
  })
})
