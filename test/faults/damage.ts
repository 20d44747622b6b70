/**
 * Damaged files. One bit is changed, or a file is cut short; then everything is asked of the index that
 * can be. Every answer is right, or an error that names the damaged file, whether the damage is noticed
 * when the index is opened, at the answer it spoils, or does no harm.
 */
import {
  closeSync,
  cpSync,
  openSync,
  readFileSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { MaxSimError } from '../../dist/errors.js';
import { Index, type IndexOptions } from '../../dist/index/store.js';
import { documentOf, seeded } from './documents.js';
import { type Known, knownOf, questions } from './questions.js';
import { makeSample, type Region, type Sample, type SampleCodec } from './sample.js';
import { scratch } from './scratch.js';
import type { Tally } from './tally.js';

const NAMED = ['CORRUPT_INDEX', 'UNSUPPORTED_FORMAT', 'NOT_AN_INDEX'];

/** Ways to read, taken in turn. */
const READING: IndexOptions[] = [
  {},
  { verify: 'at-open' },
  { memory: 'populated' },
  { memory: 'huge-pages' },
];

export async function flips(
  tally: Tally,
  codec: SampleCodec,
  wanted: number,
  from: number,
): Promise<void> {
  const damage = await Damage.of(tally, codec);
  const plan = flipPlan(damage.sample.regions, wanted, seeded(codec.length));
  for (const [i, { region, byte, bit }] of plan.entries()) {
    if (i < from) continue;
    tally.next = i + 1;
    tally.count('flips');
    tally.send();
    const what = `bit ${bit} of byte ${byte} of ${region.file} (${region.name}, ${codec})`;
    const path = join(damage.sample.directory, region.file);
    flip(path, byte, bit);
    await damage.try(i, region.file, what);
    flip(path, byte, bit);
  }
}

export async function truncations(tally: Tally, codec: SampleCodec, from: number): Promise<void> {
  const damage = await Damage.of(tally, codec);
  const plan = truncationPlan(damage.sample);
  for (const [i, { file, size }] of plan.entries()) {
    if (i < from) continue;
    tally.next = i + 1;
    tally.count('truncations');
    tally.send();
    const path = join(damage.sample.directory, file);
    const whole = readFileSync(path);
    truncateSync(path, size);
    const what = `${file} cut to ${size} bytes (${codec})`;
    await damage.try(i, file, what);
    writeFileSync(path, whole);
  }
}

class Damage {
  /** Whether the damage at hand has been named by an error. */
  private named = false;
  private readonly copy = join(scratch('memory'), 'copy');

  private constructor(
    private readonly tally: Tally,
    readonly sample: Sample,
    private readonly newest: Known,
    private readonly older: Known,
  ) {}

  static async of(tally: Tally, codec: SampleCodec): Promise<Damage> {
    const sample = await makeSample(codec);
    const newest = await whole(sample.directory);
    const manifest = join(sample.directory, 'manifest.json');
    const current = readFileSync(manifest);
    writeFileSync(manifest, sample.olderManifest);
    const older = await whole(sample.directory);
    writeFileSync(manifest, current);
    return new Damage(tally, sample, newest, older);
  }

  /** Most damage is read, some is refreshed to, some met by a writer. */
  async try(trial: number, file: string, what: string): Promise<void> {
    this.named = false;
    if (trial % 8 === 0) await this.refresh(file, what);
    else if (trial % 8 === 1 || file === 'writer.lock') await this.write(file, what);
    else await this.read(file, what, READING[trial % READING.length]);
    if (this.named) this.tally.count('named');
  }

  private async read(file: string, what: string, options: IndexOptions): Promise<void> {
    const index = await this.open(this.sample.directory, file, what, { mode: 'read', ...options });
    if (index === null) return;
    await this.ask(index, this.newest, file, what);
    await index.close();
  }

  /** Opens the generation before the newest, then moves to the newest. */
  private async refresh(file: string, what: string): Promise<void> {
    const manifest = join(this.sample.directory, 'manifest.json');
    const damaged = readFileSync(manifest);
    writeFileSync(manifest, this.sample.olderManifest);
    const index = await this.open(this.sample.directory, file, what, { mode: 'read' });
    writeFileSync(manifest, damaged);
    if (index === null) return;
    await this.ask(index, this.older, file, what);
    let moved = false;
    try {
      moved = await index.refresh();
    } catch (error) {
      this.judge(error, file, `${what}, refresh`);
    }
    await this.ask(index, moved ? this.newest : this.older, file, `${what}, refreshed`);
    await index.close();
  }

  /** A compaction must not give damage a new checksum. */
  private async write(file: string, what: string): Promise<void> {
    rmSync(this.copy, { recursive: true, force: true });
    cpSync(this.sample.directory, this.copy, { recursive: true });
    const index = await this.open(this.copy, file, what, { mode: 'write', create: false });
    if (index === null) return;
    await this.ask(index, this.newest, file, what);
    let whole = true;
    for (const change of [() => index.add([documentOf('new', 1)]), () => index.compact()]) {
      try {
        await change();
      } catch (error) {
        whole = false;
        this.judge(error, file, `${what}, change`);
      }
    }
    await index.close();
    const again = await this.open(this.copy, file, `${what}, changed`, { mode: 'read' });
    if (again === null) return;
    const reported = await this.ask(again, this.newest, file, `${what}, changed`);
    if (whole && reported) {
      this.tally.harm('wrongScores', `${what}: compact copied what cannot be read`);
    }
    await again.close();
  }

  private async open(
    directory: string,
    file: string,
    what: string,
    options: IndexOptions,
  ): Promise<Index | null> {
    try {
      return await Index.open(directory, options);
    } catch (error) {
      this.judge(error, file, `${what}, open`);
      return null;
    }
  }

  /** Whether any question was answered with an error. */
  private async ask(index: Index, known: Known, file: string, what: string): Promise<boolean> {
    let reported = false;
    for (const { question, ask, same } of questions(known)) {
      try {
        if (!same(await ask(index))) {
          this.tally.harm('wrongScores', `${what}: ${question} has another answer`);
        }
      } catch (error) {
        reported = true;
        this.judge(error, file, `${what}, ${question}`);
      }
    }
    return reported;
  }

  private judge(error: unknown, file: string, what: string): void {
    const named =
      error instanceof MaxSimError && NAMED.includes(error.code) && error.message.includes(file);
    this.named ||= named;
    if (!named) this.tally.harm('wrongScores', `${what}: ${(error as Error).stack}`);
  }
}

async function whole(directory: string): Promise<Known> {
  await using index = await Index.open(directory, { mode: 'read' });
  return await knownOf(index);
}

type Flip = { region: Region; byte: number; bit: number };

/** Every region gets its share; one with fewer bits than that has each of them flipped. */
function flipPlan(regions: readonly Region[], wanted: number, random: () => number): Flip[] {
  const plan: Flip[] = [];
  const bySize = [...regions].sort((a, b) => a.end - a.begin - (b.end - b.begin));
  for (const [i, region] of bySize.entries()) {
    const bits = (region.end - region.begin) * 8;
    const share = Math.ceil((wanted - plan.length) / (bySize.length - i));
    const all = share >= bits;
    for (let n = 0; n < (all ? bits : share); n++) {
      const at = all ? n : Math.floor(random() * bits);
      plan.push({ region, byte: region.begin + (at >> 3), bit: at & 7 });
    }
  }
  return plan;
}

const SMALL_BYTES = 64 * 1024;

/** Every file cut at the ends of its regions, one byte off them, to nothing, and a small one at every 64 bytes. */
function truncationPlan({ regions }: Sample): { file: string; size: number }[] {
  const plan: { file: string; size: number }[] = [];
  for (const file of new Set(regions.map((region) => region.file))) {
    const own = regions.filter((region) => region.file === file);
    const size = Math.max(...own.map(({ end }) => end));
    const sizes = new Set([0, ...own.flatMap(({ begin, end }) => [begin, end])]);
    for (const at of [...sizes]) for (const near of [at - 1, at + 1]) sizes.add(near);
    const step = size <= SMALL_BYTES ? 64 : Math.ceil(size / 128);
    for (let at = 0; at < size; at += step) sizes.add(at);
    for (const at of sizes) if (at >= 0 && at < size) plan.push({ file, size: at });
  }
  return plan;
}

function flip(path: string, byte: number, bit: number): void {
  const file = openSync(path, 'r+');
  const value = Buffer.alloc(1);
  readSync(file, value, 0, 1, byte);
  value[0] ^= 1 << bit;
  writeSync(file, value, 0, 1, byte);
  closeSync(file);
}
