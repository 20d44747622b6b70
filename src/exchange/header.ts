/**
 * What an export says about itself before its first document: enough for an importer to refuse vectors
 * of another model, and to notice that documents are missing.
 */
import { checkInteger, LIMITS } from '../check.js';
import { show } from '../errors.js';
import type { EncoderIdentity } from '../index/manifest.js';
import { CODECS, type CodecName } from '../types.js';
import { isObject, refused } from './source-file.js';

export const EXPORT_FORMAT = 'maxsim-export';
const VERSION = 1;

export type ExportHeader = {
  dim: number;
  /** How the vectors were stored; `scale` is that of int8, else 1, null while nothing is stored. */
  codec: { name: CodecName; scale: number | null };
  encoder: EncoderIdentity | null;
  documents: number;
  tokens: number;
  /** Where the vectors are: in each line, or in these files beside this one. */
  vectors: 'base64-f32' | { files: string[]; dtype: 'F32' | 'F16'; export: string };
};

export function serializeHeader(header: ExportHeader): string {
  return JSON.stringify({ format: EXPORT_FORMAT, version: VERSION, ...header });
}

/** Null when a line is no header of an export. Throws INVALID_SOURCE for one that is damaged or newer. */
export function parseHeader(line: string, file: string): ExportHeader | null {
  if (!line.includes(EXPORT_FORMAT)) return null;
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null; // whoever reads the line says what is wrong with it
  }
  if (!isObject(value) || value['format'] !== EXPORT_FORMAT) return null;
  if (value['version'] !== VERSION) {
    throw refused(
      file,
      `is an export of version ${show(value['version'])}; this release reads version ${VERSION}`,
    );
  }
  const { codec, encoder, vectors } = value;
  try {
    const header = {
      dim: checkInteger('dim', value['dim'], LIMITS.minDim, LIMITS.maxDim),
      documents: checkInteger('documents', value['documents'], 0, Number.MAX_SAFE_INTEGER),
      tokens: checkInteger('tokens', value['tokens'], 0, Number.MAX_SAFE_INTEGER),
    };
    if (!isCodec(codec)) throw new Error('codec is no codec.');
    if (encoder !== null && !isEncoder(encoder)) throw new Error('encoder is none.');
    if (vectors !== 'base64-f32' && !isFiles(vectors)) throw new Error('vectors says nothing.');
    return { ...header, codec, encoder, vectors };
  } catch (cause) {
    throw refused(file, `has a damaged header: ${(cause as Error).message.replace(/\.$/, '')}`);
  }
}

function isCodec(value: unknown): value is ExportHeader['codec'] {
  return (
    isObject(value) &&
    (CODECS as readonly unknown[]).includes(value['name']) &&
    (value['scale'] === null || typeof value['scale'] === 'number')
  );
}

function isEncoder(value: unknown): value is EncoderIdentity {
  return isObject(value) && typeof value['fingerprint'] === 'string' && isObject(value['recipe']);
}

function isFiles(value: unknown): value is Exclude<ExportHeader['vectors'], string> {
  return (
    isObject(value) &&
    Array.isArray(value['files']) &&
    // Beside the header, never elsewhere.
    value['files'].every((name) => typeof name === 'string' && /^[^/\\]+$/.test(name)) &&
    (value['dtype'] === 'F32' || value['dtype'] === 'F16') &&
    typeof value['export'] === 'string'
  );
}
