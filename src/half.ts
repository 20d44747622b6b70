/** Floats of 16 bits: IEEE 754 binary16, and bfloat16, the upper half of an f32. */

let table: Float32Array | undefined;

/** All 65,536 of them: a look-up is faster than taking each apart. */
function halfTable(): Float32Array {
  if (table !== undefined) return table;
  table = new Float32Array(1 << 16);
  for (let bits = 0; bits < 1 << 16; bits++) {
    const sign = bits & 0x8000 ? -1 : 1;
    const exponent = (bits >> 10) & 0x1f;
    const fraction = bits & 0x3ff;
    const magnitude =
      exponent === 0
        ? fraction * 2 ** -24
        : exponent === 0x1f
          ? fraction === 0
            ? Number.POSITIVE_INFINITY
            : Number.NaN
          : (1024 + fraction) * 2 ** (exponent - 25);
    table[bits] = sign * magnitude;
  }
  return table;
}

export function halvesToFloats(bytes: Buffer): Float32Array {
  const floats = new Float32Array(bytes.length / 2);
  const values = halfTable();
  for (let i = 0; i < floats.length; i++) floats[i] = values[bytes.readUInt16LE(i * 2)] as number;
  return floats;
}

export function bfloatsToFloats(bytes: Buffer): Float32Array {
  const bits = new Uint32Array(bytes.length / 2);
  for (let i = 0; i < bits.length; i++) bits[i] = bytes.readUInt16LE(i * 2) << 16;
  return new Float32Array(bits.buffer);
}

/** To nearest, ties to even; beyond 65,504 infinite. */
export function floatsToHalves(floats: Float32Array): Buffer {
  const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
  const halves = Buffer.allocUnsafe(floats.length * 2);
  for (let i = 0; i < bits.length; i++) halves.writeUInt16LE(toHalf(bits[i] as number), i * 2);
  return halves;
}

function toHalf(bits: number): number {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude >= 0x7f800000) return sign | (magnitude > 0x7f800000 ? 0x7e00 : 0x7c00);
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude < 0x38800000) {
    // Subnormal: the number of steps of 2^-24.
    const exponent = magnitude >>> 23;
    if (exponent < 102) return sign;
    const shift = 126 - exponent;
    return sign | roundOff((magnitude & 0x7fffff) | 0x800000, shift);
  }
  return sign | roundOff(magnitude - 0x38000000, 13);
}

function roundOff(value: number, bits: number): number {
  const half = 2 ** (bits - 1);
  const kept = Math.floor(value / (half * 2));
  const rest = value - kept * half * 2;
  return kept + (rest > half || (rest === half && kept % 2 === 1) ? 1 : 0);
}
