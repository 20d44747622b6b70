// The other side of system.mjs for systems written in JavaScript.
import { createInterface } from 'node:readline';

/**
 * `run` is what is timed, once untimed before each time; `scores` are those of the first documents.
 * @typedef {{ run: () => unknown, scores?: () => ArrayLike<number> }} Work
 */

/** @param {(import('./system.mjs').Measurement & Work)[]} all */
export async function serve(all) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [command, count, ...words] = line.split(' ');
    const found = all.find(({ name }) => name === words.join(' '));
    let answer;
    if (command === 'list') {
      answer = { measurements: all.map(({ run, scores, ...measurement }) => measurement) };
    } else if (found === undefined) {
      answer = { error: 'no such command or measurement' };
    } else if (command === 'run') {
      answer = time(found.run, Number(count));
    } else {
      answer = { scores: Array.from(found.scores?.() ?? []).slice(0, Number(count)) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  }
}

/** @param {() => unknown} run @param {number} count */
function time(run, count) {
  const wallUs = [];
  const cpuUs = [];
  for (let i = 0; i < count; i++) {
    run();
    const before = process.cpuUsage();
    const started = process.hrtime.bigint();
    run();
    wallUs.push(Number(process.hrtime.bigint() - started) / 1000);
    const { user, system } = process.cpuUsage(before);
    cpuUs.push(user + system);
  }
  return { wallUs, cpuUs };
}
