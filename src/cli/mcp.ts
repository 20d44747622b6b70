/** `maxsim mcp`: an index for language models, by the Model Context Protocol over standard input and output. */
import { once } from 'node:events';
import type { Command } from 'commander';
import { Engine, MaxSimError } from '../maxsim.js';
import { positiveNumber } from './arguments.js';
import { Interrupt } from './interrupt.js';
import { addModelArguments, engineArguments, type ModelArguments } from './model-arguments.js';
import { addPipelineOption, type PipelineArgument, readPipeline } from './pipeline-argument.js';

type McpOptions = ModelArguments &
  PipelineArgument & { deadlineMs?: number; tenant?: string; corpus?: string };

export function addMcpCommand(program: Command): void {
  const command = program
    .command('mcp')
    .description('serve search, rerank and explain_match to language models, on stdin and stdout')
    .argument('<dir>', 'directory of the index')
    .option('--deadline-ms <n>', 'rerank in time with the best order there is', positiveNumber)
    .option('--tenant <name>', 'whose documents, in an index with tenants')
    .option('--corpus <name>', 'what gates, floors and calibrators know the index by');
  addPipelineOption(command, []);
  addModelArguments(command).action(runMcp);
}

async function runMcp(directory: string, options: McpOptions): Promise<void> {
  const { deadlineMs, tenant, corpus } = options;
  const { createMcpServer, StdioServerTransport } = await load();
  const pipeline = await readPipeline(options);
  const interrupt = new Interrupt();
  await using engine = await Engine.open(directory, {
    mode: 'read',
    warmUp: true,
    ...engineArguments(options),
    ...(corpus === undefined ? {} : { corpus }),
  });
  if (pipeline !== undefined) await engine.prepare(pipeline);
  const server = createMcpServer(engine, {
    ...(pipeline === undefined ? {} : { pipeline }),
    ...(deadlineMs === undefined ? {} : { deadlineMs }),
    ...(tenant === undefined ? {} : { tenant }),
  });
  const closed = new Promise<void>((resolve) => {
    server.onclose = resolve;
  });
  await server.connect(new StdioServerTransport());
  // The client is done when it closes our input.
  await Promise.race([closed, once(process.stdin, 'end'), once(interrupt.signal, 'abort')]);
  await server.close();
  interrupt.release();
  if (interrupt.exitCode !== null) process.exitCode = interrupt.exitCode;
}

async function load() {
  try {
    const [{ createMcpServer }, { StdioServerTransport }] = await Promise.all([
      import('../frameworks/mcp.js'),
      import('@modelcontextprotocol/sdk/server/stdio.js'),
    ]);
    return { createMcpServer, StdioServerTransport };
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'ERR_MODULE_NOT_FOUND') throw cause;
    throw new MaxSimError(
      'INVALID_ARGUMENT',
      'maxsim mcp needs a package that is not here: npm install @modelcontextprotocol/sdk',
      { cause },
    );
  }
}
