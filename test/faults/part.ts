/** One part of the run, in a process of its own: what kills it is counted, not suffered. */
import { crashes } from './crashes.js';
import { kills } from './kills.js';
import { Tally } from './tally.js';

const [, , part, ...rest] = process.argv;
const [first, second] = rest.map(Number);
const tally = new Tally();
if (part === 'crashes') await crashes(tally, { states: first, kills: second });
else if (part === 'kills') await kills(tally, first, second);
else throw new Error(`no part is called ${part}`);
tally.send();
