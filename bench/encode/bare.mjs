// onnxruntime as it is, without anything of ours.
import { InferenceSession, Tensor } from 'onnxruntime-node';

/** @param {import('../../dist/runtime/session.js').GraphSpec} graph @param {number} threads */
export async function bareSession(graph, threads) {
  return await InferenceSession.create(graph.file, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: graph.optimisation,
    intraOpNumThreads: threads,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
}

/**
 * One run of the graph.
 * @param {InferenceSession} session @param {import('../../dist/runtime/batches.js').TokenBatch} batch
 */
export async function run(session, { size, length, ids, attention, types }) {
  const dims = [size, length];
  /** @type {Record<string, Tensor>} */
  const feeds = {
    input_ids: new Tensor('int64', ids, dims),
    attention_mask: new Tensor('int64', attention, dims),
  };
  if (session.inputNames.includes('token_type_ids'))
    feeds['token_type_ids'] = new Tensor('int64', types, dims);
  await session.run(feeds);
}
