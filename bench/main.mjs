// `npm run bench [-- --quick] [-- --json]`. What may be claimed from it: bench/README.md.
import { benchEventLoop } from './event-loop.mjs';
import { benchRerank } from './rerank.mjs';
import { machine } from './stats.mjs';

const quick = process.argv.includes('--quick');
const json = process.argv.includes('--json');

const rerank = await benchRerank({ quick });
const eventLoop = await benchEventLoop({ quick });
const report = { machine: machine(), rerank, eventLoop };

if (json) console.log(JSON.stringify(report));
else {
  const { cpu, cores, node, loadAverage } = report.machine;
  console.log(`${cpu}, ${cores} cores, Node ${node}, load ${loadAverage.join(' ')}\n`);
  console.log(rerank.what);
  for (const { name, us, ratioToInt8 } of rerank.systems) {
    const spread = `${us.p10.toFixed(0)} to ${us.p90.toFixed(0)}`;
    console.log(
      `  ${name.padEnd(20)} ${us.median.toFixed(0).padStart(8)} us  (p10 to p90: ${spread})  ${ratioToInt8.toFixed(1)}x int8`,
    );
  }
  console.log(`\n${eventLoop.what}`);
  console.log(
    `  p50 ${eventLoop.p50Ms.toFixed(2)}  p99 ${eventLoop.p99Ms.toFixed(2)}  p99.9 ${eventLoop.p999Ms.toFixed(2)}  max ${eventLoop.maxMs.toFixed(2)}`,
  );
  console.log(
    `  meanwhile ${eventLoop.documentsIndexed} documents indexed, ${eventLoop.queries} queries at ${eventLoop.queryMs.median.toFixed(0)} ms median`,
  );
}
