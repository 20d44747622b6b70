import { defineConfig } from 'vitest/config';

// biome-ignore lint/style/noDefaultExport: vitest reads its configuration from the default export
export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // Two model-heavy files at once would fight for two cores and gain nothing.
    fileParallelism: false,
    pool: 'forks',
    server: { deps: { external: [/\/dist\//] } },
  },
});
