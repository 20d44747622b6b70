/** `maxsim models convert`: a graph for the native encoder, made now instead of at its first use. */
import { stat } from 'node:fs/promises';
import type { Command } from 'commander';
import type { Conversion } from '../convert/convert.js';
import { convertGraph } from '../convert/native-file.js';
import { findModel, graphOf } from '../evaluate/model-runner.js';
import { DEFAULT_GRAPHS, graphForms } from '../runtime/graph-forms.js';
import {
  formatBytes,
  formatCount,
  formatMs,
  paint,
  printJson,
  printLine,
  renderFacts,
} from './output.js';

type ConvertOptions = { file?: string; allowNonCommercial: boolean; json: boolean };

/** `models` is the command of `maxsim models`. */
export function addModelsConvertCommand(models: Command): void {
  models
    .command('convert')
    .description('make the native encoder of a model, and compare it with onnxruntime')
    .argument('<name>', 'catalog name, hub id or folder')
    .option('--file <path>', `which ONNX graph (default: ${DEFAULT_GRAPHS.join(' or ')})`)
    .option('--allow-non-commercial', 'take weights whose licence forbids commercial use', false)
    .option('--json', 'print JSON', false)
    .action(convert);
}

async function convert(
  name: string,
  { file, allowNonCommercial, json }: ConvertOptions,
): Promise<void> {
  const model = await findModel(name, { allowNonCommercial });
  const [usual] = await graphForms(model.directory);
  const graph = await graphOf(model, file ?? usual?.file ?? (DEFAULT_GRAPHS[0] as string));
  const started = performance.now();
  const converted = await convertGraph(graph, model.directory);
  const milliseconds = performance.now() - started;
  const sizeBytes = (await stat(converted.file)).size;
  const exact = converted.exact === converted.outputs;
  if (json) {
    printJson({ ...model, graph: graph.file, ...converted, sizeBytes, milliseconds });
    return;
  }
  const { hidden, layers, heads, vocabulary } = converted.shape;
  printLine(
    renderFacts([
      ['model', `${paint.bold(model.name)} (${model.kind})`],
      ['graph', graph.file],
      [
        'shape',
        `${layers} layers of ${hidden} channels, ${heads} heads, ${formatCount(vocabulary)} words`,
      ],
      [
        'weights',
        exact
          ? 'the int8 weights of the graph as they are'
          : `rounded to int8 in ${formatCount(converted.outputs - converted.exact)} of ${formatCount(converted.outputs)} outputs of linear layers`,
      ],
      ['v onnxruntime', errorText(converted)],
      ['file', `${converted.file}, ${formatBytes(sizeBytes)}, made in ${formatMs(milliseconds)}`],
      [
        'used',
        exact
          ? "by default on CPUs with VNNI, and with the runtime 'native' on others"
          : "with the runtime 'native' only (MAXSIM_RUNTIME=native), since weights were rounded",
      ],
    ]),
  );
}

function errorText({ error }: Conversion): string {
  if (error === null) return 'not compared';
  const { mean, largest, compared, kind } = error;
  const figures = `${mean.toPrecision(2)} on average, ${largest.toPrecision(2)} at most`;
  return kind === 'cosine'
    ? `1 - cosine ${figures}, over ${formatCount(compared)} token vectors`
    : `logits differ by ${figures}, over ${formatCount(compared)} texts`;
}
