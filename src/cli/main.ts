#!/usr/bin/env node
/**
 * The command line: parses, runs one command, and turns every failure into one line on standard error.
 * Exit codes: 0 done, 1 failed, 2 wrong usage, 128 + n ended by signal n.
 */
import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { MaxSimError } from '../maxsim.js';
import { addBackupCommand } from './backup.js';
import { addCalibrateCommand } from './calibrate.js';
import { addCompactCommand } from './compact.js';
import { addCompareCommand } from './compare.js';
import { addDemoCommand } from './demo.js';
import { addDoctorCommand } from './doctor.js';
import { addExplainCommand } from './explain.js';
import { addExportCommand } from './export.js';
import { addImportCommand } from './import.js';
import { addIndexCommand } from './index-command.js';
import { addInspectCommand } from './inspect.js';
import { addLoadCommand } from './load.js';
import { addMcpCommand } from './mcp.js';
import { addModelsCommand } from './models.js';
import { paintError } from './output.js';
import { addRecodeCommand } from './recode.js';
import { addRepairCommand } from './repair.js';
import { addRerankCommand } from './rerank.js';
import { addSearchCommand } from './search.js';
import { addServeCommand } from './serve.js';
import { addVerifyCommand } from './verify.js';

const json = process.argv.includes('--json');

function version(): string {
  const manifest = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(manifest) as { version: string }).version;
}

function createProgram(): Command {
  const program = new Command('maxsim')
    .description('ColBERT late-interaction reranking: index, search, rerank')
    .version(version(), '-V, --version')
    .exitOverride()
    .configureOutput(json ? { writeErr: () => {} } : {})
    .showHelpAfterError('(--help lists what there is)');
  addIndexCommand(program);
  addSearchCommand(program);
  addRerankCommand(program);
  addExplainCommand(program);
  addServeCommand(program);
  addRecodeCommand(program);
  addInspectCommand(program);
  addExportCommand(program);
  addImportCommand(program);
  addBackupCommand(program);
  addCompactCommand(program);
  addVerifyCommand(program);
  addRepairCommand(program);
  addCalibrateCommand(program);
  addCompareCommand(program);
  addDoctorCommand(program);
  addDemoCommand(program);
  addModelsCommand(program);
  addMcpCommand(program);
  addLoadCommand(program);
  return program;
}

function printError(code: string, message: string, details: object): void {
  process.stderr.write(
    json
      ? `${JSON.stringify({ error: { code, message, details } })}\n`
      : `${paintError.red('error')} ${code}: ${message}\n`,
  );
}

function fail(error: unknown): void {
  if (error instanceof CommanderError) {
    // Help and version arrive here too, with exit code 0.
    if (error.exitCode === 0) return;
    if (json) printError('USAGE', error.message.replace(/^error: /, ''), {});
    process.exitCode = 2;
    return;
  }
  if (error instanceof MaxSimError) printError(error.code, error.message, error.details);
  else {
    // A defect: its stack is what whoever mends it needs.
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    printError('INTERNAL', message, { stack });
    if (!json) process.stderr.write(`${stack ?? ''}\n`);
  }
  process.exitCode ||= 1;
}

// `maxsim … | head` is no failure.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

try {
  await createProgram().parseAsync();
} catch (error) {
  fail(error);
}
