/**
 * The CRC of a concatenation from the CRCs of its pieces, without the bytes. A reflected CRC is a polynomial over GF(2);
 * to put n bytes behind a message multiplies its CRC by x^(8n) modulo the generator, and the rest is xor:
 *   crc(A B) = crc(A) * x^(8 |B|) xor crc(B)
 * Initial value and final xor of ones cancel out. Numbers are reflected: the highest bit stands for x^0.
 */
export interface CrcField {
  readonly width: 32 | 64
  /** The generator without its highest term, reflected. */
  readonly polynomial: bigint
}

export function combineCrcs(field: CrcField, parts: readonly { readonly crc: bigint; readonly size: number }[]): bigint {
  let crc = 0n
  // Parts of one upload mostly have one size, so its power is kept from part to part.
  let shiftSize = -1
  let shift = 0n
  for (const part of parts) {
    if (part.size !== shiftSize) {
      shiftSize = part.size
      shift = powerOfX(field, BigInt(part.size) * 8n)
    }
    crc = multiply(field, crc, shift) ^ part.crc
  }
  return crc
}

/** Product of two polynomials modulo the generator. */
function multiply({ width, polynomial }: CrcField, a: bigint, b: bigint): bigint {
  let product = 0n
  let factor = b
  for (let bit = BigInt(width - 1); bit >= 0n; bit--) {
    if ((a >> bit & 1n) === 1n) product ^= factor
    factor = (factor >> 1n) ^ ((factor & 1n) === 1n ? polynomial : 0n)
  }
  return product
}

/** x^exponent modulo the generator, by squaring. */
function powerOfX(field: CrcField, exponent: bigint): bigint {
  let power = 1n << BigInt(field.width - 1)
  let square = power >> 1n
  for (let rest = exponent; rest > 0n; rest >>= 1n) {
    if ((rest & 1n) === 1n) power = multiply(field, power, square)
    square = multiply(field, square, square)
  }
  return power
}
