// `npm run bench [-- --quick] [-- --json] [-- --kernels]`. What may be claimed from it: README.md.
import { benchEventLoop } from './event-loop.mjs';
import { measure } from './measure.mjs';
import { printChecks, printEventLoop, printKernels, printMachine, printPeers } from './report.mjs';
import { machine } from './stats.mjs';

const known = ['--quick', '--json', '--kernels'];
const unknown = process.argv.slice(2).find((option) => !known.includes(option));
if (unknown !== undefined) {
  console.error(`Unknown option ${unknown}. There are ${known.join(', ')}.`);
  process.exit(2);
}
const [quick, json, kernelsOnly] = known.map((option) => process.argv.includes(option));
const say = (/** @type {string} */ text) => {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
};

const before = machine();
const measured = await measure({ quick: quick === true, kernelsOnly: kernelsOnly === true, say });
const eventLoop = kernelsOnly ? undefined : await benchEventLoop({ quick: quick === true });
const state = { ...before, compiler: measured.compiler, loadAverageAfter: machine().loadAverage };

if (json) console.log(JSON.stringify({ machine: state, ...measured, eventLoop }));
else {
  printMachine(state);
  printKernels(measured);
  if (eventLoop !== undefined) {
    printPeers(measured);
    printEventLoop(eventLoop);
    printChecks(measured.checks);
  }
}
