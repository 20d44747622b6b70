// One interleaved run: every measurement of every system once a round, so that a busy machine slows
// them all alike; medians over the rounds.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { checks } from './checks.mjs';
import { exactScores, writeData } from './data.mjs';
import { INDEX_DOCUMENTS, writeIndexes } from './index-data.mjs';
import { plan, sample } from './plan.mjs';
import {
  callResults,
  kernelOf,
  kernelResults,
  peakResults,
  peerResults,
  scoreError,
  shareOnCore,
} from './results.mjs';
import { lastLevelCacheMiB } from './stats.mjs';
import { startSystems } from './systems.mjs';

/**
 * @param {{ quick: boolean, kernelsOnly: boolean, say: (text: string) => void }} options
 */
export async function measure({ quick, kernelsOnly, say }) {
  // What is drawn at random from that many caches' worth is mostly not in the cache.
  const storeMiB = Math.min((quick ? 4 : 6) * (lastLevelCacheMiB() ?? 32), 512);
  const folder = await mkdtemp(join(tmpdir(), 'maxsim-bench-'));
  /** @type {import('./system.mjs').System[]} */
  let systems = [];
  try {
    say('writing documents');
    const { vectors, query } = await writeData(folder);
    if (!kernelsOnly) await writeIndexes(folder, vectors);
    say('building and starting the systems');
    const started = await startSystems({ folder, storeMiB, kernelsOnly });
    systems = started.systems;
    const all = plan(systems, { quick });
    say('comparing scores');
    const errors = await scoreErrors(all, exactScores(query, vectors, INDEX_DOCUMENTS));
    const rounds = quick ? 7 : 21;
    for (let round = 0; round < rounds; round++) {
      say(`round ${round + 1} of ${rounds}, ${all.length} measurements`);
      for (const series of all) await sample(series);
    }
    say('');
    const kernels = kernelResults(all);
    const peers = peerResults(all, kernels, errors);
    const calls = callResults(all, errors);
    const codecs = [...new Set(kernels.map(({ codec }) => codec))];
    return {
      rounds,
      storeMiB,
      onCore: shareOnCore(all),
      compiler: systems[0]?.compiler,
      peaks: peakResults(all),
      kernels,
      quality: codecs.map((codec) => ({
        codec,
        scoreError: errors.get(`maxsim ${codec} ${kernelOf(kernels, codec)?.isa}`) ?? null,
      })),
      peers,
      calls,
      missing: started.missing,
      checks: checks({ kernels, peers, calls }),
    };
  } finally {
    await Promise.all(systems.map((system) => system.end()));
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * How far scores are from those in double precision: of our codecs by kernel set, of peers by name, of
 * calls by name.
 * @param {import('./plan.mjs').Series[]} all @param {number[]} exact
 */
async function scoreErrors(all, exact) {
  /** @type {Map<string, import('./results.mjs').ScoreError>} */
  const errors = new Map();
  for (const { system, measurement: m } of all) {
    const isBase = m.dim === 128 && m.queryTokens === 32 && m.queryBits === 8;
    if (m.kind === 'peak' || m.kind === 'preparation' || (m.kind === 'kernel' && !isBase)) continue;
    if (m.docs !== exact.length || m.warm === false || m.table || (m.threads ?? 1) > 1) continue;
    const { scores } = await system.ask(`scores ${exact.length} ${m.name}`);
    const error = scoreError(scores, exact);
    const what = m.kind === 'kernel' ? `${m.codec} ${m.isa}` : (m.peer ?? m.name);
    if (error !== null) errors.set(`${system.name} ${what}`, error);
  }
  return errors;
}
