import assert from 'node:assert/strict';
import test from 'node:test';

import { answered, Cell, FieldTable, lookUp, Role } from '../src/field/lookup';
import type { Box } from '../src/field/products';
import { rectanglesOf, Region, regionOfMask } from '../src/field/region';
import { vectors } from './vectors';

interface Vector {
  bits: string;
  index: number[];
  outShape: number[];
  inShape: number[];
  outAt: number[];
  inAt: number[];
  boxes: (Box | null)[];
  answers: {
    role: Role;
    cell: Cell;
    count: number;
    fullBox: Box | null;
    box: Box | null;
    plane: number[][];
    mask: number[];
  }[];
}

const cases = vectors<Vector>('field');

function tableOf(vector: Vector, boxed = false): FieldTable {
  const none = vector.inShape.flatMap(() => [0, 0]);
  return {
    ...vector,
    bits: new Uint8Array(Buffer.from(vector.bits, 'base64')),
    index: Int32Array.from(vector.index),
    boxes: boxed ? Int32Array.from(vector.boxes.flatMap((box) => box?.flat() ?? none)) : null,
    windows: new Float64Array(0),
    status: 'exact',
    because: '',
  };
}

function planeOf(region: Region | null, rows: number, columns: number): number[][] {
  return Array.from({ length: rows }, (_, row) => {
    const found = region?.rows[row] ?? -1;
    return Array.from({ length: columns }, (_, column) => (found < 0 ? 0 : region!.columns[found][column]));
  });
}

test('fields and projections are what Python finds cell by cell', () => {
  assert.ok(cases.length >= 10);
  for (const vector of cases) {
    for (const answer of vector.answers) {
      const seen = lookUp(tableOf(vector), answer.role, answer.cell)!;
      assert.equal(seen.count, answer.count);
      assert.deepEqual(seen.fullBox, answer.fullBox);
      assert.deepEqual(seen.box, answer.box);
      assert.equal(seen.total, answer.mask.length);
      assert.deepEqual(planeOf(seen.region, answer.plane.length, answer.plane[0].length), answer.plane);
    }
  }
});

test('the mask that the kernel answers with gives the same', () => {
  for (const vector of cases) {
    const table = tableOf(vector);
    for (const answer of vector.answers) {
      const [shape, at] = answer.role === 'unit' ? [table.inShape, table.inAt] : [table.outShape, table.outAt];
      const bound = lookUp(table, answer.role, answer.cell)!;
      const seen = answered({ ...bound, region: null, count: -1 }, Uint8Array.from(answer.mask), shape, at);
      assert.equal(seen.count, answer.count);
      assert.deepEqual(seen.fullBox, answer.fullBox);
      assert.deepEqual(seen.box, answer.box);
      assert.deepEqual(planeOf(seen.region, answer.plane.length, answer.plane[0].length), answer.plane);
    }
  }
});

test('a table of boxes gives a box around every field, and never hides a unit that sees a pixel', () => {
  for (const vector of cases) {
    for (const answer of vector.answers) {
      const seen = lookUp(tableOf(vector, true), answer.role, answer.cell)!;
      assert.equal(seen.status, 'bound');
      assert.equal(seen.region, null);
      assert.ok(seen.count >= answer.count);
      if (answer.role === 'unit') {
        assert.deepEqual(seen.fullBox, answer.fullBox);
      } else {
        answer.fullBox?.forEach(([start, stop], axis) => {
          assert.ok(seen.fullBox![axis][0] <= start && seen.fullBox![axis][1] >= stop);
        });
      }
    }
  }
});

test('rectangles cover every cell of a region once and no other', () => {
  for (const { answers } of cases) {
    for (const { plane } of answers) {
      const region = regionOfMask(plane.flat(), plane[0].length);
      const found = plane.map((row) => row.map(() => 0));
      const rectangles = rectanglesOf(region, 1000)!;
      for (let i = 0; i < rectangles.length; i += 4) {
        for (let row = rectangles[i]; row < rectangles[i + 2]; row++) {
          for (let column = rectangles[i + 1]; column < rectangles[i + 3]; column++) {
            found[row][column]++;
          }
        }
      }
      assert.deepEqual(found, plane);
    }
  }
});

test('too many rectangles are given up', () => {
  const checkered = Array.from({ length: 64 }, (_, i) => (i + (i >> 3)) % 2);
  assert.equal(rectanglesOf(regionOfMask(checkered, 8), 31), null);
  assert.equal(rectanglesOf(regionOfMask(checkered, 8), 32)!.length, 4 * 32);
});

test('a cell outside the picture sees nothing', () => {
  const table = tableOf(cases[0]);
  for (const cell of [[-1, 0], [0, -1], [5, 0], [0, 4], []]) {
    assert.equal(lookUp(table, 'unit', cell), null);
  }
});

test('the unclipped window tells how much of it lies in the padding', () => {
  const table = { ...tableOf(cases[0]), windows: Float64Array.of(0, 2, 5, 1, 1, 3, 4, 0) };
  const corner = lookUp(table, 'unit', [0, 0])!;
  assert.deepEqual(corner.window, [[-1, 4], [0, 4]]);
  assert.equal(corner.padded, true);
  assert.equal(lookUp(table, 'unit', [1, 1])!.padded, false);
  const unknown = { ...table, windows: Float64Array.of(0, 2, 5, 1, 1, 3, 4, NaN) };
  assert.equal(lookUp(unknown, 'unit', [0, 0])!.window, null);
  assert.equal(lookUp(table, 'input', [0, 0])!.window, null);
});
