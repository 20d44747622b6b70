/** Random numbers that a seed repeats, and draws made with them. */

export type Random = () => number;

/** Numbers in [0, 1): mulberry32, by Tommy Ettinger; 32 bits of state are enough to draw samples. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Unsigned 32-bit words: xoshiro128** 1.1 by D. Blackman and S. Vigna, 128 bits of state, for where so
 * much is drawn that mulberry32 would come round.
 */
export function seededBits(seed: number): () => number {
  const random = seededRandom(seed);
  const word = (): number => (random() * 2 ** 32) | 0;
  let a = word();
  let b = word();
  let c = word();
  let d = word() | 1; // never all zero
  return () => {
    const five = Math.imul(b, 5);
    const result = Math.imul((five << 7) | (five >>> 25), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return result;
  };
}

/** Up to `count` of the items, in random order (Fisher and Yates, stopped early). */
export function drawSome<T>(items: readonly T[], count: number, random: Random): T[] {
  const left = [...items];
  const size = Math.min(count, left.length);
  for (let i = 0; i < size; i++) {
    const j = i + Math.floor(random() * (left.length - i));
    [left[i], left[j]] = [left[j] as T, left[i] as T];
  }
  return left.slice(0, size);
}

/** Up to `count` of the whole numbers below `size`, each once, in random order. */
export function drawPlaces(size: number, count: number, random: Random): number[] {
  if (count * 2 >= size) return drawSome([...Array(size).keys()], count, random);
  const places = new Set<number>();
  while (places.size < count) places.add(Math.floor(random() * size));
  return [...places];
}

/** Keeps `size` of the items that pass by, each with the same chance (Vitter's algorithm R). */
export class Reservoir<T> {
  readonly items: T[] = [];
  private seen = 0;

  constructor(
    private readonly size: number,
    private readonly random: Random,
  ) {}

  take(item: T): void {
    this.seen += 1;
    if (this.items.length < this.size) {
      this.items.push(item);
      return;
    }
    const place = Math.floor(this.random() * this.seen);
    if (place < this.size) this.items[place] = item;
  }
}
