import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

// onnxruntime-node aborts the process when a thread is stopped in the middle of a run.

const dist = fileURLToPath(new URL('../../dist/', import.meta.url));

/** Encodes long texts on two threads; `end` runs in the middle of it. */
function during(end: string): { status: number | null; signal: string | null; stderr: string } {
  const script = `
    import { ModelEncoder } from ${JSON.stringify(`${dist}encode/encoder.js`)};
    import { WorkerPool } from ${JSON.stringify(`${dist}runtime/pool.js`)};
    const pool = new WorkerPool(new URL(${JSON.stringify(`file://${dist}worker.js`)}), { threads: 2 });
    const encoder = await ModelEncoder.open('default', pool);
    await encoder.encodeQueries(['warm', 'up']);
    const texts = Array.from({ length: 200 }, (_, i) => i + ' the quick brown fox jumps '.repeat(60));
    const encoding = encoder.encodeDocuments(texts).catch((error) => error.code);
    await new Promise((resolve) => setTimeout(resolve, 300));
    ${end}`;
  const { status, signal, stderr } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', script],
    { encoding: 'utf8' },
  );
  return { status, signal, stderr };
}

it('process.exit in the middle of encoding ends the process with its exit code', () => {
  expect(during('process.exit(7)')).toEqual({ status: 7, signal: null, stderr: '' });
});

it('closing in the middle of encoding rejects what runs and lets the process end', () => {
  expect(
    during('await pool.close(); process.exitCode = (await encoding) === "CLOSED" ? 9 : 1'),
  ).toEqual({
    status: 9,
    signal: null,
    stderr: '',
  });
});

it('an uncaught error in the middle of encoding is what the process reports', () => {
  const { status, signal, stderr } = during('throw new Error("a defect of the application")');
  expect([status, signal]).toEqual([1, null]);
  expect(stderr).toContain('a defect of the application');
});
