import assert from 'node:assert/strict';
import test from 'node:test';

import { describeCell, significant } from '../src/widgets/cell_words';

test('numbers of any size stay short', () => {
  const said = [0.123456, 1.23456e-21, 4.5e30, -2, 12345, 0, Infinity, -Infinity, NaN].map(significant);
  assert.deepEqual(said, ['0.1235', '1.235e-21', '4.5e30', '-2', '12350', '0', 'infinite', '-infinite', 'not a number']);
});

test('a cell in words', () => {
  const say = (stored: number, logarithmic: boolean) => describeCell('2 (Linear)', 'step 63', 'gradient norm', stored, logarithmic);
  assert.equal(say(Math.fround(Math.log10(6.2e-21)), true), '2 (Linear), step 63: gradient norm 6.2e-21');
  assert.equal(say(-Infinity, true), '2 (Linear), step 63: gradient norm exactly 0');
  assert.equal(say(0, false), '2 (Linear), step 63: gradient norm exactly 0');
  assert.equal(say(NaN, true), '2 (Linear), step 63: gradient norm is not a number');
  assert.equal(describeCell('a', 'b', 'w', NaN, false, 'not used in this step'), 'a, b: not used in this step');
  assert.equal(describeCell('a', 'b', 'w', 2, false, 'not used in this step'), 'a, b: w 2');
  assert.equal(say(0.25, false), '2 (Linear), step 63: gradient norm 0.25');
  assert.equal(describeCell('', 'x', 'w', 1, false), 'x: w 1');
  assert.equal(describeCell('output 1\nrow 2', 'input 0\ncolumn 1', 'w', 1, false), 'output 1, input 0, row 2, column 1: w 1');
  assert.equal(describeCell('a\nb', 'x', 'w', 1, false), 'a, x, b: w 1');
  assert.equal(describeCell('a', 'x\ny', 'w', 1, false), 'a, x, y: w 1');
});
