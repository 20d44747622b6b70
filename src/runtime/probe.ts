/**
 * How wide the states of a graph are that does not say so: one run on one token, on a thread of its
 * own, which ends by itself.
 */
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
import { MaxSimError } from '../errors.js';

type Probe = { probe: string; output: string };

/** The last dim of an output. Throws INVALID_MODEL when the graph cannot be run. */
export function probeWidth(file: string, output: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const data: Probe = { probe: file, output };
    const worker = new Worker(new URL(import.meta.url), { workerData: data });
    worker.once('message', resolve);
    worker.once('error', (cause) => {
      const message = `${file} cannot be run on one token: ${cause.message}`;
      reject(new MaxSimError('INVALID_MODEL', message, { cause }));
    });
  });
}

async function answer({ probe: file, output }: Probe): Promise<void> {
  // Only here: onnxruntime is nothing for the thread that asks.
  const { OnnxSession } = await import('./onnx-session.js');
  const session = await OnnxSession.open({
    file,
    sha256: null,
    output,
    head: [],
    width: null,
    optimisation: 'disabled',
    threads: 1,
  });
  const { dims } = await session.run([{ ids: [0], attended: 1 }]);
  await session.close();
  parentPort?.postMessage(dims.at(-1));
}

const given = workerData as Partial<Probe> | null;
if (!isMainThread && typeof given?.probe === 'string') await answer(given as Probe);
