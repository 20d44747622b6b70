// A pool thread for tests: 'echo' answers, 'sleep' answers late, 'die' ends the thread, 'die-once'
// ends it unless the file named in the payload exists.
import { existsSync, writeFileSync } from 'node:fs';
import { parentPort, threadId } from 'node:worker_threads';

parentPort?.on('message', async ({ type, id, kind, payload }) => {
  if (type === 'cancel') return;
  if (type === 'close') process.exit(0);
  if (kind === 'die' || (kind === 'die-once' && !existsSync(payload))) {
    if (kind === 'die-once') writeFileSync(payload, '');
    process.exit(3);
  }
  if (kind === 'sleep') await new Promise((resolve) => setTimeout(resolve, payload));
  if (kind === 'fail') {
    const error = { code: 'INVALID_MODEL', message: 'no such model', details: { name: payload } };
    parentPort?.postMessage({ id, ok: false, error });
    return;
  }
  parentPort?.postMessage({ id, ok: true, result: { payload, threadId } });
});
