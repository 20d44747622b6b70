/**
 * The graphs of a model folder: the same model in several forms, float32 and smaller ones, as exporters
 * put them side by side. A form has its own name by convention only; what it is, its operators say.
 */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeGraph, type GraphDescription } from './onnx-file.js';

/** Folders of a model that hold graphs, and the graphs that a model is loaded from unless told otherwise. */
const FOLDERS = ['', 'onnx'];
export const DEFAULT_GRAPHS = ['model.onnx', 'onnx/model.onnx'];

/** How the weights of a graph are stored and multiplied. */
export type FormKind =
  | 'float32'
  | 'float16'
  | 'int8 dynamic'
  | 'int8 QDQ'
  | 'int8 weights'
  | 'MatMulNBits'
  | 'bnb4'
  | 'unreadable';

export type GraphForm = {
  /** Within the folder, with forward slashes. */
  file: string;
  kind: FormKind;
  /** With the weights that lie in files of their own. */
  sizeBytes: number;
};

export type FolderFile = { path: string; sizeBytes: number };

/** All files of graphs and of their weights, by path. */
export async function graphFiles(directory: string): Promise<FolderFile[]> {
  const found: FolderFile[] = [];
  for (const folder of FOLDERS) {
    const names = await readdir(join(directory, folder)).catch(() => []);
    for (const name of names.filter((one) => one.includes('.onnx'))) {
      const stats = await stat(join(directory, folder, name));
      if (stats.isFile()) {
        found.push({ path: folder === '' ? name : `${folder}/${name}`, sizeBytes: stats.size });
      }
    }
  }
  return found.sort((a, b) => (a.path < b.path ? -1 : 1));
}

/** The forms of a folder, the default one first. */
export async function graphForms(directory: string): Promise<GraphForm[]> {
  const files = await graphFiles(directory);
  const forms: GraphForm[] = [];
  for (const { path, sizeBytes } of files.filter((file) => file.path.endsWith('.onnx'))) {
    const description = await describeGraph(join(directory, path)).catch(() => null);
    const others = description === null ? [] : weightFiles(path, description);
    const external = files.filter((file) => others.includes(file.path));
    forms.push({
      file: path,
      kind: description === null ? 'unreadable' : formKind(description),
      sizeBytes: external.reduce((sum, file) => sum + file.sizeBytes, sizeBytes),
    });
  }
  const place = ({ file }: GraphForm): number =>
    DEFAULT_GRAPHS.includes(file) ? DEFAULT_GRAPHS.indexOf(file) : DEFAULT_GRAPHS.length;
  return forms.sort((a, b) => place(a) - place(b));
}

/** Files beside a graph that hold weights of it, by their path within the model's folder. */
export function weightFiles(path: string, { externalData }: GraphDescription): string[] {
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  return [...externalData].sort().map((name) => folder + name);
}

/** By the operators that only such graphs have; the first that fits. */
export function formKind({ operators, weightTypes }: GraphDescription): FormKind {
  const has = (...names: string[]): boolean => names.some((name) => operators.has(name));
  if (has('com.microsoft.MatMulNBits')) return 'MatMulNBits';
  if (has('com.microsoft.MatMulBnb4')) return 'bnb4';
  if (
    has(
      'DynamicQuantizeLinear',
      'MatMulInteger',
      'com.microsoft.MatMulIntegerToFloat',
      'com.microsoft.DynamicQuantizeMatMul',
    )
  ) {
    return 'int8 dynamic';
  }
  if (has('DequantizeLinear')) return has('QuantizeLinear') ? 'int8 QDQ' : 'int8 weights';
  return weightTypes.has(FLOAT16) ? 'float16' : 'float32';
}

/** TensorProto.DataType of onnx.proto3. */
const FLOAT16 = 10;
