import { readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const root = fileURLToPath(new URL('..', import.meta.url));

function files(folder: string, endings: string[]): string[] {
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && endings.some((ending) => entry.name.endsWith(ending)))
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'));
}

const text = (file: string): string => readFileSync(join(root, file), 'utf8');
const includes = (file: string): string[] =>
  [...text(file).matchAll(/^\s*#include\s+[<"]([^>"]+)[>"]/gm)].map((match) => match[1] as string);

const native = files('native', ['.cpp', '.h']);

it('napi.h appears only in native/addon', () => {
  const users = native.filter((file) => includes(file).some((name) => /napi|node_api/.test(name)));
  expect(users.length).toBeGreaterThan(0);
  expect(users.filter((file) => !file.startsWith('native/addon/'))).toEqual([]);
});

it('kernel files use nothing of the C++ library but plain types', () => {
  const allowed =
    /^((stddef|stdint|limits|string|math)\.h|immintrin\.h|arm_neon\.h|maxsim\/(kernel\.h|half\.h|kernels\/.+))$/;
  const kernels = native.filter((file) => file.startsWith('native/maxsim/kernels/'));
  expect(kernels.length).toBeGreaterThan(2);
  for (const file of kernels)
    expect(
      includes(file).filter((name) => !allowed.test(name)),
      file,
    ).toEqual([]);
});

it('the core of the native code knows no room above it', () => {
  for (const file of native.filter((name) => name.startsWith('native/platform/'))) {
    expect(
      includes(file).filter((name) => /^(maxsim|index|addon)\//.test(name)),
      file,
    ).toEqual([]);
  }
  for (const file of native.filter((name) => name.startsWith('native/maxsim/'))) {
    expect(
      includes(file).filter((name) => /^(index|addon)\//.test(name)),
      file,
    ).toEqual([]);
  }
});

it('docs/errors.md has a heading for every error code, and no other', () => {
  const codes = [...text('src/errors.ts').matchAll(/^\s*\|\s*'([A-Z_]+)'/gm)].map(
    (match) => match[1],
  );
  const headings = [...text('docs/errors.md').matchAll(/^## ([A-Z_]+)$/gm)].map(
    (match) => match[1],
  );
  expect(codes.length).toBeGreaterThan(10);
  expect(headings.sort()).toEqual(codes.sort());
});

it('native code raises only codes that the documentation knows', () => {
  const headings = new Set(
    [...text('docs/errors.md').matchAll(/^## ([A-Z_]+)$/gm)].map((match) => match[1]),
  );
  for (const file of native.filter((name) => !name.startsWith('native/test/'))) {
    for (const match of text(file).matchAll(/Status::Error\(\s*"([A-Z_]+)"/g)) {
      expect(headings.has(match[1]), `${match[1]} in ${file}`).toBe(true);
    }
  }
});

it('onnxruntime and the addon are reached through src/runtime only', () => {
  const users = files('src', ['.ts']).filter((file) =>
    /from 'onnxruntime-node'|from '@huggingface\/tokenizers'|process\.dlopen|createRequire/.test(
      text(file),
    ),
  );
  expect(users.length).toBeGreaterThan(0);
  expect(users.filter((file) => !file.startsWith('src/runtime/'))).toEqual([]);
});
