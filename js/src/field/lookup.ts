import { Packed, productsOf, projectionOf } from './packed';
import { Box, boxOf, countOf, indexOf, sliceOf, volumeOf } from './products';
import { Region, regionOf, regionOfMask } from './region';

export type Role = 'unit' | 'input';

/** [row, column]. */
export type Cell = number[];

export interface FieldTable extends Packed {
  /** Where the picture of the units (of the input) cuts through the axes before its last two. */
  outAt: number[];
  inAt: number[];
  /** Start and stop an input axis for every unit, when the fields are no unions of products; else null. */
  boxes: Int32Array | null;
  /** One row an input axis: output axis, jump, size, padding; NaN where no such number exists. */
  windows: Float64Array;
  status: 'exact' | 'bound';
  because: string;
}

/** What is seen from a unit (over the input), or who sees a pixel (over the units). */
export interface Seen {
  /** The cells to light on the other picture; null if only the box is known. */
  region: Region | null;
  /** Over the two axes of the other picture. */
  box: Box | null;
  /** Over all axes. */
  fullBox: Box | null;
  count: number;
  total: number;
  status: 'exact' | 'bound';
  because: string;
  /** The unclipped window of a unit on the other picture, if it has one, and whether it reaches into the padding. */
  window: Box | null;
  padded: boolean;
}

/** The other end of the link from a cell of the picture with this role; null if the cell stands for nothing. */
export function lookUp(table: FieldTable, role: Role, cell: Cell): Seen | null {
  const [shape, at] = role === 'unit' ? [table.outShape, table.outAt] : [table.inShape, table.inAt];
  const index = indexOf(cell, shape, at);
  if (index === null) {
    return null;
  }
  const window = role === 'unit' ? windowOf(table, index) : null;
  const sizes = [table.inShape.at(-2) ?? 1, table.inShape.at(-1) ?? 1];
  const rest = {
    total: sizeOf(role === 'unit' ? table.inShape : table.outShape),
    because: table.because,
    window,
    padded: window !== null && window.some(([start, stop], axis) => start < 0 || stop > sizes[axis]),
  };
  if (table.boxes !== null) {
    return { ...(role === 'unit' ? boxedField(table, index) : boxedProjection(table, index)), ...rest };
  }
  const products = role === 'unit' ? productsOf(table, index) : projectionOf(table, index);
  const shown = sliceOf(products, role === 'unit' ? table.inAt : table.outAt);
  return {
    region: regionOf(shown),
    box: boxOf(shown),
    fullBox: boxOf(products),
    count: countOf(products),
    status: table.status,
    ...rest,
  };
}

/** The exact answer of the kernel in place of a bound; the mask runs over all axes of the other side. */
export function answered(seen: Seen, mask: Uint8Array, shape: number[], at: number[]): Seen {
  const [rows, columns] = [shape.at(-2) ?? 1, shape.at(-1) ?? 1];
  const shown = planeOf(mask, shape, at);
  return {
    ...seen,
    region: regionOfMask(shown, columns),
    box: boxOfMask(shown, [rows, columns]),
    fullBox: boxOfMask(mask, shape),
    count: sum(mask),
    status: 'exact',
  };
}

/** The last two axes of a mask, at the positions `at` on the axes before them. */
function planeOf(mask: Uint8Array, shape: number[], at: number[]): Uint8Array {
  const size = sizeOf(shape.slice(-2));
  const plane = shape.slice(0, -2).reduce((flat, length, axis) => flat * length + (at[axis] ?? 0), 0);
  return mask.subarray(plane * size, (plane + 1) * size);
}

function sum(mask: Uint8Array): number {
  return mask.reduce((count, bit) => count + bit, 0);
}

function sizeOf(shape: number[]): number {
  return shape.reduce((size, length) => size * length, 1);
}

type Bound = Pick<Seen, 'region' | 'box' | 'fullBox' | 'count' | 'status'>;

function boxedField(table: FieldTable, unit: number[]): Bound {
  const fullBox = boxAt(table, flatIndex(unit, table.outShape));
  const leading = fullBox.slice(0, -2).every(([start, stop], axis) => {
    const at = table.inAt[axis] ?? 0;
    return start <= at && at < stop;
  });
  const empty = volumeOf(fullBox) === 0;
  return {
    region: null,
    box: empty || !leading ? null : [fullBox.at(-2) ?? [0, 1], fullBox.at(-1) ?? [0, 1]],
    fullBox: empty ? null : fullBox,
    count: volumeOf(fullBox),
    status: 'bound',
  };
}

function boxedProjection(table: FieldTable, pixel: number[]): Bound {
  const mask = new Uint8Array(sizeOf(table.outShape));
  for (let unit = 0; unit < mask.length; unit++) {
    mask[unit] = boxAt(table, unit).every(([start, stop], axis) => start <= pixel[axis] && pixel[axis] < stop) ? 1 : 0;
  }
  const shape = [table.outShape.at(-2) ?? 1, table.outShape.at(-1) ?? 1];
  const box = boxOfMask(planeOf(mask, table.outShape, table.outAt), shape);
  return { region: null, box, fullBox: boxOfMask(mask, table.outShape), count: sum(mask), status: 'bound' };
}

function boxAt(table: FieldTable, unit: number): Box {
  const axes = table.inShape.length;
  return table.inShape.map((_, axis) => {
    const at = 2 * (unit * axes + axis);
    return [table.boxes![at], table.boxes![at + 1]];
  });
}

function flatIndex(index: number[], shape: number[]): number {
  return index.reduce((flat, value, axis) => flat * shape[axis] + value, 0);
}

function boxOfMask(mask: Uint8Array, shape: number[]): Box | null {
  const starts = shape.map(() => Infinity);
  const stops = shape.map(() => 0);
  for (let flat = mask.indexOf(1); flat >= 0; flat = mask.indexOf(1, flat + 1)) {
    let rest = flat;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      const value = rest % shape[axis];
      rest = (rest - value) / shape[axis];
      starts[axis] = Math.min(starts[axis], value);
      stops[axis] = Math.max(stops[axis], value + 1);
    }
  }
  return mask.includes(1) ? shape.map((_, axis) => [starts[axis], stops[axis]]) : null;
}

/** size positions from unit * jump - padding on, before anything is clipped, on the axes of the input's picture. */
function windowOf(table: FieldTable, unit: number[]): Box | null {
  const box: Box = table.inShape.map((_, axis) => {
    const [outputAxis, jump, size, padding] = table.windows.subarray(4 * axis, 4 * axis + 4);
    const start = (unit[outputAxis] ?? 0) * jump - padding;
    return [Math.floor(start), Math.ceil(start + size)];
  });
  const known = table.windows.length > 0 && box.every((bounds) => bounds.every(Number.isFinite));
  return known ? [box.at(-2) ?? [0, 1], box.at(-1) ?? [0, 1]] : null;
}
