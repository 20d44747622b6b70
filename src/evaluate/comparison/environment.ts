/** The machine that measured, without anything that names it or its user. */
import { readFileSync } from 'node:fs';
import { arch, availableParallelism, cpus, platform, totalmem } from 'node:os';
import { loadAddon } from '../../runtime/addon.js';

export function environment(): Record<string, string | number> {
  const addon = loadAddon();
  const manifest = readFileSync(new URL('../../../package.json', import.meta.url), 'utf8');
  return {
    maxsim: (JSON.parse(manifest) as { version: string }).version,
    node: process.version,
    platform: `${platform()} ${arch()}`,
    cpu: addon.cpu().brand || (cpus()[0]?.model ?? 'unknown'),
    cores: availableParallelism(),
    memoryBytes: Math.min(totalmem(), process.constrainedMemory() || totalmem()),
    kernels: addon.kernels().chosen,
  };
}
