/** One part of the run, in a process of its own: what kills it is counted, not suffered. */
import { crashes } from './crashes.js';
import { flips, truncations } from './damage.js';
import { ioErrors } from './io-errors.js';
import { kills } from './kills.js';
import { races } from './races.js';
import { fullDisk, readOnly, underLimit } from './refusing-disks.js';
import type { SampleCodec } from './sample.js';
import { survivors } from './survivors.js';
import { Tally } from './tally.js';

const tally = new Tally();
const PARTS: Record<string, (...args: string[]) => Promise<void>> = {
  crashes: (states, killed) => crashes(tally, { states: Number(states), kills: Number(killed) }),
  kills: (wanted, seed) => kills(tally, Number(wanted), Number(seed)),
  ioErrors: (from) => ioErrors(tally, Number(from)),
  flips: (codec, wanted, from) => flips(tally, codec as SampleCodec, Number(wanted), Number(from)),
  truncations: (codec, from) => truncations(tally, codec as SampleCodec, Number(from)),
  races: (wanted) => races(tally, Number(wanted)),
  readOnly: () => readOnly(tally),
  fullDisk: async () => fullDisk(tally),
  underLimit: (directory) => underLimit(tally, directory),
  survivors: () => survivors(tally),
};

const [, , part, ...args] = process.argv;
await PARTS[part](...args);
tally.send();
