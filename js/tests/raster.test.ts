import assert from 'node:assert/strict';
import test from 'node:test';

import { cellAt, Frame, rectangleOf, squarePadding, visible } from '../src/marks/frame';
import { moved } from '../src/marks/keys';
import { finiteRange, tableOf, writePixels } from '../src/marks/pixels';
import { OKABE_ITO, packColor, parseColor } from '../src/palette';
import { mismatch } from '../src/protocol';

const frame: Frame = { width: 100, height: 80, scaleX: 10, offsetX: 5, scaleY: 10, offsetY: -20 };

test('every cell shown is found again under its middle, and none outside', () => {
  for (let row = 2; row < 10; row++) {
    for (let column = 0; column < 9; column++) {
      const { x, y, width, height } = rectangleOf(frame, row, column, row + 1, column + 1);
      assert.deepEqual(cellAt(frame, x + width / 2, y + height / 2, 10, 9), [row, column]);
    }
  }
  assert.equal(cellAt(frame, 4, 10, 10, 9), null);
  assert.equal(cellAt(frame, 95, 10, 10, 9), null);
});

test('a rectangle is never thinner than a pixel, and is cut at the canvas', () => {
  const tiny = { ...frame, scaleX: 0.1, scaleY: 0.1 };
  assert.deepEqual(rectangleOf(tiny, 300, 10, 301, 11), { x: 6, y: 10, width: 1, height: 1 });
  assert.deepEqual(visible(frame, { x: -5, y: 70, width: 10, height: 20 }), { x: 0, y: 70, width: 5, height: 10 });
  assert.deepEqual(visible(frame, { x: 200, y: 0, width: 10, height: 20 }), { x: 200, y: 0, width: 0, height: 20 });
});

test('cells are square whatever the room', () => {
  for (const [width, height, spanX, spanY] of [[300, 200, 32, 32], [200, 300, 7, 90], [100, 100, 1, 50]]) {
    const [padX, padY] = squarePadding(width, height, spanX, spanY);
    const [cellX, cellY] = [(width - 2 * padX) / spanX, (height - 2 * padY) / spanY];
    assert.ok(Math.abs(cellX - cellY) < 1e-9);
    assert.ok(padX >= 0 && padY >= 0 && Math.min(padX, padY) < 1e-9);
  }
  assert.deepEqual(squarePadding(0, 10, 3, 3), [0, 0]);
});

test('keys move the selected cell and stay inside', () => {
  const at = (key: string, cell: number[] | null = [4, 4]) => moved(key, cell, 9, 7);
  assert.deepEqual(at('ArrowUp'), [3, 4]);
  assert.deepEqual(at('ArrowDown'), [5, 4]);
  assert.deepEqual(at('ArrowLeft'), [4, 3]);
  assert.deepEqual(at('ArrowRight'), [4, 5]);
  assert.deepEqual(at('Home'), [4, 0]);
  assert.deepEqual(at('End'), [4, 6]);
  assert.deepEqual(at('PageUp'), [0, 4]);
  assert.deepEqual(at('PageDown'), [8, 4]);
  assert.deepEqual(at('ArrowUp', [0, 0]), [0, 0]);
  assert.deepEqual(at('ArrowRight', null), [4, 3]);
  assert.equal(at('a'), null);
  assert.equal(at('toString'), null);
});

test('colours are read as d3 writes them', () => {
  assert.deepEqual(parseColor('#e69f00'), [230, 159, 0]);
  assert.deepEqual(parseColor('#fff'), [255, 255, 255]);
  assert.deepEqual(parseColor('rgb(1, 2, 3)'), [1, 2, 3]);
  assert.deepEqual(parseColor('rgba(1, 2, 3, 0.5)'), [1, 2, 3]);
  assert.equal(parseColor('url(x)'), null);
  assert.equal(new Set(OKABE_ITO).size, 8);
  assert.equal(packColor([1, 2, 3]), 0xff030201);
});

const grey = (value: number) => `rgb(${value}, ${value}, ${value})`;

test('numbers become the colours of the scale, and what is not finite becomes a flag', () => {
  const table = tableOf(grey, 0, 255);
  const data = Float32Array.of(0, 100, 255, -50, 300, NaN, Infinity, -Infinity);
  const out = new Uint32Array(8);
  assert.equal(writePixels({ data, dtype: 'float32', shape: [2, 4] }, table, out), 3);
  const red = (pixel: number) => pixel & 255;
  assert.deepEqual([...out].slice(0, 5).map(red).map((v, i) => Math.abs(v - [0, 100, 255, 0, 255][i]) <= 1), Array(5).fill(true));
  assert.deepEqual([...out].slice(5), [0, 0, 0]);
});

test('a constant picture takes the middle colour', () => {
  const out = new Uint32Array(2);
  const table = { low: 3, high: 3, colors: Uint32Array.of(1, 2, 3) };
  assert.equal(writePixels({ data: Float32Array.of(3, 3), dtype: 'float32', shape: [1, 2] }, table, out), 0);
  assert.deepEqual([...out], [2, 2]);
});

test('grey and colour bytes are shown as they are', () => {
  const out = new Uint32Array(2);
  writePixels({ data: Uint8Array.of(7, 200), dtype: 'uint8', shape: [1, 2] }, null, out);
  assert.deepEqual([...out], [packColor([7, 7, 7]), packColor([200, 200, 200])]);
  writePixels({ data: Uint8Array.of(1, 2, 3, 4, 5, 6), dtype: 'uint8', shape: [1, 2, 3] }, null, out);
  assert.deepEqual([...out], [packColor([1, 2, 3]), packColor([4, 5, 6])]);
});

test('the finite range leaves out what is not finite', () => {
  assert.deepEqual(finiteRange([NaN, 3, -Infinity, 1, Infinity]), [1, 3]);
  assert.equal(finiteRange([NaN, Infinity]), null);
  assert.equal(finiteRange([]), null);
});

test('a mismatch of protocols says which side to upgrade', () => {
  assert.equal(mismatch(1, 1), null);
  assert.match(mismatch(2, 1)!, /Upgrade dlwidgets in the environment of the Jupyter server/);
  assert.match(mismatch(1, 2)!, /Upgrade dlwidgets in the environment of the kernel/);
});
