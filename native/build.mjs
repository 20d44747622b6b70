// Builds the addon with cmake-js: `node native/build.mjs [cmake-js options]`. Looks for the tools first,
// because their absence otherwise shows as a stack trace far from its cause.
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const runs = (command) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status === 0;

const missing = [];
if (!runs('cmake')) missing.push('cmake');
if (process.platform !== 'win32') {
  if (!(process.env.CXX ? runs(process.env.CXX) : runs('c++') || runs('g++') || runs('clang++'))) {
    missing.push('a C++ compiler');
  }
  if (!runs('make') && !runs('ninja')) missing.push('make');
}
if (missing.length > 0) {
  console.error(
    `maxsim: the native addon cannot be built, because ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} missing.\n` +
      'On Debian or Ubuntu: sudo apt-get install -y g++ cmake make\n' +
      'On macOS: xcode-select --install && brew install cmake',
  );
  process.exit(1);
}

const native = dirname(fileURLToPath(import.meta.url));
let cmakeJs;
try {
  cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
} catch {
  console.error('maxsim: cmake-js is not installed; run `npm install` in the checkout first.');
  process.exit(1);
}
const options = process.argv.slice(2);
// `build` alone would compile what an earlier configuration left behind.
const out = options.includes('--out') ? [] : ['--out', join(native, '../build/native')];
const { status } = spawnSync(process.execPath, [cmakeJs, 'build', '--directory', native, ...out, ...options], {
  // cmake-js is talkative; what matters is printed when it fails.
  stdio: 'inherit',
});
process.exit(status ?? 1);
