/** The report in sentences: what the numbers allow to say, and no more. */
import type { Interval } from '../bootstrap.js';
import { type Difference, SIGNIFICANT } from './differences.js';
import type { SystemReport } from './report.js';

/** A share of unjudged places at which measures begin to say more of the judges than of the system. */
const UNJUDGED = 0.1;

export function verdictOf(
  systems: readonly SystemReport[],
  differences: readonly Difference[],
  margin: number,
): string[] {
  const lines: string[] = [];
  const best = systems.reduce((a, b) => (b.interval.mean > a.interval.mean ? b : a));
  lines.push(
    `The highest nDCG@10 is that of ${best.name}: ${interval(best.interval)}${best.ms === null ? '' : `, at ${ms(best.ms.p50)} a query`}.`,
  );
  for (const system of deepest(systems)) {
    const found = differences.find(
      ({ system: name, against }) => name === system.name && against === system.firstStage,
    );
    if (found !== undefined) lines.push(effectSentence(system, found));
  }
  for (const difference of differences) {
    const one = systems.find(({ name }) => name === difference.system);
    const other = systems.find(({ name }) => name === difference.against);
    if (one === undefined || other === undefined || other.firstStage === null) continue;
    const line =
      one.system === other.system
        ? depthSentence(one, other, difference, margin)
        : outcomeSentence(one, other, difference, margin);
    if (line !== null) lines.push(line);
  }
  for (const { name, firstStage, measures } of systems) {
    const first = systems.find((one) => one.name === firstStage);
    const share = measures['Judged@10'] ?? 0;
    const before = first?.measures['Judged@10'];
    if (before !== undefined && before - share > UNJUDGED) {
      lines.push(
        `${name} brings up documents that nobody judged (${percent(share)} of its first ten are judged, ${percent(before)} of ${firstStage}'s): its measures are too low by an unknown amount.`,
      );
    }
  }
  return lines;
}

/** Each reranker at the greatest depth. */
function deepest(systems: readonly SystemReport[]): SystemReport[] {
  return systems.filter(
    (one) =>
      one.depth !== null &&
      systems.every(
        (other) => other.system !== one.system || (other.depth ?? 0) <= (one.depth ?? 0),
      ),
  );
}

function effectSentence(
  { name, firstStage, headroom }: SystemReport,
  { difference, pHolm, effect, minimumDetectable }: Difference,
): string {
  const harm = `it makes ${percent(effect.better / effect.queries)} of the queries better and ${percent(effect.harmRate)} worse`;
  const change = `${signed(difference.mean)} nDCG@10 [${signed(difference.low)} to ${signed(difference.high)}], p ${pText(pHolm)}`;
  if (pHolm >= SIGNIFICANT) {
    return `${name} cannot be told from ${firstStage}: ${change}; ${harm}. ${minimumDetectable === null ? 'One query shows nothing.' : `These queries would show a difference of ${minimumDetectable.toFixed(3)}.`}`;
  }
  if (difference.mean < 0) return `${name} is worse than ${firstStage}: ${change}; ${harm}.`;
  const ceiling = headroom?.ceiling ?? 0;
  const share =
    ceiling > 0
      ? `, ${percent(difference.mean / ceiling)} of what any order of these candidates could gain`
      : '';
  return `${name} is better than ${firstStage}: ${change}${share}; ${harm}.`;
}

/** What the candidates below the shallowest depth brought. */
function depthSentence(
  shallow: SystemReport,
  deep: SystemReport,
  { difference, outcome }: Difference,
  margin: number,
): string | null {
  const { system } = shallow;
  const [less, more] = [shallow.depth, deep.depth];
  const change = `${signed(-difference.mean)} nDCG@10 [${signed(-difference.high)} to ${signed(-difference.low)}]`;
  switch (outcome) {
    case 'superior':
      return `${system} is worse for reading ${more} candidates instead of ${less}: ${change}. Deeper is not better here.`;
    case 'non-inferior':
      return `${less} candidates are enough for ${system}: ${more} bring ${change}, less than the margin of ${margin}.`;
    case 'inferior':
      return `${system} gains by reading ${more} candidates instead of ${less}: ${change}.`;
    case 'inconclusive':
      return null;
  }
}

function outcomeSentence(
  cheap: SystemReport,
  dear: SystemReport,
  { difference, outcome }: Difference,
  margin: number,
): string {
  const change = `${signed(difference.mean)} nDCG@10 [${signed(difference.low)} to ${signed(difference.high)}]`;
  const speed =
    cheap.ms === null || dear.ms === null
      ? ''
      : `; a query takes ${ms(cheap.ms.p50)} instead of ${ms(dear.ms.p50)}`;
  const says = {
    superior: `${cheap.name} is better than ${dear.name}`,
    'non-inferior': `${cheap.name} is not worse than ${dear.name} by the margin of ${margin}`,
    inferior: `${cheap.name} is worse than ${dear.name} by more than the margin of ${margin}`,
    inconclusive: `Whether ${cheap.name} is worse than ${dear.name} by the margin of ${margin} these queries do not say`,
  }[outcome];
  return `${says}: ${change}${speed}.`;
}

export function interval({ mean, low, high }: Interval): string {
  return `${mean.toFixed(3)} [${low.toFixed(3)} to ${high.toFixed(3)}]`;
}

export function signed(value: number): string {
  return `${value < 0 ? '-' : '+'}${Math.abs(value).toFixed(3)}`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)} %`;
}

/** p to the digits that its rounds allow. */
export function pText(p: number): string {
  return p < 0.0005 ? '< 0.001' : `= ${p.toFixed(3)}`;
}

function ms(value: number): string {
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
}
