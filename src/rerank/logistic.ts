/**
 * Logistic regression by Newton's method with backtracking, after H.-T. Lin, C.-J. Lin and R. C. Weng,
 * "A Note on Platt's Probabilistic Outputs for Support Vector Machines", Machine Learning 68, 2007,
 * for any number of features.
 */

export type Logistic = { intercept: number; weights: number[] };

/** 1 / (1 + e^-x) without overflow. */
export function sigmoid(x: number): number {
  if (x >= 0) return 1 / (1 + Math.exp(-x));
  const e = Math.exp(x);
  return e / (1 + e);
}

/**
 * Platt's targets (1999) in place of 1 and 0, (n1 + 1) / (n1 + 2) and 1 / (n0 + 2): separable data, or
 * data of one class, then have a finite fit.
 */
export function plattTargets(labels: readonly boolean[]): number[] {
  const positives = labels.filter(Boolean).length;
  const high = (positives + 1) / (positives + 2);
  const low = 1 / (labels.length - positives + 2);
  return labels.map((label) => (label ? high : low));
}

/** log(1 + e^x) - target * x: the loss of one row, without overflow. */
function rowLoss(x: number, target: number): number {
  return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))) - target * x;
}

export function linear({ intercept, weights }: Logistic, row: readonly number[]): number {
  return weights.reduce((sum, weight, i) => sum + weight * (row[i] as number), intercept);
}

/**
 * Rows of features of about unit scale, and targets within (0, 1). `ridge` is half the weight of the
 * squared weights, the intercept's aside.
 */
export function fitLogistic(
  rows: readonly (readonly number[])[],
  targets: readonly number[],
  { ridge = 0 }: { ridge?: number } = {},
): Logistic {
  const width = rows[0]?.length ?? 0;
  const mean = targets.reduce((sum, target) => sum + target, 0) / targets.length;
  let fit: Logistic = {
    intercept: Math.log(mean / (1 - mean)),
    weights: new Array<number>(width).fill(0),
  };
  const lossOf = (candidate: Logistic): number =>
    rows.reduce((sum, row, i) => sum + rowLoss(linear(candidate, row), targets[i] as number), 0) +
    ridge * candidate.weights.reduce((sum, weight) => sum + weight * weight, 0);
  let loss = lossOf(fit);
  for (let round = 0; round < 100; round++) {
    const { gradient, hessian } = derivatives(fit, rows, targets, ridge);
    if (gradient.every((value) => Math.abs(value) < 1e-9 * rows.length)) break;
    const step = solve(hessian, gradient);
    const descent = step.reduce((sum, value, i) => sum + value * (gradient[i] as number), 0);
    let size = 1;
    let next = fit;
    let nextLoss = Number.POSITIVE_INFINITY;
    for (; size > 1e-10; size /= 2) {
      next = {
        intercept: fit.intercept - size * (step[0] as number),
        weights: fit.weights.map((weight, i) => weight - size * (step[i + 1] as number)),
      };
      nextLoss = lossOf(next);
      if (nextLoss < loss - 1e-4 * size * descent) break;
    }
    // No step makes it smaller: what is left is rounding.
    if (!(nextLoss < loss)) break;
    fit = next;
    loss = nextLoss;
  }
  return fit;
}

function derivatives(
  fit: Logistic,
  rows: readonly (readonly number[])[],
  targets: readonly number[],
  ridge: number,
): { gradient: number[]; hessian: number[][] } {
  const size = fit.weights.length + 1;
  const gradient = new Array<number>(size).fill(0);
  // A little on the diagonal keeps it invertible where a feature never varies (Lin et al.).
  const hessian = gradient.map((_, i) => gradient.map((_, j) => (i === j ? 1e-12 : 0)));
  rows.forEach((row, r) => {
    const p = sigmoid(linear(fit, row));
    const extended = [1, ...row];
    extended.forEach((a, i) => {
      gradient[i] = (gradient[i] as number) + a * (p - (targets[r] as number));
      const line = hessian[i] as number[];
      extended.forEach((b, j) => {
        line[j] = (line[j] as number) + a * b * p * (1 - p);
      });
    });
  });
  fit.weights.forEach((weight, i) => {
    gradient[i + 1] = (gradient[i + 1] as number) + 2 * ridge * weight;
    const line = hessian[i + 1] as number[];
    line[i + 1] = (line[i + 1] as number) + 2 * ridge;
  });
  return { gradient, hessian };
}

/** The solution of a positive definite system, by Cholesky's factorisation. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] {
  const size = right.length;
  const at = (rows: readonly (readonly number[])[], i: number, j: number): number =>
    (rows[i] as number[])[j] as number;
  const lower = right.map(() => new Array<number>(size).fill(0));
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = at(matrix, i, j);
      for (let k = 0; k < j; k++) sum -= at(lower, i, k) * at(lower, j, k);
      (lower[i] as number[])[j] =
        i === j ? Math.sqrt(Math.max(sum, 1e-300)) : sum / at(lower, j, j);
    }
  }
  const half: number[] = [];
  for (let i = 0; i < size; i++) {
    let sum = right[i] as number;
    for (let k = 0; k < i; k++) sum -= at(lower, i, k) * (half[k] as number);
    half.push(sum / at(lower, i, i));
  }
  const result = new Array<number>(size).fill(0);
  for (let i = size - 1; i >= 0; i--) {
    let sum = half[i] as number;
    for (let k = i + 1; k < size; k++) sum -= at(lower, k, i) * (result[k] as number);
    result[i] = sum / at(lower, i, i);
  }
  return result;
}

/** Mean and standard deviation; a feature that never varies has scale 1. */
export function scaleOf(values: readonly number[]): { mean: number; scale: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(
    values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length,
  );
  return { mean, scale: deviation > 1e-12 * Math.max(1, Math.abs(mean)) ? deviation : 1 };
}
