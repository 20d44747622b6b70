import { expect, it } from 'vitest';
import { Admission } from '../../dist/serve/admission.js';

/** A clock that the test turns. */
function admission(maxTokens: number, maxWaitMs: number) {
  const clock = { ms: 0 };
  return { clock, gate: new Admission(maxTokens, maxWaitMs, () => clock.ms) };
}

it('lets anything in where nothing is under way', () => {
  const { gate } = admission(100, 1);
  const leave = gate.enter(1_000_000, 0.001);
  expect(gate.stats()).toMatchObject({ requests: 1, tokens: 1_000_000 });
  leave(true);
  leave(true); // once is enough
  expect(gate.stats()).toMatchObject({ requests: 0, tokens: 0 });
});

it('lets in as many tokens as may be under way', () => {
  const { gate } = admission(100, 1000);
  gate.enter(60, null);
  gate.enter(40, null);
  expect(() => gate.enter(1, null)).toThrow('100 tokens of work are under way, and 1 more');
});

it('refuses what would wait longer than it may, by what was measured', () => {
  const { clock, gate } = admission(1_000_000, 5000);
  const first = gate.enter(10_000, null);
  expect(gate.stats().tokensPerSecond).toBeNull();
  clock.ms = 1000;
  first(true);
  expect(gate.stats().tokensPerSecond).toBeCloseTo(10_000, 5);
  gate.enter(20_000, null); // two seconds of work
  expect(() => gate.enter(1, 1500)).toThrow('about 2000 ms, and this request may wait 1500 ms');
  gate.enter(40_000, 2500); // six seconds are ahead now
  expect(() => gate.enter(1, null)).toThrow(
    expect.objectContaining({
      status: 429,
      code: 'OVERLOADED',
      retryAfterS: 6,
      message: expect.stringContaining('6000 ms, and this request may wait 5000 ms'),
    }),
  );
});

it('does not take work for done that was given up, and forgets what was long ago', () => {
  const { clock, gate } = admission(1_000_000, 5000);
  const first = gate.enter(10_000, null);
  clock.ms = 1000;
  first(true);
  const second = gate.enter(10_000, null);
  clock.ms = 2000;
  second(false);
  expect(gate.stats().tokensPerSecond).toBeLessThan(6000);
  for (let i = 0; i < 20; i++) {
    const faster = gate.enter(100_000, null);
    clock.ms += 5000;
    faster(true);
  }
  expect(gate.stats().tokensPerSecond).toBeGreaterThan(19_000);
});
