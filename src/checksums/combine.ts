/**
 * The CRC of a concatenation from the CRCs of its pieces, without the bytes. A reflected CRC is a polynomial over GF(2);
 * to put n bytes behind a message multiplies its CRC by x^(8n) modulo the generator, and the rest is xor:
 *   crc(A B) = crc(A) * x^(8 |B|) xor crc(B)
 * Initial value and final xor of ones cancel out. Numbers are reflected: the highest bit stands for x^0.
 *
 * Ten thousand parts are combined while a key is locked, so the arithmetic is on pairs of 32-bit halves: BigInt takes a
 * hundred times longer.
 */
export interface CrcField {
  readonly width: 32 | 64
  /** The generator without its highest term, reflected. */
  readonly polynomial: bigint
}

interface Halves {
  readonly high: number
  readonly low: number
}

/** `size` in bytes, `crc` as the number that the algorithm gives. */
export function combineCrcs(field: CrcField, parts: readonly { readonly crc: bigint; readonly size: number }[]): bigint {
  const generator = halves(field.polynomial)
  const powers = powersOfX(field.width, generator)
  let crc: Halves = { high: 0, low: 0 }
  // Parts of one upload mostly have one size, so its power is kept from part to part.
  let shiftSize = -1
  let shift = crc
  for (const part of parts) {
    if (part.size !== shiftSize) {
      shiftSize = part.size
      shift = byteShift(field.width, generator, powers, part.size)
    }
    const moved = multiply(field.width, generator, crc, shift)
    const own = halves(part.crc)
    crc = { high: moved.high ^ own.high, low: moved.low ^ own.low }
  }
  return (BigInt(crc.high >>> 0) << 32n) | BigInt(crc.low >>> 0)
}

const halves = (value: bigint): Halves => ({ high: Number(value >> 32n) | 0, low: Number(value & 0xffffffffn) | 0 })

/** Product of two polynomials modulo the generator. In a 32-bit field the high halves stay 0. */
function multiply(width: number, generator: Halves, a: Halves, b: Halves): Halves {
  let high = 0
  let low = 0
  let factorHigh = b.high
  let factorLow = b.low
  for (let bit = width - 1; bit >= 0; bit--) {
    if ((((bit >= 32 ? a.high : a.low) >>> (bit & 31)) & 1) === 1) {
      high ^= factorHigh
      low ^= factorLow
    }
    const carry = -(factorLow & 1)
    factorLow = ((factorLow >>> 1) | (factorHigh << 31)) ^ (generator.low & carry)
    factorHigh = (factorHigh >>> 1) ^ (generator.high & carry)
  }
  return { high, low }
}

/** x^(2^k) for k from 0 to 63. */
function powersOfX(width: 32 | 64, generator: Halves): readonly Halves[] {
  const powers: Halves[] = []
  let power: Halves = width === 64 ? { high: 1 << 30, low: 0 } : { high: 0, low: 1 << 30 }
  for (let k = 0; k < 64; k++) {
    powers.push(power)
    power = multiply(width, generator, power, power)
  }
  return powers
}

/** x^(8 * size): the product of the powers whose bits are set in the exponent. */
function byteShift(width: 32 | 64, generator: Halves, powers: readonly Halves[], size: number): Halves {
  let shift: Halves = width === 64 ? { high: 1 << 31, low: 0 } : { high: 0, low: 1 << 31 }
  let rest = size
  for (let k = 3; rest > 0; k++) {
    const power = powers[k]
    if (rest % 2 === 1 && power) shift = multiply(width, generator, shift, power)
    rest = Math.floor(rest / 2)
  }
  return shift
}
