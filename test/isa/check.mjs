// `node test/isa/check.mjs <isa>`: the addon must have chosen these kernels on this (or an emulated)
// CPU, and must give the frozen scores. Uses nothing but the addon, so that it runs under qemu in
// seconds.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { codecScores, scores } from './cases.mjs';

const addon = createRequire(import.meta.url)('../../build/native/Release/maxsim.node');
const expected = process.argv[2];
const { chosen } = addon.kernels();
if (chosen !== expected) {
  console.error(`The kernels chosen here are ${chosen}, but ${expected} were expected.`);
  process.exit(1);
}
/** @param {string} name */
const read = (name) =>
  JSON.parse(readFileSync(new URL(`../golden/${name}`, import.meta.url), 'utf8'));
const golden = [...read('int8-scores.json'), ...read('codec-scores.json')];
const found = [...scores(addon), ...(await codecScores(addon))];
const wrong = found.filter((line, i) => line !== golden[i]);
if (wrong.length > 0 || found.length !== golden.length) {
  console.error(`${chosen} differs from the frozen scores:\n${wrong.join('\n')}`);
  process.exit(1);
}
console.log(`${chosen}: ${found.length} cases equal to the frozen scores, bit for bit`);
