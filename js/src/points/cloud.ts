import { packColor } from '../palette';

/** Points as they came from Python: `length` of them, whatever the arrays hold beyond. Never changed in place. */
export interface Cloud {
  length: number;
  x: Float32Array;
  y: Float32Array;
  /** One index into the palette a point; null: all have colour 0. */
  color: Uint8Array | Uint16Array | null;
}

/** Where the finite points lie, and how many there are. */
export interface Extent {
  x: [number, number];
  y: [number, number];
  numFinite: number;
}

export function extentOf({ x, y, length }: Cloud): Extent {
  let [left, right, bottom, top] = [Infinity, -Infinity, Infinity, -Infinity];
  let numFinite = 0;
  for (let i = 0; i < length; i++) {
    const px = x[i];
    const py = y[i];
    if (px - px === 0 && py - py === 0) {
      numFinite++;
      left = px < left ? px : left;
      right = px > right ? px : right;
      bottom = py < bottom ? py : bottom;
      top = py > top ? py : top;
    }
  }
  return { x: [left, right], y: [bottom, top], numFinite };
}

/** A domain that shows numbers from low to high; one number alone is put into the middle of some room. */
export function roomy([low, high]: [number, number]): [number, number] {
  if (high > low) {
    return [low, high];
  }
  const room = Math.max(0.5, Math.abs(low) * 1e-6);
  return [low - room, high + room];
}

/** The pixel of every colour index that may come: the palette over and over, 0 where the colour is hidden. */
export function colorTable(palette: [number, number, number][], hidden: number[], numIndices: number): Uint32Array {
  const table = Uint32Array.from({ length: numIndices }, (_, i) => packColor(palette[i % palette.length]));
  for (const index of hidden) {
    if (index >= 0 && index < numIndices) {
      table[index] = 0;
    }
  }
  return table;
}

/** For each point whether it is selected; null if none is. */
export function flagsOf(selected: Int32Array, length: number): Uint8Array | null {
  if (selected.length === 0) {
    return null;
  }
  const flags = new Uint8Array(length);
  for (const index of selected) {
    flags[index] = 1; // an index beyond the points falls on deaf ears
  }
  return flags;
}

/** How many different colours the points have. */
export function countColors({ color, length }: Cloud): number {
  if (color === null) {
    return Math.min(1, length);
  }
  const seen = new Uint8Array(color instanceof Uint8Array ? 256 : 65536);
  for (let i = 0; i < length; i++) {
    seen[color[i]] = 1;
  }
  return seen.reduce((sum, one) => sum + one, 0);
}
