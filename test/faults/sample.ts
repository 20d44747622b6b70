/** Small indexes that have a file of every kind, and the regions of these files. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Index } from '../../dist/index/store.js';
import { DIM, documentOf, FIELDS } from './documents.js';
import { scratch } from './scratch.js';

export const SAMPLE_CODECS = ['int8', 'r4', 'f32'] as const;
export type SampleCodec = (typeof SAMPLE_CODECS)[number];

/** Bytes `begin` to `end` of a file that belong together. */
export type Region = { file: string; name: string; begin: number; end: number };

export type Sample = {
  directory: string;
  /** That of the generation before, whose files are all there. */
  olderManifest: Buffer;
  regions: Region[];
};

/** 4,096 tokens or more, which is what centroids are learned from. */
const LONG = 6;
/** How many documents are there, and have codes, when the centroids of searches are learned. */
const CODED: Readonly<Record<SampleCodec, readonly string[]>> = {
  int8: range('long', LONG),
  r4: range('long', LONG),
  f32: [],
};

/**
 * Two segments of the older generation, one of them with tombstones, and one of the newest. In int8 and
 * r4 the first has codes, under centroids of their own and of the codec.
 */
export async function makeSample(codec: SampleCodec): Promise<Sample> {
  const directory = join(scratch('memory'), 'index');
  const index = await Index.open(directory, {
    dim: DIM,
    codec: codec === 'r4' ? 'f16' : codec,
    fields: FIELDS,
  });
  const add = (ids: readonly string[]) => index.add(ids.map((id) => documentOf(id, 1)));
  await add(['a', 'b', 'c', 'd', ...CODED[codec]]);
  if (codec === 'r4') await index.recode({ name: 'r4', centroids: 16 });
  if (codec === 'r4') await index.buildSearch({ lists: true });
  if (codec === 'int8') await index.buildSearch({ centroids: 16 });
  await add(range('e', 12));
  await index.delete(['b', 'e3']);
  const olderManifest = readFileSync(join(directory, 'manifest.json'));
  await add(['f', 'g']);
  await index.close();
  // As a writer that was killed leaves it.
  writeFileSync(join(directory, 'writer.lock'), '9999999\n');
  const regions = readdirSync(directory).flatMap((file) =>
    regionsOf(file, readFileSync(join(directory, file))),
  );
  return { directory, olderManifest, regions };
}

function range(prefix: string, n: number): string[] {
  return Array.from({ length: n }, (_, i) => `${prefix}${i}`);
}

/** As docs/format.md has them. */
function regionsOf(file: string, bytes: Buffer): Region[] {
  const cuts: [name: string, begin: number][] = [['all', 0]];
  const magic = bytes.toString('latin1', 0, 8);
  if (magic === 'MAXSIMSG') {
    cuts[0] = ['header', 0];
    for (let i = 0; i < bytes.readUInt32LE(28); i++) {
      const at = 64 + i * 24;
      const begin = Number(bytes.readBigUInt64LE(at));
      const end = begin + Number(bytes.readBigUInt64LE(at + 8));
      cuts.push([`section ${i + 1}`, begin], [`padding after section ${i + 1}`, end]);
    }
    cuts.push(['second header', bytes.length - 256]);
  } else if (magic === 'MAXSIMCO') {
    cuts[0] = ['header', 0];
    for (let i = 0; i < 5; i++) {
      const at = 80 + i * 24;
      const begin = Number(bytes.readBigUInt64LE(at));
      const end = begin + Number(bytes.readBigUInt64LE(at + 8));
      cuts.push([`section ${i + 1}`, begin], [`padding after section ${i + 1}`, end]);
    }
  } else if (magic === 'MAXSIMDD') {
    cuts.push(['bitmap', 64]);
  } else if (magic === 'MAXSIMCB') {
    cuts.push(['centroids', 128]);
  }
  return cuts
    .map(([name, begin], i) => ({ file, name, begin, end: cuts[i + 1]?.[1] ?? bytes.length }))
    .filter(({ begin, end }) => begin < end);
}
