// `npm run bench:index [-- --directory <path>] [-- --documents <n>] [-- --json]`: what writing, opening
// and deleting cost, and what readers feel of a writer, beside what is asked of them.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { machine } from '../stats.mjs';
import { measureCommits } from './commits.mjs';
import { benchIngest } from './ingest.mjs';
import { benchOpening, makeIndex, pathIn } from './opening.mjs';
import { benchReaders } from './readers.mjs';

const { values: options } = parseArgs({
  options: {
    directory: { type: 'string', default: tmpdir() },
    documents: { type: 'string', default: '1000000' },
    json: { type: 'boolean', default: false },
  },
});
const documents = Number(options.documents);
const directory = await mkdtemp(join(options.directory, 'maxsim-bench-index-'));
const say = (/** @type {string} */ text) => process.stderr.write(`${text}\n`);

try {
  say('ingest');
  const ingest = await benchIngest({ directory, megabytes: 128, rounds: 5 });
  say(`an index of ${documents} documents of 16 tokens`);
  const stats = await makeIndex(pathIn(directory), documents);
  const opening = benchOpening({ path: pathIn(directory), runs: 9 });
  await rm(pathIn(directory), { recursive: true });
  const commits = await measureCommits({ documents, say });
  say('readers beside a writer');
  const readers = await benchReaders({ directory, seconds: 10 });
  const { tokens, ...rest } = stats.bytes;
  const besides = (rest.documentTable + rest.ids + rest.idTable + rest.other) / tokens;
  const checks = [
    check('ingest, of the speed of a plain write', ingest.ratio, 0.6, 'at least'),
    check('1,000 deletes, ms', commits.deletes.medianMs, 50, 'at most'),
    check('opening, ms', opening.openMs, 50, 'at most'),
    check('opening, MB of JavaScript heap', opening.heapMB, 20, 'at most'),
    check('resident before first use, MB', opening.rssMB, 100, 'at most'),
    check('int8 index beside its tokens and records', besides, 0.03, 'at most'),
    check('p99 beside a writer, of that without', readers.p99Ratio, 2, 'at most'),
    check('errors of readers', readers.errors.length, 0, 'at most'),
  ];
  if (options.json) {
    console.log(
      JSON.stringify({
        machine: machine(),
        ingest,
        opening,
        bytes: stats.bytes,
        commits,
        readers,
        checks,
      }),
    );
  } else {
    console.log({ ingest, opening, deletes: commits.deletes, readers });
    console.table(commits.adds);
    console.table(checks);
  }
} finally {
  await rm(directory, { recursive: true, force: true });
}

/**
 * @param {string} what @param {number} measured @param {number} asked @param {'at least' | 'at most'} bound
 */
function check(what, measured, asked, bound) {
  const met = bound === 'at least' ? measured >= asked : measured <= asked;
  return { what, asked: `${bound} ${asked}`, measured: Number(measured.toPrecision(3)), met };
}
