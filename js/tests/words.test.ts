import assert from 'node:assert/strict';
import test from 'node:test';

import type { Seen } from '../src/field/lookup';
import { describe, grouped } from '../src/field/words';

const field: Seen = {
  region: null,
  box: [[2, 11], [2, 11]],
  fullBox: [[2, 11], [2, 11]],
  count: 25,
  total: 1048576,
  status: 'exact',
  because: '',
  window: null,
  padded: true,
};

test('a field in words', () => {
  assert.equal(
    describe('unit', [3, 5], field, 'layer4', [1024, 1024]),
    'Unit (3, 5) of layer4 sees 25 of 1,048,576 pixels: rows 2–10, columns 2–10, 9 × 9, with holes; ' +
      'part of its window lies in the padding.',
  );
  const solid = { ...field, count: 81, padded: false };
  assert.equal(
    describe('unit', [3, 5], solid, '', [1024, 1024]),
    'Unit (3, 5) sees 81 of 1,048,576 pixels: rows 2–10, columns 2–10, 9 × 9.',
  );
});

test('a bound says so, and why', () => {
  const bound: Seen = { ...field, count: 81, status: 'bound', because: 'aten.sort' };
  const text = describe('unit', [0, 0], { ...bound, padded: false }, 'sorted', [1024, 1024]);
  assert.match(text, /sees at most 81 of 1,048,576 pixels.* \(bound, because of aten\.sort\)\.$/);
  assert.doesNotMatch(text, /holes/);
});

test('who sees a pixel in words', () => {
  const seen: Seen = { ...field, count: 3, total: 1024, fullBox: [[4, 5], [7, 10]], padded: false };
  assert.equal(
    describe('input', [70, 80], seen, 'conv1', [1024, 1024]),
    'Pixel (70, 80) is seen by 3 of 1,024 units of conv1: row 4, columns 7–9, 1 × 3.',
  );
});

test('nothing, one axis and no axis', () => {
  const nothing: Seen = { ...field, count: 0, box: null, fullBox: null };
  assert.equal(describe('unit', [0, 1], nothing, 'a', [8, 8]), 'Unit (0, 1) of a sees no pixel.');
  assert.equal(describe('input', [0, 1], nothing, 'a', [8, 8]), 'No unit of a sees pixel (0, 1).');
  const line: Seen = { ...field, count: 4, total: 9, fullBox: [[1, 5]], padded: false };
  assert.equal(describe('unit', [0, 1], line, 'a', [9]), 'Unit (0, 1) of a sees 4 of 9 positions: positions 1–4.');
  const one: Seen = { ...field, count: 1, total: 1, fullBox: [], padded: false };
  assert.equal(describe('input', [0, 1], one, 'a', [9]), 'Position (0, 1) is seen by 1 of 1 unit of a.');
});

test('thousands are grouped', () => {
  assert.deepEqual([0, 999, 1000, 1048576, 1000000000].map(grouped), ['0', '999', '1,000', '1,048,576', '1,000,000,000']);
});
