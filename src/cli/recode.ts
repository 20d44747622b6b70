/** `maxsim recode`: stores every document of an index in a smaller codec. */
import { Argument, type Command } from 'commander';
import { CODECS, type CodecName, type CodecOption, Index, MaxSimError } from '../maxsim.js';
import { integer } from './arguments.js';
import { Interrupt } from './interrupt.js';
import {
  formatBytes,
  formatCount,
  formatDuration,
  printJson,
  printLine,
  renderFacts,
} from './output.js';
import { Progress } from './progress.js';

type RecodeCommandOptions = { centroids?: number; seed?: number; json: boolean };

export function addRecodeCommand(program: Command): void {
  program
    .command('recode')
    .description('store every document of an index in a codec of fewer bytes')
    .argument('<dir>', 'directory of the index')
    .addArgument(new Argument('<codec>', 'down the ladder').choices(CODECS))
    .option(
      '--centroids <n>',
      'for r4, r2, r1: how many (default: by the tokens)',
      integer(2, 2 ** 24),
    )
    .option('--seed <n>', 'for r4, r2, r1: which tokens they start from', integer(0, 2 ** 32))
    .option('--json', 'print the result as JSON', false)
    .action(runRecode);
}

async function runRecode(
  directory: string,
  codec: CodecName,
  { centroids, seed, json }: RecodeCommandOptions,
): Promise<void> {
  const interrupt = new Interrupt();
  try {
    await using index = await Index.open(directory, { create: false });
    const from = index.codec.name;
    const before = index.stats().sizeBytes;
    const started = performance.now();
    const learns = centroids !== undefined || seed !== undefined;
    const option = {
      name: codec,
      ...(centroids === undefined ? {} : { centroids }),
      ...(seed === undefined ? {} : { seed }),
    };
    await recode(index, learns ? (option as CodecOption) : codec, json, interrupt.signal);
    const { documents, tokens, sizeBytes, bytes } = index.stats();
    const elapsedMs = performance.now() - started;
    const summary = {
      from,
      codec: index.codec,
      documents,
      tokens,
      before,
      sizeBytes,
      bytes,
      elapsedMs,
    };
    if (json) {
      printJson(summary);
      return;
    }
    printLine(
      renderFacts([
        ['codec', `${codec}, was ${from}`],
        ['documents', `${formatCount(documents)}, ${formatCount(tokens)} tokens`],
        ['size', `${formatBytes(sizeBytes)}, was ${formatBytes(before)}`],
        ['time', formatDuration(elapsedMs)],
      ]),
    );
  } finally {
    interrupt.release();
    if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
  }
}

async function recode(
  index: Index,
  codec: CodecOption,
  json: boolean,
  signal: AbortSignal,
): Promise<void> {
  const bar = new Progress({ unit: '% of the centroids learned', json });
  bar.setTotal(100);
  try {
    await index.recode(codec, {
      signal,
      onProgress: (share) => bar.update(Math.round(100 * share)),
    });
  } finally {
    bar.end();
  }
}

/** The codec that was asked for, once every document is there. With too few of them it stays f16. */
export async function learnCodec(
  index: Index,
  codec: CodecName,
  { json, signal, say }: { json: boolean; signal: AbortSignal; say: (line: string) => void },
): Promise<void> {
  if (index.documentCount === 0) return;
  say(`learning the ${codec} codec from ${formatCount(index.tokenCount)} tokens`);
  try {
    await recode(index, codec, json, signal);
  } catch (error) {
    if (error instanceof MaxSimError && error.code === 'ABORTED' && signal.aborted) return;
    if (!(error instanceof MaxSimError) || error.code !== 'INVALID_ARGUMENT') throw error;
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      `The documents are indexed, as f16, because ${codec} cannot be learned from them: ${error.message}`,
      { cause: error },
    );
  }
}
