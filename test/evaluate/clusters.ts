/** A made-up collection: token vectors in clusters, as a model's are; every document has its topics. */
import { drawSome, seededRandom } from '../../dist/random.js';

export type Vectors = { id: string; vectors: Float32Array };

export type Collection = { dim: number; documents: Vectors[]; queries: Vectors[] };

export type Clustered = {
  collection: Collection;
  /** The cluster nearest to each token of a document, by document id. */
  clustersOf: Map<string, number[]>;
  centers: Float32Array[];
};

const SHAPE = { clusters: 64, topics: 6, tokens: 20, queryTokens: 8, spread: 0.8 } as const;

export function clustered(
  dim: number,
  { documents, queries, seed }: { documents: number; queries: number; seed: number },
): Clustered {
  const random = seededRandom(seed);
  // A sum of uniforms is near enough to a normal distribution.
  const normal = (): number => 2 * (random() + random() + random() - 1.5);
  const unit = (center: Float32Array | null, spread: number): Float32Array => {
    const scale = spread / Math.sqrt(dim);
    const row = Float32Array.from({ length: dim }, (_, d) => (center?.[d] ?? 0) + scale * normal());
    const norm = Math.hypot(...row);
    return row.map((value) => value / norm);
  };
  const centers = Array.from({ length: SHAPE.clusters }, () => unit(null, 1));
  const text = (id: string, topics: readonly number[], tokens: number) => {
    const clusters = Array.from(
      { length: tokens },
      () => topics[Math.floor(random() * topics.length)] as number,
    );
    const vectors = new Float32Array(tokens * dim);
    clusters.forEach((cluster, token) => {
      vectors.set(unit(centers[cluster] as Float32Array, SHAPE.spread), token * dim);
    });
    return { id, vectors, clusters };
  };
  const topicsOf = (): number[] => drawSome([...centers.keys()], SHAPE.topics, random);
  const made = Array.from({ length: documents }, (_, i) => text(`d${i}`, topicsOf(), SHAPE.tokens));
  const asked = Array.from({ length: queries }, (_, i) =>
    text(`q${i}`, topicsOf(), SHAPE.queryTokens),
  );
  const plain = ({ id, vectors }: Vectors): Vectors => ({ id, vectors });
  return {
    collection: { dim, documents: made.map(plain), queries: asked.map(plain) },
    clustersOf: new Map(made.map(({ id, clusters }) => [id, clusters])),
    centers,
  };
}

/**
 * Documents as a residual codec leaves them, in principle: the centre of the cluster plus a residual of
 * 1 or 2 bits a dim, at the levels that lose least of a normal distribution.
 */
export function quantised({ collection, clustersOf, centers }: Clustered, bits: 1 | 2): Vectors[] {
  const { dim, documents } = collection;
  return documents.map(({ id, vectors }) => {
    const centerOf = (i: number): number => {
      const cluster = clustersOf.get(id)?.[Math.floor(i / dim)] as number;
      return centers[cluster]?.[i % dim] as number;
    };
    const residuals = vectors.map((value, i) => value - centerOf(i));
    const deviation = Math.sqrt(residuals.reduce((sum, x) => sum + x * x, 0) / residuals.length);
    // Levels of Lloyd and Max.
    const levelOf = (size: number): number => (bits === 1 ? 0.7979 : size < 0.9816 ? 0.4528 : 1.51);
    return {
      id,
      vectors: residuals.map(
        (x, i) => centerOf(i) + Math.sign(x) * deviation * levelOf(Math.abs(x) / deviation),
      ),
    };
  });
}
