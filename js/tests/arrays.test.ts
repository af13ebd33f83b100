import assert from 'node:assert/strict';
import test from 'node:test';

import { fromWire, toWire } from '../src/arrays';

test('an array survives the way there and back, whatever its alignment', () => {
  const bytes = new Uint8Array(1 + 12);
  new DataView(bytes.buffer).setFloat32(1 + 4, 2.5, true);
  const array = fromWire({ value: new DataView(bytes.buffer, 1), dtype: 'float32', shape: [3] })!;
  assert.deepEqual([...array.data], [0, 2.5, 0]);
  const wire = toWire(array)!;
  assert.deepEqual([...fromWire(wire)!.data], [0, 2.5, 0]);
  assert.deepEqual(wire.shape, [3]);
});

test('an unknown dtype is refused by name', () => {
  const wire = { value: new DataView(new ArrayBuffer(8)), dtype: 'int64' as never, shape: [1] };
  assert.throws(() => fromWire(wire), /int64/);
});
