// A system under measurement: a child process that answers commands on stdin with a JSON line each.
//   list               {"measurements":[{"name":..,..},..]}
//   run <n> <name>     {"wallUs":[..],"cpuUs":[..]}: n times, each after an untimed preparation
//   scores <n> <name>  {"scores":[..]} of the first n documents
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/**
 * What a system says of one measurement; which members are there depends on `kind`.
 * @typedef {{
 *   name: string, kind: string, codec?: string, queryBits?: number, isa?: string, docs?: number,
 *   tokens?: number, dim?: number, queryTokens?: number, warm?: boolean, threads?: number,
 *   table?: boolean, peak?: string, peer?: string, version?: string, call?: string, file?: string,
 * }} Measurement
 */

export class System {
  /**
   * @param {string} name @param {string} command @param {string[]} args
   * @param {NodeJS.ProcessEnv} [env]
   */
  constructor(name, command, args, env = {}) {
    this.name = name;
    /** Whether it is another in a different setting: what the setting does not touch is left out. */
    this.isVariant = false;
    this.errors = '';
    /** @type {Measurement[]} */
    this.measurements = [];
    /** @type {string | undefined} */
    this.compiler = undefined;
    this.child = spawn(command, args, {
      stdio: ['pipe', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    this.child.stderr.on('data', (text) => {
      this.errors = (this.errors + text).slice(-2000);
    });
    this.child.stdin.on('error', () => {}); // an ended child is noticed by its missing answer
    this.ended = new Promise((resolve) => {
      this.child.on('error', resolve);
      this.child.on('close', resolve);
    });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  /** @param {string} command */
  async ask(command) {
    this.child.stdin.write(`${command}\n`);
    const { value, done } = await this.lines.next();
    if (done) {
      await this.ended;
      const reason = this.errors.trim().split('\n').at(-1) ?? '';
      throw new Error(`${this.name} ended at "${command}": ${reason}`);
    }
    const answer = JSON.parse(value);
    if (answer.error !== undefined) throw new Error(`${this.name}: ${answer.error}`);
    return answer;
  }

  /** Waits until the system has loaded the data. */
  async start() {
    const { measurements, compiler } = await this.ask('list');
    this.measurements = measurements;
    this.compiler = compiler;
    return this;
  }

  async end() {
    this.child.stdin.end();
    await this.ended;
  }
}
