/** Where maxsim keeps what it can make or fetch again. */
import { homedir, platform } from 'node:os';
import { join, resolve } from 'node:path';

/** MAXSIM_CACHE, or maxsim in the platform's folder for caches. */
export function cacheFolder(): string {
  const { MAXSIM_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (MAXSIM_CACHE) return resolve(MAXSIM_CACHE);
  if (platform() === 'win32') {
    return join(LOCALAPPDATA || join(homedir(), 'AppData', 'Local'), 'maxsim', 'cache');
  }
  if (platform() === 'darwin') return join(homedir(), 'Library', 'Caches', 'maxsim');
  return join(XDG_CACHE_HOME || join(homedir(), '.cache'), 'maxsim');
}
