/**
 * Ward's hierarchical clustering by nearest-neighbour chains, O(n²) time on n(n-1)/2 distances, with
 * ties and labels as SciPy has them. Sources: Murtagh (1983); Müllner, arXiv:1109.2378; SciPy's
 * cluster.hierarchy, linkage(method='ward') and fcluster(criterion='maxclust').
 */

/** n - 1 merges, nearest first. Ids below n are points, n + i is what merge i made. */
export type Merge = { left: number; right: number; distance: number };

/** `distances`: pairs i < j, row after row of the upper triangle; overwritten. */
export function wardTree(distances: Float64Array, count: number): Merge[] {
  const place = (i: number, j: number): number =>
    i < j
      ? count * i - (i * (i + 1)) / 2 + (j - i - 1)
      : count * j - (j * (j + 1)) / 2 + (i - j - 1);
  const between = (i: number, j: number): number => distances[place(i, j)] as number;
  const sizes = new Float64Array(count).fill(1); // 0: merged into another
  const chain: number[] = [];
  const merges: Merge[] = [];
  while (merges.length < count - 1) {
    if (chain.length === 0) chain.push(sizes.findIndex((size) => size > 0));
    let x = chain.at(-1) as number;
    let y = -1;
    let distance = 0;
    for (;;) {
      x = chain.at(-1) as number;
      // A tie goes to where the chain comes from, or it would never end.
      y = chain.at(-2) ?? -1;
      distance = y < 0 ? Number.POSITIVE_INFINITY : between(x, y);
      for (let i = 0; i < count; i++) {
        if (sizes[i] === 0 || i === x) continue;
        const other = between(x, i);
        if (other < distance) {
          distance = other;
          y = i;
        }
      }
      if (chain.length > 1 && y === chain.at(-2)) break;
      chain.push(y);
    }
    chain.length -= 2;
    const [left, right] = x < y ? [x, y] : [y, x];
    const sizeLeft = sizes[left] as number;
    const sizeRight = sizes[right] as number;
    merges.push({ left, right, distance });
    sizes[left] = 0;
    sizes[right] = sizeLeft + sizeRight;
    for (let i = 0; i < count; i++) {
      const size = sizes[i] as number;
      if (size === 0 || i === right) continue;
      const scale = 1 / (sizeLeft + sizeRight + size);
      const toLeft = between(i, left);
      const toRight = between(i, right);
      distances[place(i, right)] = Math.sqrt(
        (size + sizeLeft) * scale * toLeft * toLeft +
          (size + sizeRight) * scale * toRight * toRight -
          size * scale * distance * distance,
      );
    }
  }
  return labelled(merges, count);
}

/** Merges in order of distance, points replaced by the clusters they are in by then. */
function labelled(merges: Merge[], count: number): Merge[] {
  merges.sort((a, b) => a.distance - b.distance);
  const parents = Int32Array.from({ length: 2 * count - 1 }, (_, i) => i);
  const find = (i: number): number => {
    let root = i;
    while (parents[root] !== root) root = parents[root] as number;
    for (let at = i; at !== root; ) {
      const next = parents[at] as number;
      parents[at] = root;
      at = next;
    }
    return root;
  };
  return merges.map(({ left, right, distance }, i) => {
    const a = find(left);
    const b = find(right);
    parents[a] = count + i;
    parents[b] = count + i;
    return { left: Math.min(a, b), right: Math.max(a, b), distance };
  });
}

/**
 * The cluster of each point, from 0 in the order of a walk through the tree, when it is cut into at
 * most `clusters`; ties may leave fewer.
 */
export function cutTree(merges: readonly Merge[], count: number, clusters: number): Int32Array {
  const labels = new Int32Array(count);
  const last = merges[count - clusters - 1];
  const cutoff = last === undefined ? Number.NEGATIVE_INFINITY : last.distance;
  let next = 0;
  const open: { id: number; label: number }[] = [{ id: 2 * count - 2, label: -1 }];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    let { label } = node;
    if (node.id < count) {
      labels[node.id] = label < 0 ? next++ : label;
      continue;
    }
    const { left, right, distance } = merges[node.id - count] as Merge;
    if (label < 0 && distance <= cutoff) label = next++;
    // Clusters before points, as SciPy numbers them; what is pushed last is walked first.
    const points = [right, left].filter((id) => id < count);
    const inner = [right, left].filter((id) => id >= count);
    for (const id of [...points, ...inner]) open.push({ id, label });
  }
  return labels;
}
