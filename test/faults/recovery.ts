/**
 * The writer after one that was killed, under the shim: opens what is left, adds one document. The mark
 * `begin 1` is in its log before the add, `done 1` when it is acknowledged.
 */
import { Index } from '../../dist/index/store.js';
import { Control } from './control.js';
import { DIM, documentOf, FIELDS } from './documents.js';
import { WHOLE } from './script.js';

const [, , log] = process.argv;
const control = new Control();
control.send(`log ${log}`);
const index = await Index.open(`${control.root}/index`, {
  dim: DIM,
  ...(process.argv[3] === 'create' && { codec: WHOLE.codec, fields: FIELDS }),
});
control.send('mark begin 1');
await index.add([documentOf('x', 1)]);
control.send('mark done 1');
await index.close();
