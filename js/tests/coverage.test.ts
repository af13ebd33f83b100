import assert from 'node:assert/strict';
import test from 'node:test';

import { binsOf, coverage } from '../src/field/coverage';
import { regionOfMask } from '../src/field/region';
import { vectors } from './vectors';

interface Vector {
  scale: number;
  offset: number;
  mask: number[][];
  height: number;
  width: number;
  /** For each pixel how many of its cells are in the mask, and how many cells it has. */
  expected: [number, number][];
}

test('each pixel gets the share of its cells, and neither taps nor holes get lost', () => {
  const cases = vectors<Vector>('coverage');
  assert.ok(cases.length > 50);
  for (const { scale, offset, mask, height, width, expected } of cases) {
    const rows = binsOf(0, height, scale, offset, mask.length);
    const columns = binsOf(0, width, scale, -offset, mask.length);
    const out = new Uint8Array(height * width);
    coverage(regionOfMask(mask.flat(), mask.length), rows, columns, out);
    expected.forEach(([some, all], pixel) => {
      const share = out[pixel];
      assert.equal(share === 0, some === 0);
      assert.equal(share === 255, some > 0 && some === all);
      assert.ok(some === 0 || Math.abs(share - (255 * some) / all) < 2);
    });
  }
});

test('a picture cut off at its start is shown from the right cell on', () => {
  const { start, stop } = binsOf(10, 3, 0.5, 0, 100);
  assert.deepEqual([...start], [20, 22, 24]);
  assert.deepEqual([...stop], [22, 24, 26]);
});
