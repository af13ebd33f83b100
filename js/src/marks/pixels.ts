import type { NDArray } from '../arrays';
import { packColor, parseColor } from '../palette';

/** How numbers become colours: `colors` evenly spaced from `low` to `high`, the ends extended. */
export interface ColorTable {
  low: number;
  high: number;
  colors: Uint32Array;
}

const NUM_COLORS = 512;

/** Samples a colour scale between two numbers. */
export function tableOf(color: (value: number) => string, low: number, high: number): ColorTable {
  const colors = new Uint32Array(NUM_COLORS);
  for (let i = 0; i < NUM_COLORS; i++) {
    colors[i] = packColor(parseColor(color(low + ((high - low) * i) / (NUM_COLORS - 1))) ?? [128, 128, 128]);
  }
  return { low, high, colors };
}

/** The least and the greatest finite number; null if there is none. */
export function finiteRange(data: ArrayLike<number>): [number, number] | null {
  let low = Infinity;
  let high = -Infinity;
  for (let i = 0; i < data.length; i++) {
    const value = data[i];
    if (value - value === 0) {
      low = value < low ? value : low;
      high = value > high ? value : high;
    }
  }
  return low <= high ? [low, high] : null;
}

/**
 * Writes one pixel a cell and returns how many cells are not finite: those stay transparent, so that what lies under
 * the picture (hatching) flags them.
 */
export function writePixels(image: NDArray, table: ColorTable | null, out: Uint32Array): number {
  const { data } = image;
  if (image.shape.length === 3) {
    for (let i = 0; i < out.length; i++) {
      out[i] = packColor([data[3 * i], data[3 * i + 1], data[3 * i + 2]]);
    }
    return 0;
  }
  if (table === null) {
    const gain = image.dtype === 'uint8' ? 1 : 255;
    for (let i = 0; i < out.length; i++) {
      const grey = Math.round(gain * data[i]);
      out[i] = packColor([grey, grey, grey]);
    }
    return 0;
  }
  const { low, high, colors } = table;
  const last = colors.length - 1;
  const gain = high > low ? last / (high - low) : 0;
  let flagged = 0;
  for (let i = 0; i < out.length; i++) {
    const place = gain === 0 ? last / 2 : (data[i] - low) * gain;
    if (data[i] - data[i] !== 0) {
      out[i] = 0;
      flagged++;
    } else {
      out[i] = colors[place <= 0 ? 0 : place >= last ? last : (place + 0.5) | 0];
    }
  }
  return flagged;
}
