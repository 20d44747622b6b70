/** `maxsim inspect`: what an index holds, and where its bytes go. */
import type { Command } from 'commander';
import { type CodecInfo, type FieldTypes, Index, MaxSimError, type TenantView } from '../maxsim.js';
import {
  formatBytes,
  formatCount,
  paint,
  printable,
  printJson,
  printLine,
  renderFacts,
  renderTable,
  warn,
} from './output.js';

type InspectOptions = { id?: string; tenant?: string; json: boolean };

export function addInspectCommand(program: Command): void {
  program
    .command('inspect')
    .alias('stats')
    .description('show what an index holds, or one of its documents')
    .argument('<dir>', 'directory of the index')
    .option('--id <id>', 'print this document')
    .option('--tenant <name>', 'whose document, in an index with tenants')
    .option('--json', 'print JSON', false)
    .action(async (directory: string, { id, tenant, json }: InspectOptions) => {
      await using index = await Index.open(directory, { mode: 'read' });
      if (id === undefined) printIndex(index, json);
      else printDocument(index.view(tenant), id, json);
    });
}

function printDocument(index: Index | TenantView, id: string, json: boolean): void {
  const document = index.get(id);
  if (document === undefined) {
    throw new MaxSimError('UNKNOWN_ID', `The index holds no document ${JSON.stringify(id)}.`, {
      details: { id },
    });
  }
  if (json) {
    printJson(document);
    return;
  }
  printLine(
    renderFacts([
      ['id', document.id],
      ['tokens', formatCount(document.tokenCount)],
      ['content hash', document.contentHash ?? '(none)'],
      ['payload', document.payload === null ? '(none)' : JSON.stringify(document.payload)],
    ]),
  );
  printLine();
  // Line by line: the text keeps its shape, but no control characters reach the terminal.
  const lines = document.text?.split('\n').map(printable);
  printLine(lines?.join('\n') ?? paint.dim('(stored as vectors only)'));
}

function printIndex(index: Index, json: boolean): void {
  const stats = index.stats();
  const { directory, codec, dim, encoder, fields } = index;
  const tenants = index.hasTenants ? index.tenants() : null;
  const tokens = stats.segments.reduce((sum, segment) => sum + segment.tokens, 0);
  const bytesPerToken = tokens === 0 ? null : stats.bytes.tokens / tokens;
  if (json) {
    printJson({ directory, codec, dim, encoder, fields, tenants, bytesPerToken, ...stats });
    return;
  }
  const { model, ...recipe } = encoder?.recipe ?? {};
  printLine(
    renderFacts([
      ['directory', directory],
      ['generation', formatCount(stats.generation)],
      ['documents', `${formatCount(stats.documents)} (${formatCount(stats.deadDocuments)} dead)`],
      ['tokens', `${formatCount(stats.tokens)} of dim ${dim}`],
      ['codec', describe(codec)],
      ['model', encoder === null ? '(none: vectors of the caller)' : String(model)],
      ...(tenants === null ? [] : [['tenants', formatCount(tenants.length)] as const]),
      ['fields', describeFields(fields)],
      ['search', describeSearch(stats)],
      ['size', `${formatBytes(stats.sizeBytes)}${perToken(bytesPerToken)}`],
    ]),
  );
  if (stats.search !== null && stats.search.advice !== null) {
    warn(`${stats.search.advice} maxsim compact --retrain learns new ones and measures again.`);
  }
  if (encoder !== null) {
    printLine();
    printLine(
      renderFacts(
        Object.entries(recipe).map(([name, value]) => [
          name,
          Array.isArray(value) ? `${value.length} token ids` : String(value),
        ]),
      ),
    );
  }
  printLine();
  printLine(
    renderTable(
      [
        { title: 'bytes of' },
        { title: 'size', align: 'right' },
        { title: 'share', align: 'right' },
      ],
      Object.entries(stats.bytes).map(([kind, bytes]) => [
        KINDS[kind] ?? kind,
        formatBytes(bytes),
        `${((100 * bytes) / stats.sizeBytes).toFixed(1)}%`,
      ]),
    ),
  );
  if (stats.segments.length === 0) return;
  printLine();
  printLine(
    renderTable(
      [
        { title: 'segment' },
        { title: 'documents', align: 'right' },
        { title: 'dead', align: 'right' },
        { title: 'tokens', align: 'right' },
        { title: 'size', align: 'right' },
      ],
      stats.segments.map((segment) => [
        segment.file,
        formatCount(segment.documents),
        formatCount(segment.dead),
        formatCount(segment.tokens),
        formatBytes(segment.sizeBytes),
      ]),
    ),
  );
}

const KINDS: Readonly<Record<string, string>> = {
  tokens: 'token vectors',
  documentTable: 'document table',
  ids: 'ids',
  idTable: 'id table',
  fields: 'fields to filter by',
  records: 'texts and payloads',
  tombstones: 'tombstones',
  codebook: 'centroids',
  codes: 'codes of searches',
  centroids: 'centroids of searches',
  manifest: 'manifest',
  other: 'headers, alignment',
};

function describeSearch({ search, tokens }: ReturnType<Index['stats']>): string {
  if (search === null) return 'exhaustive (maxsim compact --search makes it faster)';
  const share = tokens === 0 ? 1 : Math.min(1, search.codedTokens / tokens);
  const { centroids, trainedTokens, listedSegments, measured, cosine, cosineWhenNew } = search;
  return [
    `${formatCount(centroids)} centroids learned from ${formatCount(trainedTokens)} tokens`,
    `${Math.floor(100 * share)}% of the tokens have codes${listedSegments > 0 ? ', with lists' : ''}`,
    measured === null
      ? 'depths not measured'
      : `depths measured with ${formatCount(measured.queries)} queries among ${formatCount(measured.documents)} documents`,
    `mean cosine ${cosine.toFixed(3)}, was ${cosineWhenNew.toFixed(3)}`,
  ].join('; ');
}

function describe({ name, scale, centroids, trainedTokens }: CodecInfo): string {
  if (name === 'int8') {
    return `int8, ${scale === null ? 'scale not chosen yet' : `scale ${scale.toPrecision(6)}`}`;
  }
  if (centroids === undefined || trainedTokens === undefined) return name;
  return `${name}, ${formatCount(centroids)} centroids learned from ${formatCount(trainedTokens)} tokens`;
}

function describeFields(fields: FieldTypes): string {
  const names = Object.entries(fields).map(([name, type]) => `${printable(name)} (${type})`);
  return names.length === 0 ? '(none)' : names.join(', ');
}

function perToken(bytes: number | null): string {
  return bytes === null ? '' : `, token vectors ${bytes.toFixed(1)} bytes a token`;
}
