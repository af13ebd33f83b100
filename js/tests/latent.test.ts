import assert from 'node:assert/strict';
import test from 'node:test';

import { blend, cornersAt, PictureGrid } from '../src/latent/interpolation';
import { curveOf, pictureOf, toPixels } from '../src/latent/picture';
import { tilesOf, within } from '../src/latent/tiles';
import { describePlace, describePoint } from '../src/latent/words';
import { vectors } from './vectors';

interface Question {
  bytes: number[];
  rows: number;
  columns: number;
  size: number;
  box: number[];
  valid: number[] | null;
  at: [number, number];
  inside: boolean;
  picture: number[] | null;
}

test('the browser finds the mixtures that Python finds', () => {
  const questions = vectors<Question>('latent');
  assert.ok(questions.length > 100);
  for (const question of questions) {
    const grid: PictureGrid = {
      ...question,
      bytes: Uint8Array.from(question.bytes),
      valid: question.valid && Uint8Array.from(question.valid),
    };
    const { corners, inside } = cornersAt(grid, ...question.at);
    assert.equal(inside, question.inside);
    assert.ok(Math.abs(corners.reduce((sum, { weight }) => sum + weight, 0) - 1) < 1e-9);
    const picture = blend(grid, corners);
    assert.equal(picture === null, question.picture === null);
    question.picture?.forEach((value, i) => assert.ok(Math.abs(picture![i] - value) <= 0.5 + 1e-4));
  }
});

test('at a node only its own picture counts, and neighbours that are missing do no harm', () => {
  const grid: PictureGrid = {
    bytes: Uint8Array.of(10, 20, 30, 40),
    rows: 2,
    columns: 2,
    size: 1,
    box: [0, 1, 0, 1],
    valid: Uint8Array.of(1, 0, 0, 0),
  };
  assert.deepEqual(cornersAt(grid, 0, 1).corners, [{ index: 0, weight: 1 }]);
  assert.deepEqual([...blend(grid, cornersAt(grid, 0, 1).corners)!], [10]);
  assert.equal(blend(grid, cornersAt(grid, 0.5, 1).corners), null);
  const [sum, mixed] = [Float32Array.of(7), Uint8ClampedArray.of(7)];
  assert.equal(blend({ ...grid, valid: null }, cornersAt(grid, 0.5, 1).corners, sum, mixed), mixed);
  assert.deepEqual([...mixed], [15]);
  assert.deepEqual(cornersAt({ ...grid, rows: 1, columns: 1 }, 0.3, 0.9).corners, [{ index: 0, weight: 1 }]);
});

test('bytes become pixels, grey or coloured', () => {
  const stack = Uint8Array.of(0, 100, 200, 255, 1, 2, 3, 4);
  assert.deepEqual(pictureOf(stack, [2, 2], 1).bytes, Uint8Array.of(1, 2, 3, 4));
  const bytesOf = (pixels: Uint32Array<ArrayBuffer>) => [...new Uint8Array(pixels.buffer)];
  assert.deepEqual(bytesOf(toPixels(pictureOf(stack, [1, 2]))), [0, 0, 0, 255, 100, 100, 100, 255]);
  assert.deepEqual(bytesOf(toPixels(pictureOf(stack, [1, 1, 3], 1))), [255, 1, 2, 255]);
  assert.deepEqual(curveOf(pictureOf(Uint8Array.of(0, 255, 51), [1, 3])), [0, 1, 0.2]);
});

test('tiles keep their place in the data while the plane moves, and double as it is magnified', () => {
  const box = [-3, 3, -3, 3];
  const whole = tilesOf(box, [-3, 3], [-3, 3], 40, -40, 26);
  assert.deepEqual([whole.columns, whole.rows, whole.stepX], [8, 8, 0.75]);
  assert.deepEqual([whole.x, whole.y], [-2.625, 2.625]);
  const moved = tilesOf(box, [-1, 5], [-3, 3], 40, -40, 26);
  assert.equal((moved.x - whole.x) % whole.stepX, 0);
  assert.equal(moved.x + (moved.columns - 0.5) * moved.stepX, 3);
  assert.equal(tilesOf(box, [0, 1], [0, 1], 160, -160, 26).stepX, whole.stepX / 4);
  assert.equal(tilesOf(box, [4, 5], [0, 1], 40, -40, 26).columns, 0);
  assert.equal(tilesOf(box, [-3, 3], [-3, 3], 1, -1, 26).columns, 1);
});

test('a gap stays between neighbouring tiles, and even the smallest is painted', () => {
  const [first, second] = [within(0.4, 26.4, 2), within(26.4, 52.6, 2)];
  assert.deepEqual([first, second], [[1, 24], [27, 25]]);
  assert.equal(second[0] - (first[0] + first[1]), 2);
  assert.deepEqual(within(10, 11, 2), [11, 1]);
});

test('words say where the probe is and how far to trust its picture', () => {
  assert.equal(describePlace(['z1', 'z2'], [0.3, -1.2], 'exact'), 'z1 0.3, z2 −1.2: decoded exactly');
  assert.equal(describePlace(['z1', 'z2'], [], 'none'), 'Move over the plane to decode it.');
  assert.equal(describePlace(['z1'], [0.3, 0], 'interpolated'), 'z1 0.3: interpolated');
  assert.equal(describePlace(['z1', 'z2'], [1e9, -2.345e12], 'exact'), 'z1 1e9, z2 −2.35e12: decoded exactly');
  assert.equal(describePoint(7, undefined, false), 'image 7');
  assert.equal(describePoint(7, '8', false), 'image 7, class 8');
  assert.equal(describePoint(7, 'cat', true), 'data point 7, class cat');
});
