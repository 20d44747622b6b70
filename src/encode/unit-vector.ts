/** What rounding leaves of the length of a vector that a graph has brought to unit length. */
const UNIT_TOLERANCE = 1e-5;

/** To unit length, in place; one that has it keeps its bits, and zeros stay zeros. */
export function toUnit(vector: Float32Array): void {
  let squares = 0;
  for (const value of vector) squares += value * value;
  if (squares === 0 || Math.abs(squares - 1) <= UNIT_TOLERANCE) return;
  const scale = 1 / Math.sqrt(squares);
  for (let i = 0; i < vector.length; i++) vector[i] = (vector[i] as number) * scale;
}
