import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { toPair } from '../../dist/rerank/pair.js';
import { pairTemplate } from '../../dist/runtime/pair-template.js';
import { positionsOf } from '../../dist/runtime/positions.js';
import { TextTokenizer } from '../../dist/runtime/tokenizer.js';

const special = { cls: 1, sep: 2, pad: 0, mask: null };

it('joins two texts as the tokenizer says: BERT by one [SEP] and two types', () => {
  const template = pairTemplate({ type: 'BertProcessing' }, special);
  expect(toPair([10, 11], [20], 16, template)).toEqual({
    ids: [1, 10, 11, 2, 20, 2],
    types: [0, 0, 0, 0, 1, 1],
    attended: 6,
  });
  expect(pairTemplate(null, special)).toEqual(template);
});

it('and XLM-RoBERTa by two </s> and one type', async () => {
  const folder = fileURLToPath(new URL('../golden/encoders/xlmr', import.meta.url));
  const { pair, special: own } = await TextTokenizer.open(folder);
  const { cls, sep } = own;
  expect(toPair([10, 11], [20], 16, pair)).toEqual({
    ids: [cls, 10, 11, sep, sep, 20, sep],
    types: [0, 0, 0, 0, 0, 0, 0],
    attended: 7,
  });
  const byType = pairTemplate({ type: 'RobertaProcessing' }, own);
  expect(toPair([10], [20, 21], 16, byType)).toEqual(toPair([10], [20, 21], 16, pair));
  // Four tokens are around the texts, so that six are left for them.
  expect(toPair([10, 11, 12, 13], [20, 21, 22, 23], 10, pair).ids).toHaveLength(10);
});

it('looks for the template among several post-processors', () => {
  const parts = pairTemplate(
    {
      type: 'Sequence',
      processors: [
        { type: 'ByteLevel' },
        {
          type: 'TemplateProcessing',
          pair: [
            { Sequence: { id: 'A', type_id: 0 } },
            { SpecialToken: { id: '|', type_id: 0 } },
            { Sequence: { id: 'B', type_id: 0 } },
          ],
          special_tokens: { '|': { ids: [7] } },
        },
      ],
    },
    special,
  );
  expect(toPair([10], [20], 16, parts).ids).toEqual([10, 7, 20]);
});

it('positions of RoBERTa begin behind that of the padding', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'maxsim-positions-'));
  const positions = (config: object): Promise<number | null> => {
    writeFileSync(join(folder, 'config.json'), JSON.stringify(config));
    return positionsOf(folder);
  };
  const config = { max_position_embeddings: 514, pad_token_id: 1 };
  expect(await positions({ ...config, model_type: 'xlm-roberta' })).toBe(512);
  expect(await positions({ ...config, model_type: 'bert' })).toBe(514);
  expect(await positions({ model_type: 'bert' })).toBeNull();
  rmSync(folder, { recursive: true });
});
